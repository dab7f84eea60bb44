"""The benchmarks run with --smoke, and what they print and write is whole, finite and within what physics allows.

Each check reads the tables of one script. It names the rows that it expects, so that none is missed, and holds the numbers against bounds
and orders that models of a few steps meet: errors grow with the lead time, the mean of an ensemble varies less than its members. What is
printed must be what the files hold.
"""

import importlib
import json
import re
import sys
from collections.abc import Callable, Iterator
from itertools import pairwise, product, takewhile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
LEFT_OUT = {
    "atmorep",  # what the scripts import
    "networks",
    "rain",
    "shared",
    "unet",
    "jet_peers",
    "jetnet_check",  # needs jetnet, which has an environment of its own
    "throughput",  # takes both cores, which these tests share
    "resume",  # tests/training/test_processes.py does the same
}
SCRIPTS = sorted(path.stem for path in BENCHMARKS.glob("*.py") if path.stem not in LEFT_OUT)
SMOKE_APART = {
    "analysis",
    "anomalies",
    "bulletins",
    "cost_to_skill",
    "finer",
    "jet_generation",
    "jets",
    "lattices",
    "model_error",
    "nuclei",
    "objectives",
    "questions",
    "showers",
    "skill",
    "text",
    "unfolding",
}  # what lies at --out is used again by real runs
OPTIONS = {name: ["--jobs", "1"] for name in ("labels", "scaling", "transfer")}
OPTIONS |= {"predict": ["--threads", "1"], "step": ["--threads", "1"], "peers": ["--figure", "peers.png"]}

NUMBER, COUNT = r"(-?\d+\.\d+)", r"(\d+)"
WORST = rf"worst {NUMBER} \((?:z@500\.0|t2m@None|tprate@None)\)"
LEADS = ("+6 h", "+24 h", "+72 h")
Table = dict[str, tuple[float, ...]]


# Reading what was printed


def lines_of(printed: str) -> list[str]:
    """All but progress bars and empty lines."""
    return [line for line in printed.splitlines() if line.strip() and "━" not in line]


def section(printed: str, heading: str) -> list[str]:
    """The rows below a heading, up to the next empty line."""
    lines = printed.splitlines()
    places = [number for number, line in enumerate(lines) if line.startswith(heading)]
    assert len(places) == 1, heading
    return list(takewhile(str.strip, lines[places[0] + 1 :]))


def table(rows: list[str], values: str) -> Table:
    """The words of each row -> its numbers: the groups of a pattern that each row must end with."""
    found: Table = {}
    for row in rows:
        match = re.fullmatch(rf"(.+?) +{values}", row)
        assert match, row
        words, *numbers = match.groups()
        found[" ".join(words.split())] = tuple(map(float, numbers))
    assert len(found) == len(rows)
    return found


def assert_rows(found: Table, expected: list[str], low: float, high: float) -> None:
    """These rows and no others, all numbers within bounds."""
    assert sorted(found) == sorted(expected)
    for words, numbers in found.items():
        assert low <= min(numbers) <= max(numbers) <= high, words


def assert_rises(found: Table, pattern: str, steps: tuple[str, ...]) -> None:
    """The first number grows from step to step of a row's name."""
    values = [found[pattern.format(step)][0] for step in steps]
    assert all(before < after for before, after in pairwise(values)), (pattern, values)


def read_json(path: Path) -> Any:
    """Raises ValueError if a number is not finite."""

    def refuse(constant: str) -> None:
        raise ValueError(f"{path}: holds {constant}")

    return json.loads(path.read_text(), parse_constant=refuse)


def mean_ratio(scores: Path, forecast: str, base: str, **labels: Any) -> float:
    """RMSE over that of a baseline, mean over the channels, as `scores.json` has it."""
    values = {}
    for row in read_json(scores):
        if row["metric"] == "rmse" and all(row[name] == label for name, label in labels.items()):
            values[row["forecast"], row["variable"], row["level_hpa"]] = row["value"]
    ratios = [value / values[base, *channel] for (name, *channel), value in values.items() if name == forecast]
    assert len(ratios) == 3
    return float(np.mean(ratios))


def assert_picture(path: Path, frames: int = 1) -> None:
    """It opens and is not of one colour."""
    with Image.open(path) as picture:
        assert getattr(picture, "n_frames", 1) == frames
        assert np.asarray(picture.convert("L")).std() > 5


def assert_runs(folder: Path, names: list[str]) -> None:
    """Each is a trained model with its costs."""
    for name in names:
        assert (folder / name / "model" / "model.safetensors").stat().st_size > 1e5
        assert (folder / name / "run.yaml").is_file()


# The checks, by script


def check_flow_steps(printed: str, out: Path) -> None:
    rows = lines_of(printed)
    signed = r"(-?\d+\.\d{4}) ± \d\.\d{4}"
    found = table(rows[1:], rf"{signed} +{signed} +{NUMBER}")
    evaluations = (2, 4, 8, 16, 32, 64)
    assert_rows(
        found, ["truth 0", *(f"{s} {n}" for s in ("euler", "midpoint", "heun") for n in evaluations)], -0.01, 10
    )
    assert max(found["truth 0"]) < 0.01 < found["heun 64"][0]  # three steps learn no moons
    assert found["euler 64"][2] > found["euler 2"][2] > 0


def check_bulletins(printed: str, out: Path) -> None:
    lines = lines_of(printed)
    assert lines[0].startswith("2 bulletins of 2001-01-01 to 2001-02-27")
    said = {}
    for line in lines[1:5]:
        name, *numbers = re.split(r" {2,}| (?=[01]\.)", line)
        said[name.strip()] = [float(number) for number in numbers]
    assert list(said) == ["fields", "no fields", "logistic", "frequent"]
    for share, *kinds in said.values():
        assert len(kinds) == 6 and 0 <= share <= 1 and share == pytest.approx(sum(kinds) / 6, abs=0.006)
    scores = re.findall(NUMBER, lines[5])
    assert len(scores) == 2 and all(0 < float(score) < 64 * 6 for score in scores)  # 64 tokens of e^6 codes at most
    assert "North: " in lines[6] and (out / "smoke" / "bulletins.csv").read_text().startswith("time,text\n")


def check_jet_generation(printed: str, out: Path) -> None:
    rows = lines_of(printed)
    assert rows[0] == "seed 0"
    observables = ["mass_gev", "multiplicity", "tau21", "tau32", "pt_gev", "fpd", "kpd", "classifier_auc"]
    found = {row.split()[0]: [float(number) for number in row.split()[1:]] for row in rows[2:]}
    assert list(found) == observables
    for name, (model, independent, truth, *nearer) in found.items():
        assert all(-1 < value < 1000 for value in (model, independent, truth))
        assert name in ("kpd", "classifier_auc") or nearer == [pytest.approx(independent / model, abs=0.06, rel=0.02)]
    assert found["classifier_auc"][2] < 0.75 < min(found["classifier_auc"][:2])


def check_nuclei(printed: str, out: Path) -> None:
    cost, header, *rows = lines_of(printed)
    assert re.fullmatch(r"U-Net: \d+ s of CPU time", cost) and header.split() == ["score", "forecast", "value"]
    found = table(rows, NUMBER)
    masks, boxes = ("marginal", "model", "threshold", "U-Net"), ("bright components", "dark components", "model")
    names = [f"{metric} {each}" for metric in ("dice", "iou") for each in masks]
    assert_rows(found, [*names, *(f"average precision {each}" for each in boxes)], 0, 1)
    assert found["dice threshold"][0] > 0.9  # discs are much brighter than the ground
    for each in masks:  # IoU = Dice / (2 - Dice)
        dice, iou = found[f"dice {each}"][0], found[f"iou {each}"][0]
        assert iou == pytest.approx(dice / (2 - dice), abs=0.002)
    assert found["average precision bright components"] > found["average precision dark components"]


def check_objectives(printed: str, out: Path) -> None:
    heads = {"text": ("masked tokens", 55, 6), "images": ("masked patches", 10, 4)}
    for name, (first, fewest, objectives) in heads.items():
        rows = [[cell.strip() for cell in row.strip("|").split("|")] for row in section(printed, f"| {name} |")[1:]]
        seconds = {arm: float(row[-1]) for arm, *row in rows}
        trained = list(seconds)[:objectives]
        assert trained[0] == first and list(seconds)[objectives:] == ["scratch", "scratch, longer"]
        assert seconds["scratch"] == 0 < min(seconds[arm] for arm in trained) and max(seconds.values()) < 600
        assert seconds["scratch, longer"] == pytest.approx(np.mean([seconds[arm] for arm in trained]), abs=0.1)
        for arm, *cells, _ in rows:
            for labels, cell in zip((fewest, 100), cells, strict=True):
                run = read_json(out / "smoke" / name / "seed-0" / f"{arm}-{labels}.json")
                assert f"{run['accuracy']:.3f}" == cell and 0 <= run["accuracy"] <= 1
                assert (run["steps"] > 1) == (arm == "scratch, longer")
        assert_runs(out / "smoke" / name / "seed-0", trained)


def check_showers(printed: str, out: Path) -> None:
    lines = lines_of(printed)
    assert re.fullmatch(r"[\d,]+ weights, \d+ s of CPU time, 100 showers; 60 compared", lines[0])
    samples = ["model", "nearest energy", "independent voxels", "truth", "VAE", "GAN"]
    powers, together = (
        next(n for n, line in enumerate(lines) if line.startswith(word)) for word in ("separation", "score")
    )
    cells = {line[:18].strip(): [line[place : place + 20].strip() for place in range(18, 138, 20)] for line in lines}
    assert cells["separation power"] == cells["score"] == samples
    kinds = ["response", "sparsity", "energy", "radius", "centre_x", "width_x", "centre_y", "width_y", "voxel_energy"]
    assert sorted(line[:18].strip() for line in lines[powers + 1 : together - 1]) == sorted(kinds)
    assert all(0 <= float(value) <= 1 for kind in kinds for value in cells[kind])
    metrics = ("voxel_auc", "classifier_auc", "fpd", "kpd", "wasserstein_mean", "sampling_fraction")
    assert {*metrics, "ms_per_shower"} <= set(cells)
    found = {metric: [float(cell.split()[0]) for cell in cells[metric]] for metric in metrics}
    assert all(0 <= value <= 1 for name in metrics[:2] for value in found[name])
    assert all(-1e3 < value < 1e3 for values in found.values() for value in values)
    assert 0 < float(cells["ms_per_shower"][0]) < 5e3
    model, _, _, floor, vae, gan = found["wasserstein_mean"]
    assert floor < min(model, vae, gan)  # after a step, or a second
    assert_runs(out / "smoke", ["pretrained", "generator"])


def columns_of(rows: list[str]) -> dict[str, dict[str, float]]:
    """The numbers of a table of means and spreads by column and row, without those that are not there."""
    heading, *rest = [row for row in rows if "is left out" not in row and " steps of " not in row]
    names = heading.split()
    found: dict[str, dict[str, float]] = {name: {} for name in names}
    for row in rest:
        words, *cells = re.split(r" {2,}", row)
        assert len(cells) == len(names), row
        for name, cell in zip(names, cells, strict=True):
            if cell != "-":
                mean, spread = map(float, cell.split(" ± "))
                assert spread == 0  # one seed
                found[name][words] = mean
    return found


def check_gpu(printed: str, out: Path) -> None:
    found = read_json(out / "gpu.json")
    tables = [line for line in (out / "gpu.md").read_text().splitlines() if line]
    assert lines_of(printed) == [*map(json.dumps, found["cases"]), *tables]
    assert tables[0] == f"{found['device']}, torch {torch.__version__}, {found['date']}"
    assert [(row["size"], row["design"]) for row in found["cases"]] == [
        ("nano", name) for name in ("ours", "atmorep", "ours")
    ]
    for row in found["cases"]:
        assert (
            0.01 < row["samples_per_s"] < 1e4 and 1e-3 < row["gflop_per_sample"] < 10 and 0 < row["share_of_peak"] < 1.5
        )
    ours, atmorep, recomputed = (row["gflop_per_sample"] for row in found["cases"])
    assert ours < recomputed < atmorep
    assert [0 <= row["share_waiting"] < 1 < 1e3 * row["samples_per_s"] for row in found["waiting"]] == [True]
    assert found["parity"]["steps"] == 3 and found["parity"]["largest_difference"] < 1e-2


def check_inverse(printed: str, out: Path) -> None:
    for name, found in columns_of(lines_of(printed)).items():
        assert name in ("ours", "splines")
        assert list(found) == ["energy distance", "resimulation", "coverage_50", "coverage_68", "coverage_95"]
        assert 0 < found["energy distance"] < 3 and 0.1 < found["resimulation"] < 3  # three steps learn no arm
        assert 0.2 < found["coverage_50"] < found["coverage_68"] < found["coverage_95"] <= 1


def check_unfolding(printed: str, out: Path) -> None:
    rows = [row for row in lines_of(printed) if not row.startswith("pre-training")]
    found = columns_of(rows)
    assert set(found) - {"splines"} == {"ours", "bayes", "measured", "truth"}
    assert list(found["truth"]) == ["W1 all"] and 0 < found["truth"]["W1 all"] < 0.5
    distances = ["W1 all", "W1 QCD", "W1 Tbqq", "CRPS"]
    assert list(found["measured"]) == distances
    assert list(found["bayes"]) == [*distances, "coverage_50", "coverage_68", "p of ranks"]
    assert list(found["ours"]) == list(found["bayes"])
    for values in found.values():
        assert all(0 <= value < 3 for value in values.values())
    assert found["bayes"]["CRPS"] < found["measured"]["CRPS"] < found["ours"]["CRPS"]  # after two steps
    assert_runs(out / "smoke" / "seed-0", ["scratch-2"])


def check_analysis(printed: str, out: Path) -> None:
    rows = lines_of(printed)
    heading = next(number for number, row in enumerate(rows) if row.startswith("analysis"))
    facts = table(rows[:heading], rf"{COUNT} test events for +{COUNT}, {NUMBER} fb")
    assert sorted(facts) == ["QCD", "Zprime", "ttbar"]
    for count, expected, section in facts.values():
        assert count == 10 and expected == pytest.approx(139 * section, rel=0.02, abs=10)
    assert 10 < facts["Zprime"][2] < 200 < facts["ttbar"][2] < 5e3 < 1e5 < facts["QCD"][2] < 5e6
    between = rf"{NUMBER} \[{NUMBER}, {NUMBER}\]"
    found = table(rows[heading + 1 :], rf"{between} +{between} +{NUMBER} +{NUMBER}")
    models = ["fine-tuned", "last block", "frozen", "scratch"]
    classic = [f"{part}, {kind}" for part in ("taggers", "no tagger") for kind in ("logistic", "boosting")]
    assert_rows(found, [*models, *classic], 0, 100)
    assert all(numbers[-2] <= 1 <= numbers[-1] for numbers in found.values())
    values = {
        row["forecast"]: row["value"]
        for row in read_json(out / "smoke" / "analysis.json")
        if row["metric"] == "significance_bins"
    }
    assert {name: round(value, 2) for name, value in values.items()} == {name: n[0] for name, n in found.items()}
    assert_runs(out / "smoke", ["backbone", "tagger", "scratch", "frozen", "last-block"])


def check_anomalies(printed: str, out: Path) -> None:
    number = rf"{NUMBER} +{NUMBER}"
    printed = "\n".join(line for line in printed.splitlines() if "━" not in line)
    found = table(section(printed, "tops among QCD jets, learned from QCD with 0.0% of tops, 1 seeds")[1:], number)
    detectors = ["isolation forest", "auto-encoder", "boosting with labels"]
    kinds, scores = ("masked", "next"), ("score", "score_highest", "surprise")
    expected = [*detectors, *(f"{kind}: {score}" for kind, score in product(kinds, scores))]
    assert sorted(found) == sorted(expected)
    assert all(0 <= auc <= 1 and 0 < improvement <= 100**0.5 for auc, improvement in found.values())
    assert found["boosting with labels"][0] > max(0.8, found["masked: score"][0])
    rates = ("1e-03", "3e-04", "1e-04", "3e-05")
    columns = " +".join([NUMBER] * 6 + [r"(nan|\d+\.\d+)"] * 2)
    rows = section(printed, "planted faults")[1:]
    assert [tuple(row.split()[:2]) for row in rows] == list(product(("model", "climatology"), rates))
    for row in rows:
        match = re.fullmatch(rf"\w+ +\S+ +{columns}", row)
        assert match and all(number == "nan" or 0 <= float(number) <= 1 for number in match.groups()), row
    assert_runs(out / "smoke", ["masked-0", "next-0", "pretrained"])


def check_ablations(printed: str, out: Path) -> None:
    values = rf"seed 0 +2 steps +\+24 h {NUMBER} x persistence, upper air {NUMBER}, spread {NUMBER} x RMSE"
    found = table(lines_of(printed), values)
    default, without_anchor = "default: token of 2 x 2 x 2, all fields", "output added to climatology alone"
    assert_rows(found, [default, without_anchor], 0.1, 2)
    assert found[default][0] < 1 < found[without_anchor][0]  # kriging alone beats persistence, climatology does not


def check_adapting(printed: str, out: Path) -> None:
    names = ("all", "lora", "heads")
    rows = lines_of(printed)
    skill = table([row for row in rows if row.split()[-2] == "h"], NUMBER)
    weights = table([row for row in rows if " weights " in row], rf"weights +{COUNT}")
    kept = table([row for row in rows if row.startswith(("forgetting", "replay"))], NUMBER)
    assert len(skill) + len(weights) + len(kept) == len(rows)
    assert_rows(skill, [f"{name} {lead}" for name, lead in product(names, LEADS[:2])], 0.3, 1.2)
    for name in names:
        assert_rises(skill, f"{name} {{}}", LEADS[:2])
    assert_rows(weights, list(names), 1e4, 1e6)
    assert weights["all"] > weights["lora"] > weights["heads"]
    updates = [f"replay {share} {period}" for share, period in product(("0.5", "0.01"), ("old", "new"))]
    assert_rows(kept, ["forgetting all", "forgetting new", *updates], 0.9, 1.1)
    assert kept["forgetting new"] == (1.0,)  # where only what is new may change
    folder = out / "smoke" / "seed-0"
    runs = [name.replace(" ", "-") for name in names]
    assert_runs(folder, ["pretrained", *runs, "radar-all", "radar-new", "update-0.5", "update-0.01"])
    labels = {"task": "forecast", "lead_time_h": 24.0}
    for name, run in zip(names, runs, strict=True):
        ratio = mean_ratio(folder / f"{run}-scores" / "scores.json", "model", "persistence", **labels)
        assert skill[f"{name} +24 h"] == (round(ratio, 3),)


def check_cost_to_skill(printed: str, out: Path) -> None:
    names = ["ours", "atmorep", "unet", *([] if "sfno: is left out" in printed else ["sfno"])]
    for task in ("masked", "forecast"):
        curves = {name: read_json(out / "smoke" / f"{task}-{name}-0.json") for name in names}
        worst = max(readings[-1]["skill"] for readings in curves.values())
        rows = section(printed, f"{task}: until RMSE / climatology is {worst:.3f}")
        found = table(rows, rf"{NUMBER} s +{NUMBER} Wh +at the end {NUMBER} +{COUNT} steps")
        assert sorted(found) == sorted(names)
        for name, (took, energy, end, steps) in found.items():
            first, last = curves[name][0], curves[name][-1]
            assert first["seconds"] == 0 <= took <= last["seconds"] + 0.1
            assert energy == pytest.approx(took * 5 / 3600, abs=2e-4)
            assert end == round(last["skill"], 3) and 0.1 < end < 3 and steps == last["steps"] > 0
        assert 0.5 < curves["atmorep"][0]["skill"] < 3  # of no training


def check_finer(printed: str, out: Path) -> None:
    network, heading, *rows = lines_of(printed)
    took = re.fullmatch(r"  U-Net: ([\d,]+) parameters, (\d+) samples, \d+ s", network)
    assert took and int(took[1].replace(",", "")) > 1e5 and int(took[2]) > 0
    assert heading.startswith("mean ± standard deviation over 1 seeds")
    found = table(rows, NUMBER)
    metrics = ("rmse", "frequency_bias_q90", "ets_q90", "frequency_bias_q99", "ets_q99")
    names = ("U-Net", "ours, mean", "model", "climatology", "bilinear", "regression", "quantile_mapping")
    assert_rows(found, [f"radar tprate {metric} {name}" for metric, name in product(metrics, names)], -1 / 3, 4)
    for name in names:
        assert 0.5 < found[f"radar tprate rmse {name}"][0] < 1.5
        for quantile in ("q90", "q99"):
            assert found[f"radar tprate ets_{quantile} {name}"][0] <= 1
            assert found[f"radar tprate frequency_bias_{quantile} {name}"][0] >= 0
    assert found["radar tprate rmse bilinear"] == (1.0,)  # it is what all are held against
    folder = out / "smoke" / "seed-0"
    assert_runs(folder, ["pretrained", "radar"])
    of_unet = read_json(folder / "radar-unet-scores.json")["U-Net"]
    assert found["radar tprate ets_q90 U-Net"] == (round(of_unet["ets_q90"]["tprate"], 3),)


def check_lattices(printed: str, out: Path) -> None:
    heading, *rows = lines_of(printed)
    assert heading.startswith("RMSE and CRPS over ours on one lattice")
    found = table(rows, rf"{NUMBER} {NUMBER} {NUMBER} {NUMBER} {NUMBER} {NUMBER}")
    ways = [f"{name} {lattices}" for name, lattices in product(("ours", "mended", "U-Net"), (1, 2, 4))]
    assert_rows(found, [f"forecast {lead} {way}" for lead, way in product(("+6 h", "+12 h", "+24 h"), ways)], 0, 20)
    for lead in ("+6 h", "+12 h", "+24 h"):
        assert found[f"forecast {lead} ours 1"][:2] == (1.0, 1.0)  # what all are held against
        assert all(0.5 < found[f"forecast {lead} {way}"][0] < 2 for way in ways)
        assert found[f"forecast {lead} ours 4"] != found[f"forecast {lead} ours 2"]
    assert_runs(out / "smoke", ["pretrained", "forecast"])


PEERS_OF_JETS = {"ParT": "part", "L-GATr-slim": "lgatr", "PET": "pet"}


def check_jets(printed: str, out: Path) -> None:
    peers = [name for name in PEERS_OF_JETS if f"{name}: is left out" not in printed]
    missing = [line for line in lines_of(printed) if "is left out" in line]
    assert all(
        re.search(r"`pip install --no-deps [a-z-]+==\d{1,2}\.\d+\.\d+[a-z ]*` adds it", line) for line in missing
    )
    arms = ("fine-tuned", "frozen", "scratch", "substructure", "boosting", "logistic")
    rows = [f"{labels} labels {arm}" for labels, arm in product((20, 60), arms)]
    rows += [f"60 labels {arm}" for arm in ("longer", *peers)]

    losses = table(section(printed, "loss of pre-training"), rf"{NUMBER} {NUMBER}")
    assert_rows(losses, ["seed 0"], 1, 3.5)
    assert losses["seed 0"][1] < np.log(
        17
    )  # the entropy of 16 codes and the end is largest if all are equally frequent

    interval = rf"{NUMBER} \[{NUMBER}, {NUMBER}\]"
    scores = table(section(printed, "accuracy, AUC, background rejection"), " +".join([interval] * 4))
    assert sorted(scores) == sorted(rows)
    for words, numbers in scores.items():
        assert all(0 <= share <= 1 for share in numbers[:6]), words
        assert all(1 <= rejection <= 80 for rejection in numbers[6:]), words  # there are some 75 jets of background
        assert all(low <= high for low, high in zip(numbers[1::3], numbers[2::3], strict=True)), words
        assert numbers[6] >= numbers[9], words  # fewer signal jets, fewer background jets
    assert scores["60 labels boosting"][3] > 0.8

    signed = r"([+-]\d+\.\d+)"
    differences = table(section(printed, "difference of AUC"), rf"{signed} +\[one seed\] +\[{signed}, {signed}\]")
    pairs = [("fine-tuned", "scratch"), ("substructure", "boosting"), ("fine-tuned", "boosting")]
    expected = [(labels, *pair) for labels, pair in product((20, 60), pairs)]
    expected += [(60, "fine-tuned", other) for other in ("longer", *peers)]
    assert sorted(differences) == sorted(f"{labels} labels {one} less {other}" for labels, one, other in expected)
    for labels, one, other in expected:
        difference, low, high = differences[f"{labels} labels {one} less {other}"]
        aucs = [scores[f"{labels} labels {arm}"][3] for arm in (one, other)]
        assert difference == pytest.approx(aucs[0] - aucs[1], abs=2e-4) and -1 <= low <= high <= 1

    costs = table(section(printed, "CPU time"), rf"{NUMBER} s +{NUMBER} s +\(.+\)")
    assert_rows(costs, rows, 0, 120)
    for words, (own, whole) in costs.items():
        assert (whole > own) == words.endswith(("fine-tuned", "frozen", "substructure")), words

    files = {
        f"{labels} labels {arm}": f"{arm}-{labels}-{labels // 20 + 1 - labels // 60}-0.003"
        for labels, arm in product((20, 60), arms[:4])
    }
    files |= {f"{labels} labels {arm}": f"{arm}-{labels}" for labels, arm in product((20, 60), arms[4:])}
    files |= {"60 labels longer": "longer-60-3-0.003"}
    files |= {f"60 labels {name}": f"{PEERS_OF_JETS[name]}-small-60-0.003-0.5s" for name in peers}
    lines = lines_of(printed)
    runs = table([row for row in lines if row.startswith("seed 0 ") and " AUC " in row], rf"AUC {NUMBER} +{NUMBER} s")
    assert sorted(runs) == sorted(f"seed 0 {file}" for file in files.values())
    for words, file in files.items():
        found, took = runs[f"seed 0 {file}"]
        kept = read_json(out / "smoke" / "seed-0" / "jets-substructure-2" / f"{file}.json")
        assert scores[words][3] == pytest.approx(found, abs=2e-4) and took == round(kept["cpu_s"], 1)
        assert len(kept["scores"]) == 150
    rates = table([row for row in lines if "learning rate of" in row], NUMBER)
    own = [f"learning rate of {arm}:" for arm in arms[:3]]
    assert_rows(rates, [*own, *(f"size and learning rate of {name}: small," for name in peers)], 0.003, 0.003)


def check_labels(printed: str, out: Path) -> None:
    networks = ("pretrained", "heads", "scratch")
    arms = (*networks, "embedded", "untrained", "components", "rain", "frequencies")
    lines = lines_of(printed)
    rates = table([row for row in lines if row.startswith("learning rate")], NUMBER)
    assert rates == {f"learning rate of {arm}:": (0.0035,) for arm in networks}
    made = table([row for row in lines if row.startswith("made")], rf"in {COUNT} s")
    names = [f"{arm}-{size}-0.0035-0" for arm, size in product(networks, ("all", "10"))]
    names += [f"{arm}-{size}-0" for arm, size in product(arms[len(networks) :], ("all", "10"))]
    assert_rows(made, [f"made {name}" for name in names], 0, 300)
    about = section(printed, "27 held-out windows, 2001-01-01 to 2001-01-08; 113 labelled windows in training")
    costs = table(about[-1:], rf"pre-training {COUNT} s, networks {COUNT} s, regressions {COUNT} s")
    assert all(seconds < 300 for seconds in costs["CPU time:"])
    memory = table(about[:-1], rf"decorrelation time {NUMBER} days, {NUMBER} independent cases")
    assert sorted(memory) == ["america", "indian", "pacific"]
    for days, cases in memory.values():
        assert 1 < days < 4 and cases == pytest.approx(27 / 4 / days, abs=0.1)

    cell = rf"{NUMBER} \({NUMBER} to {NUMBER}\)"
    bounds = {"log score": (0.2, 4), "accuracy": (0, 1), "Brier score": (0, 2)}
    scores = {}
    for metric, (low, high) in bounds.items():
        scores[metric] = table(section(printed, f"{metric}, mean over labels and seeds"), f"{cell} +{cell}")
        assert_rows(scores[metric], list(arms), low, high)
    few, every = scores["log score"]["frequencies"][::3]
    assert every < min(few, 1.2)  # of three classes, from 10 labels and from a hundred
    results = read_json(out / "smoke" / "labels.json")
    for row in results["scores"]:
        first = 0 if row["labels"] == 10 else 3
        printed_row = scores[row["metric"]][row["arm"]][first : first + 3]
        assert printed_row == tuple(float(f"{row[key]:.3f}") for key in ("value", "low", "high"))
        assert row["low"] <= row["value"] <= row["high"]
        assert row["value"] == pytest.approx(np.mean([row[region] for region in memory]), abs=1e-3)
    signed = r"([+-]\d+\.\d+)"
    cell = rf"{signed} \({signed} to {signed}\)"
    for metric in ("log score", "accuracy"):
        apart = table(section(printed, f"difference of {metric}"), f"{cell} +{cell}")
        assert len(apart) == 7
        for pair, values in apart.items():
            first, second = (scores[metric][name] for name in pair.split(" - "))
            assert values[::3] == pytest.approx((first[0] - second[0], first[3] - second[3]), abs=2e-3)
            assert values[1] <= values[0] <= values[2] and values[4] <= values[3] <= values[5]
    assert len(results["scores"]) == 3 * len(arms) * 2 and len(results["differences"]) == 3 * 7 * 2


def check_loader(printed: str, out: Path) -> None:
    record, windows, heading, *rows = lines_of(printed)
    size = re.fullmatch(rf"record of 72 hours, {NUMBER} GB on disk, chunks of \[18, 27, 54\]", record)
    touched = re.fullmatch(
        rf"a window touches {NUMBER} chunks of each variable, {NUMBER} times as many values as it holds", windows
    )
    assert size and touched and "medians of 1 turns" in heading
    chunks, share = map(float, touched.groups())
    assert 0.001 < float(size[1]) < 0.1 and 8 <= chunks <= 27 and 1 <= share <= 3.4
    found = table(rows, rf"{NUMBER} +{COUNT} +{NUMBER} +{NUMBER} +{NUMBER}")
    peers = {"zarrs", "xbatcher"} & set(found)  # where they are installed
    assert_rows(found, ["raw", "ours", "xarray", "zarr-python", *peers], 0, 1e4)
    assert found["ours"][3:] == (1.0, 1.0)
    for per_second, megabytes, cpu_ms, by_wall, by_cpu in found.values():
        assert 8.3 * per_second - 1 <= megabytes <= 8.5 * per_second + 1  # a window has 8.4 MB
        assert 0.1 < cpu_ms < 1e4 and 0.01 < by_wall < 1e3 and 0.01 < by_cpu < 1e3


def check_model_error(printed: str, out: Path) -> None:
    baselines = ("climatology", "bilinear", "regression", "quantile_mapping")
    for metric in ("RMSE", "CRPS"):
        found = table(section(printed, f"{metric} over the baseline's"), rf"{NUMBER} +{WORST}")
        assert_rows(found, [f"translate / {base}" for base in baselines], 0.3, 2)
        assert all(mean <= worst for mean, worst in found.values())
    events = table(section(printed, "scores of events"), NUMBER)
    bounds = {"csi": (0, 1), "ets": (-1 / 3, 1), "frequency_bias": (0, 10)}
    channels, forecasts = ("z@500.0", "t2m@None", "tprate@None"), ("model", *baselines)
    places = [" ".join(place) for place in product(channels, forecasts)]
    for kind, quantile in product(bounds, ("q90", "q99")):
        of_kind = {row: value for row, value in events.items() if f" {kind}_{quantile} " in row}
        assert_rows(of_kind, [f"translate {kind}_{quantile} {place}" for place in places], *bounds[kind])
    for quantile, place in product(("q90", "q99"), places):
        assert events[f"translate ets_{quantile} {place}"] <= events[f"translate csi_{quantile} {place}"]
    assert len(events) == len(bounds) * 2 * len(places)
    assert_runs(out / "smoke" / "seed-0", ["pretrained", "corrected"])


def check_peers(printed: str, out: Path) -> None:
    peers = ["U-Net"] if "sfno: is left out" in printed else ["U-Net", "SFNO"]
    names = ["ours", "ours from scratch", *peers]
    rows = section(printed, "score over the baseline's")
    forecasts = table(
        [row for row in rows if not row.startswith("masked")], rf"\+6 h {NUMBER}  \+24 h {NUMBER}  \+72 h {NUMBER}"
    )
    scores = ("rmse / persistence", "rmse / climatology", "crps / climatology_distribution")
    assert_rows(forecasts, [f"forecast {name} {score}" for name, score in product(names, scores)], 0.2, 2)
    for name, score in product(names, scores[1:]):
        values = forecasts[f"forecast {name} {score}"]
        assert values == tuple(sorted(values))  # climatology doesn't know the lead time
    masked = table([row for row in rows if row.startswith("masked")], rf"75% hidden {NUMBER}")
    fillers = ("ours", "ours for gaps", "U-Net")
    expected = [f"masked {name} rmse / climatology" for name in fillers]
    assert_rows(masked, [*expected, *(f"masked {name} rmse / interpolation" for name in fillers[:2])], 0.4, 1.3)
    assert all(masked[row][0] < 1 for row in expected[:2])  # the U-Net has hardly begun to learn
    costs = rf"{NUMBER} M parameters +{NUMBER} GFLOP +{COUNT} steps +{COUNT} samples +{COUNT} s CPU +{COUNT} s wall"
    took = table(section(printed, "what a training took"), costs)
    assert sorted(took) == sorted([f"forecast {name}" for name in names] + [f"masked {name}" for name in fillers])
    for millions, gflop, steps, samples, _, _ in took.values():
        assert 0.3 < millions < 10 and 0.3 < gflop < 10
        assert samples == 2 * steps > 0
    assert_picture(Path("peers.png"))
    kept = read_json(out / "smoke" / "seed-0" / "unet-0.5s.json")[0]["ratios"]["rmse / persistence"]
    assert forecasts["forecast U-Net rmse / persistence"] == tuple(round(value, 3) for value in kept)


def check_predict(printed: str, out: Path) -> None:
    heading, *rows, ratio, apart = lines_of(printed)
    assert heading == "2 blocks, 3 members, 1 threads"
    seconds = table(rows, rf"{NUMBER} s CPU {NUMBER} s wall clock")
    assert_rows(seconds, ["peer", "ours"], 1e-3, 60)
    ratios = table([ratio], rf"{NUMBER} CPU {NUMBER} wall clock")
    for number, found in enumerate(ratios["peer / ours"]):
        assert found == pytest.approx(seconds["peer"][number] / seconds["ours"][number], rel=0.05)
        assert 0.3 < found < 30
    (difference,) = table([apart], rf"{NUMBER} standard deviations")["largest difference"]
    assert difference < 1e-4  # the same members


def check_questions(printed: str, out: Path) -> None:
    places = [("interpolate interpolate", lead) for lead in ("+6 h", "+12 h")] + [("refine refine", "+6 h")]
    expected = [f"{task} {lead} / {base}" for (task, lead), base in product(places, ("climatology", "linear"))]
    folder = out / "smoke" / "seed-0"
    for metric in ("RMSE", "CRPS"):
        found = table(section(printed, f"{metric} over the baseline's"), rf"{NUMBER} +{WORST}")
        assert_rows(found, expected, 0.1, 1.2)
        assert all(mean <= worst for mean, worst in found.values())
        for task, lead in places:
            known_on_both_sides = found[f"{task} {lead} / climatology"][0]
            assert known_on_both_sides < min(0.6, found[f"{task} {lead} / linear"][0])
        if metric == "RMSE":
            labels = {"task": "interpolate", "lead_time_h": 12.0}
            ratio = mean_ratio(folder / "interpolate-scores" / "scores.json", "model", "linear", **labels)
            assert found["interpolate interpolate +12 h / linear"][0] == round(ratio, 3)
    assert_runs(folder, ["pretrained", "interpolate", "refine"])


def check_regression(printed: str, out: Path) -> None:
    (line,) = lines_of(printed)
    match = re.fullmatch(rf"\w+: ensemble {NUMBER} of the loop, flow {NUMBER} of the loop", line)
    assert match
    ensemble, flow = map(float, match.groups())
    assert 0.1 < ensemble < flow < 20


def check_rollout(printed: str, out: Path) -> None:
    found = table(lines_of(printed), rf"{NUMBER}  \({NUMBER} to {NUMBER}\)")
    member, mean = "day 1 variance of a member / truth", "day 1 variance of their mean / truth"
    error = "day 1 RMSE of their mean / climatology"
    power = "day 1 power of a member / truth, shortest third of the waves"
    assert_rows(found, [member, mean, error, power], 0, 200)
    assert all(low <= middle <= high for middle, low, high in found.values())
    assert all(ours <= members for ours, members in zip(found[mean], found[member], strict=True))
    assert 0.05 < found[member][0] < 2 and 0.3 < found[error][0] < 1.2


def check_scaling(printed: str, out: Path) -> None:
    names = {"S-0.1y": 0, "M-0.1y": 1, "M-0.05y": 2}
    runs = [row for row in lines_of(printed) if "-masks-" in row]
    found = table(runs, rf"masked {NUMBER}  forecast {NUMBER}  {COUNT} steps, {COUNT} s")
    assert [row.split("-masks")[0] for row in found] == list(names)
    assert all(
        0.4 < masked < 1.2 and 0.4 < forecast < 1.2 and steps > 0 for masked, forecast, steps, _ in found.values()
    )
    rates = table([row for row in lines_of(printed) if row.startswith("learning rate")], NUMBER)
    assert rates == {"learning rate of S:": (0.0035,), "learning rate of M:": (0.0035,)}
    assert "; 0.002 · 10¹² operations of pre-training" in printed
    results = read_json(out / "smoke" / "scaling.json")
    assert results["settings"]["teraflop"] == 0.002
    points = {(run["size"], run["years"]): run for run in results["runs"]}
    assert len(points) == len(results["runs"]) == 3
    assert points["S", 0.1]["parameters"] < points["M", 0.1]["parameters"]
    assert points["S", 0.1]["steps"] >= points["M", 0.1]["steps"]  # of fewer operations each
    axes = {
        "parameters": ("parameters", [("S", 0.1), ("M", 0.1)]),
        "years of data": ("years", [("M", 0.05), ("M", 0.1)]),
    }
    scores = {"RMSE / climatology, 75 % hidden": "masked 75%", "RMSE / persistence, +24 h": "forecast"}
    for (axis, (column, places)), (title, score) in product(axes.items(), scores.items()):
        *rows, law = section(printed, f"{title}, by {axis}")
        assert law.strip() == "too few points for a power law"
        kept = [(points[place][column], points[place][score]) for place in places]
        assert all(0.4 < value < 1.2 for _, value in kept)
        assert [row.split() for row in rows] == [[str(x), f"{value:.3f}"] for x, value in kept]


def check_skill(printed: str, out: Path) -> None:
    masks, names = ("50%", "75%", "90%"), ("model", "scratch")
    rmse = table(section(printed, "mean over variables and levels of RMSE"), NUMBER)
    pairs = ("model / climatology", "model / interpolation", "interpolation / climatology")
    expected = [f"masked {mask} {pair}" for mask, pair in product(masks, pairs)]
    bases = ("climatology", "persistence")
    expected += [f"forecast {lead} {name} / {base}" for lead, name, base in product(LEADS, names, bases)]
    assert_rows(rmse, expected, 0.2, 1.3)
    crps = table(section(printed, "mean over variables and levels of CRPS"), NUMBER)
    expected = [f"forecast {lead} {name} / climatology_distribution" for lead, name in product(LEADS, names)]
    assert_rows(crps, expected, 0.2, 1.5)
    for pair in ("model / climatology", "interpolation / climatology"):
        assert_rises(rmse, f"masked {{}} {pair}", masks)
    for name in names:
        assert_rises(rmse, f"forecast {{}} {name} / climatology", LEADS)
        assert_rises(crps, f"forecast {{}} {name} / climatology_distribution", LEADS)
    worst = table(section(printed, "worst channel of the model"), WORST.removeprefix("worst "))
    means = {row.replace(" model", ""): mean for row, mean in rmse.items() if " model" in row}
    assert_rows(worst, list(means), 0.2, 1.3)
    assert all(means[row] <= value for row, value in worst.items())
    (folder,) = (out / "smoke").iterdir()
    assert_runs(folder / "seed-0", ["pretrained", "forecast", "scratch"])
    scores = folder / "seed-0" / "scores.json"
    for name in names:
        ratio = mean_ratio(scores, name, "persistence", task="forecast", lead_time_h=24.0)
        assert rmse[f"forecast +24 h {name} / persistence"] == (round(ratio, 3),)
    ratio = mean_ratio(scores, "model", "interpolation", task="masked 75%")
    assert rmse["masked 75% model / interpolation"] == (round(ratio, 3),)


def check_step(printed: str, out: Path) -> None:
    heading, row = lines_of(printed)
    assert heading == f"torch {torch.__version__}, 1 threads, 80% hidden, ensemble of 16"
    size, figures = row.split(" ", 1)
    found = json.loads(figures)
    assert size == "quickstart" and found.pop("tokens") == 4 * 12 * 24
    assert 1e5 < found.pop("parameters") < 1e7
    bounds = {
        "samples_per_s": (0.1, 1e3),
        "s_per_step": (1e-3, 20),
        "optimiser_s_per_step": (1e-4, found["s_per_step"]),
        "gflop_per_sample": (1, found["peer_gflop_per_sample"] / 2),  # the encoder runs on one token in five
        "share_of_peak": (0.01, 1.5),
        "peak_gflop_per_s": (1, 1e4),
        "peer_s_per_step": (1e-3, 40),
        "peer_gflop_per_sample": (2, 100),
        "speed_up": (0.2, 50),
        "memory_mib": (10, 2000),
    }
    assert set(found) == set(bounds)
    for name, (low, high) in bounds.items():
        assert low < found[name] < high, name
    assert found["samples_per_s"] * found["s_per_step"] == pytest.approx(2, rel=0.1)  # samples of a step
    assert found["speed_up"] == pytest.approx(found["peer_s_per_step"] / found["s_per_step"], rel=0.1)


def check_storm(printed: str, out: Path) -> None:
    low, *maps = lines_of(printed)
    said = rf"deepest low: {NUMBER} hPa from climatology at {NUMBER} N, {NUMBER} E on 2001-0[12]-\d\d \d\d:00:00"
    match = re.fullmatch(said, low)
    assert match, low
    depth_hpa, lat, lon = map(float, match.groups())
    assert -100 < depth_hpa < -20 and 35 <= abs(lat) <= 65 and -180 <= lon < 360
    centres = rf"centre of the sensitivity at {NUMBER} N, ([+-]\d+\.\d+) degrees of longitude from the low"
    found = table(maps, centres)
    assert list(found) == ["30 h before:", "24 h before:"]
    for centre_lat, apart in found.values():
        assert abs(centre_lat - lat) < 25 and abs(apart) < 60
    assert_picture(out / "storm_attention.png")
    assert_picture(out / "storm_attention.gif", frames=2)


def check_text(printed: str, out: Path) -> None:
    classes = table(section(printed, "classes from 60 labels"), rf"{NUMBER} +{NUMBER}")
    peers = ["text tuned", "frozen text tuned", "TF-IDF", "frequencies", "scratch", "LSTM encoder-decoder"]
    assert_rows(classes, peers, 0, 1)
    assert classes["TF-IDF"] > classes["frequencies"]
    perplexity = table(section(printed, "perplexity of a token"), NUMBER)
    assert_rows(perplexity, ["model", "bigrams", "unigrams", "LSTM encoder-decoder"], 1, 1e4)
    assert perplexity["bigrams"] < perplexity["unigrams"] < perplexity["model"]  # after three steps
    assert_runs(out / "smoke" / "seed-0", ["text", "text-generate", "labels-60/text tuned", "labels-60/scratch"])


def check_transfer(printed: str, out: Path) -> None:
    arms, shares = ("pretrained", "scratch"), ("3%", "10%")
    lines = lines_of(printed)
    runs = table([row for row in lines if row.startswith("forecast-")], rf"{NUMBER} {NUMBER} {NUMBER} +{COUNT} s")
    names = [f"forecast-{arm}-{part}-2-0.0035-0" for arm, part in product(arms, ("0.1", "0.03"))]
    assert sorted(runs) == sorted([*names, "forecast-pretrained-0-0-0.001-0"])
    rates = table([row for row in lines if row.startswith("learning rate")], NUMBER)
    assert rates == {f"learning rate of forecast {arm} with 10% of the data:": (0.0035,) for arm in arms}

    header, *rows = section(printed, "RMSE over the baseline's")
    assert header.split()[-2:] == list(shares)
    tuned = table([row for row in rows if "not fine-tuned" not in row], rf"{NUMBER} +{NUMBER}")
    assert_rows(tuned, [f"forecast {lead} {arm}" for lead, arm in product(LEADS, arms)], 0.3, 3)
    as_it_is = table([row for row in rows if "not fine-tuned" in row], NUMBER)
    assert_rows(as_it_is, [f"forecast {lead} not fine-tuned" for lead in LEADS], 0.3, 1.2)
    for lead in LEADS:
        assert tuned[f"forecast {lead} pretrained"] < tuned[f"forecast {lead} scratch"]  # few data, few steps
    for number, lead in enumerate(LEADS):
        result = read_json(out / "smoke" / "runs" / "2-forecast-scratch-0.1-2-0.0035-0.json")[0]["held_out"]
        ratio = np.mean(np.array(result["model"][number]) / result["baseline"][number])
        assert tuned[f"forecast {lead} scratch"][1] == float(f"{ratio:.3f}")
    assert len(list((out / "smoke" / "runs").glob("*.json"))) == 5

    bound = r"(?:> |<= )?(\d+(?:\.\d+)?)"
    needed = table(section(printed, "how many times the data"), rf"{bound} +\({bound}\)")
    assert_rows(needed, [f"forecast {lead} scratch {share}" for lead, share in product(LEADS, shares)], 1, 4)
    assert all(mean == own for mean, own in needed.values())  # of the one seed
    steps = table(section(printed, "steps from scratch"), rf"2 steps: {NUMBER}; scratch takes {bound} times as many")
    assert {row: value[0] for row, value in steps.items()} == {
        f"forecast {lead}": tuned[f"forecast {lead} pretrained"][1] for lead in LEADS
    }
    assert all(factor >= 1 for _, factor in steps.values())
    costs = table(section(printed, "CPU time, mean: pre-training"), rf"{COUNT} s \(2 steps\)")
    assert_rows(costs, [f"forecast {arm}" for arm in arms], 0, 120)


def check_upstream(printed: str, out: Path) -> None:
    lines = lines_of(printed)
    share = rf"{NUMBER} ± {NUMBER}, +{COUNT}% west"
    for title, rows in (("trained", lines[:3]), ("as drawn", lines[3:])):
        assert rows[0].startswith(f"{title}: offset of the sensitivity's centre")
        found = table(rows[1:], rf"{COUNT} cases   all +{share}   without the point +{share}")
        assert sorted(found) == ["z@500 north", "z@500 south"]
        for cases, offset, error, west, elsewhere, error_elsewhere, west_elsewhere in found.values():
            assert cases == 3 * 2 * 2  # latitudes, longitudes, starts
            assert abs(offset) <= abs(elsewhere) < 90  # persistence sits at the point itself
            assert 0 <= error < 90 and 0 <= error_elsewhere < 90
            assert 0 <= west <= 100 and 0 <= west_elsewhere <= 100


CHECKS: dict[str, Callable[[str, Path], None]] = {
    name.removeprefix("check_"): check for name, check in globals().items() if name.startswith("check_")
}


# The runs


def broken(printed: str) -> Iterator[str]:
    """The output without one of the rows that hold decimals, and with the numbers of one out of all bounds."""
    lines = printed.splitlines()
    for number, line in enumerate(lines):
        if re.search(r"\d\.\d", line) and "━" not in line:
            absurd = re.sub(r"\d+\.(\d+)", lambda match: "99999." + "9" * len(match[1]), line)
            yield "\n".join([*lines[:number], *lines[number + 1 :]])
            yield "\n".join([*lines[:number], absurd, *lines[number + 1 :]])


def test_every_script_has_a_check():
    assert sorted(CHECKS) == SCRIPTS


@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", SCRIPTS)
def test_it_runs_and_its_check_would_notice_a_row_that_is_missing_or_absurd(name, tmp_path, monkeypatch, capsys):
    """In this process: a new one would take longer to import than many of them to run."""
    text, out = (BENCHMARKS / f"{name}.py").read_text(), tmp_path / "out"
    options = ["--out", str(out)] if 'add_argument("--out"' in text else []
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(BENCHMARKS)
    monkeypatch.setattr(sys, "argv", [name, "--smoke", *options, *OPTIONS.get(name, [])])
    threads = torch.get_num_threads()
    try:
        importlib.import_module(name).main()
    finally:
        torch.set_num_threads(threads)
    printed = capsys.readouterr().out
    CHECKS[name](printed, out)
    if name in SMOKE_APART:
        assert [path.name for path in out.iterdir()] == ["smoke"]
    outputs = list(broken(printed))
    assert outputs
    for output in outputs:
        with pytest.raises((AssertionError, ValueError)):
            CHECKS[name](output, out)

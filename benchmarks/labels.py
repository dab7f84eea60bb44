"""Does pre-training pay for labels? Fine-tuning and logistic regression with 10, 100 and all labels, pre-trained and not.

    python benchmarks/labels.py --out runs/labels [--seeds 0 1 2] [--pretraining 900] [--jobs 2] [--smoke]

A label is the tercile of the coming day's rain over one of three regions, dry, normal or wet: the mean over the four steps that follow a
window of 12 h, of the square root of the regional mean, without its annual cycle. Cycle and terciles are those of the training period.
Nothing learns from the two held-out months: no model, climatology, principal component or scale. The calendar is hidden from all models.
Each window has the three labels, and scores are means over them.

Regions and label were chosen on the training period alone, by principal components and logistic regression with blocked cross-validation:
rain can be foreseen better than by its frequencies, but far from perfectly, and is decorrelated after 2 to 3 days. Of eight extratropical
regions these three left the largest gap to the frequencies. Pressure stays for a week, so two months hold too few cases of it; eddy
kinetic energy is no linear function of the fields.

Arms; a seed draws the labelled windows, the same for all arms, and new weights:

pretrained   the quickstart's masked model, all weights fine-tuned to the three labels at once
heads        only the maps to the answers and what is new, such as the query of each label
scratch      new weights, the same steps; normalised as pre-training was
embedded     logistic regression on `statecast.embed` of the pre-trained model: principal components of its tokens around the region
untrained    the same of new weights
components   the same of the values of the tokens: the fields themselves
rain         logistic regression on the regional rain of the window itself
frequencies  of the classes in the labelled windows

Everything is chosen on the labelled windows of the run itself, with one exception. Networks learn from four fifths of them and keep the
weights with the best loss on the others, which lie in the first fifth of the training period, of eight validations. Regressions choose the
number of components and the penalty by cross-validation in blocks and are then fitted to all. Networks know where a region is by `place`,
regressions by the tokens that they see. The exception: the learning rate of each kind of network is the better of two with all labels and
the first seed, by the log score on that fifth.

Prints scores with 95 % intervals, from resampling blocks of three days, and paired differences; `benchmarks/results/labels.json` keeps
them. One JSON a run under --out; what is there is used again.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression

from rain import (
    ALL,
    CLASSES,
    REGIONS,
    STEP_H,
    STEPS,
    Box,
    Parts,
    brier_scores,
    centre,
    codes_of,
    drawn,
    hits,
    inside,
    log_scores,
    memory_days,
    parts_of,
    rain_index,
    slice_of,
)
from shared import PLAIN, SAMPLE, SMALL, WHOLE, Extent, edge_note, in_parallel, kept
from statecast import embed, finetune, load, pretrain, read_recipe
from statecast.answer import predict_question
from statecast.config import Recipe
from statecast.evaluation.verification import INTERVAL, block_bootstrap
from statecast.outputs import new_output
from statecast.trained import TrainedModel, build

RESULTS = Path(__file__).parent / "results" / "labels.json"
BATCH, VALIDATIONS = 4, 8
BLOCK_H = 72  # that are resampled together: more than the labels' memory
RESAMPLINGS = 2000
UPSTREAM_DEG, AROUND_DEG = 15, 5  # that regressions see beyond a region: to the west, and to the north and south

NETWORKS = ("pretrained", "heads", "scratch")
REGRESSIONS = ("embedded", "untrained", "components", "rain")
ARMS = (*NETWORKS, *REGRESSIONS, "frequencies")
PAIRS = (
    ("pretrained", "scratch"),
    ("pretrained", "heads"),
    ("pretrained", "components"),
    ("pretrained", "embedded"),
    ("embedded", "untrained"),
    ("embedded", "components"),
    ("components", "frequencies"),
)


@dataclass(frozen=True)
class Study:
    """How large the whole is.

    pretraining  steps of pre-training
    steps        of a fine-tuning, by the number of labels
    """

    out: Path
    seeds: tuple[int, ...] = (0, 1, 2)
    pretraining: int = 900
    steps: tuple[tuple[int, int], ...] = ((10, 48), (100, 96), (ALL, 160))
    rates: tuple[float, ...] = (1e-3, 3.5e-3)
    components: tuple[int, ...] = (3, 10, 30, 80)
    penalties: tuple[float, ...] = (1e-3, 1e-2, 1e-1, 1.0)  # over those of scikit-learn: large is weak
    folds: int = 5
    validation_samples: int = 64
    extent: Extent = WHOLE

    @property
    def sizes(self) -> list[int]:
        return [size for size, _ in self.steps]


@dataclass(frozen=True)
class Run:
    """One arm with so many labels; `rate` is the learning rate of networks."""

    arm: str
    size: int
    seed: int
    rate: float = 0.0

    @property
    def name(self) -> str:
        rate = f"-{self.rate:g}" if self.rate else ""
        return f"{self.arm}-{self.size or 'all'}{rate}-{self.seed}"


# Networks


def pretrained_path(study: Study) -> Path:
    return study.out / f"pretrained-{study.pretraining}"


def make_pretrained(study: Study) -> float:
    """The quickstart's pre-training without the calendar, one for all seeds, if it isn't done; the CPU time that it took."""
    path = pretrained_path(study)
    changes = [f"training.steps={study.pretraining}", "window.hide_calendar=true", *study.extent.overrides]
    changes += [f"training.{key}={json.dumps(value)}" for key, value in PLAIN.items()]

    def make() -> dict[str, Any]:
        began = time.process_time()
        pretrain("quickstart", path, overrides=changes, overwrite=True, progress=False)
        return {"cpu_s": round(time.process_time() - began, 1)}

    return kept(path.with_suffix(".json"), make)["cpu_s"]


def start_of(study: Study, arm: str, seed: int) -> TrainedModel:
    """The pre-trained model, or one of the same streams with new weights."""
    start = load(pretrained_path(study))
    if arm in ("scratch", "untrained"):
        return replace(start, model=build(start.model.options, start.codecs, seed))
    return start


def recipe_of(study: Study, run: Run, start: TrainedModel, parts: Parts, table: Path) -> Recipe:
    """The fine-tuning to the labels of a table."""
    learn, stop = parts.periods
    steps = dict(study.steps)[run.size]
    labels = {region: {"labels": str(table), "column": region, "place": centre(box)} for region, box in REGIONS.items()}
    training = {
        "steps": steps,
        "batch_size": BATCH,
        "learning_rate": run.rate,
        "validate_every": max(1, steps // VALIDATIONS),
        "validation_samples": min(study.validation_samples, BATCH * len(parts.stop)),
        "checkpoint_every": steps,
        "result": "best",
    }
    said = {
        "seed": run.seed,
        "data": {"train": learn, "validate": stop},
        "streams": {"atmosphere": start.recipe.as_dict()["streams"]["atmosphere"]} | labels,
        "task": {"kind": "translate", "to": list(REGIONS), "slabs": 1},
        "adaptation": {"change": "heads" if run.arm == "heads" else "all"},
        "training": training | PLAIN,
    }
    return read_recipe(said, inherit=start.recipe)


def tuned(study: Study, run: Run) -> dict[str, Any]:
    """What a fine-tuning answers on the held-out period; with all labels also its log score where training stops."""
    parts, start = drawn(parts_of(study.extent), run.size, run.seed), start_of(study, run.arm, run.seed)
    with tempfile.TemporaryDirectory() as folder, patch("statecast.fields.forgetting.may_forget", return_value=False):
        table = Path(folder) / "labels.csv"
        pd.concat([parts.known, parts.held_out]).to_csv(table, index_label="time")
        recipe = recipe_of(study, run, start, parts, table)
        model = finetune(recipe, start, Path(folder) / "run", progress=False)
        result = {"probabilities": answers(model, parts.held_out, study.extent.held_out)}
        if run.size == ALL:
            stop = np.array(answers(model, parts.stop, recipe.data.validate_on))
            result["stop"] = float(log_scores(stop, codes_of(parts.stop)).mean())
    return result


def answers(model: TrainedModel, asked: pd.DataFrame, period: tuple[str, str]) -> list[Any]:
    """Probability of each class of each label of each window: S, L, K as nested lists."""
    source = model.domain.open(model.domain.with_data(model.recipe, None, period), "validate", model.codecs)
    cases, found = source.cases(), []
    lasts = pd.DatetimeIndex(cases.labels) + pd.Timedelta(hours=STEP_H * (STEPS - 1))
    assert list(lasts) == list(asked.index)
    for number in range(len(cases)):
        said = predict_question(model, model.recipe.task.complete(cases[number]))
        of_labels = [said[region].logits[0, 0].softmax(-1) for region in REGIONS]
        found.append(torch.stack(of_labels).double().numpy().round(6).tolist())
    return found


# Regressions


def features_of(study: Study, source: str, seed: int) -> dict[str, pd.DataFrame]:
    """The features of each window around each region, by its last time, made once.

    Principal components of the windows of the training period, labelled or not, over the standard deviation of the first.
    """
    path = study.out / "features" / f"{study.pretraining}-{source}-{seed}.npz"
    if not path.is_file():
        times, tokens = tokens_of(study, source, seed)
        made = {region: components(study, times, of_region) for region, of_region in tokens.items()}
        with new_output(path) as part, part.open("wb") as file:
            np.savez(file, times=times.values, **made)
    with np.load(path) as file:
        return {region: pd.DataFrame(file[region], pd.DatetimeIndex(file["times"])) for region in REGIONS}


def make_features(study: Study, source: tuple[str, int]) -> None:
    features_of(study, *source)


def tokens_of(study: Study, source: str, seed: int) -> tuple[pd.DatetimeIndex, dict[str, Float[np.ndarray, "S F"]]]:
    """The last times of all windows, and their tokens around each region, weighted by the root of their area."""
    model = start_of(study, source, seed)
    task = model.recipe.task.model_copy(update={"slabs": 1})
    model = replace(model, recipe=model.recipe.model_copy(update={"task": task}))
    parts: dict[str, list[np.ndarray]] = {region: [] for region in REGIONS}
    lasts = []
    for period in (study.extent.train, study.extent.held_out):
        if source == "components":
            times, lat, lon, values = values_of(model, period)
        else:
            of_windows = embed(model, SAMPLE, period, pool="none")
            times, values = of_windows["sample"].to_index(), of_windows["atmosphere"].values
            lat, lon = (of_windows[f"atmosphere_{name}_deg"].values for name in ("latitude", "longitude"))
        lasts.append(times + pd.Timedelta(hours=STEP_H * (STEPS - 1)))
        for region, box in REGIONS.items():
            near = inside(lat, lon, around(box))
            weighted = values[:, near] * np.sqrt(np.cos(np.deg2rad(lat[near])))[:, None]
            parts[region].append(weighted.reshape(len(values), -1))
    return lasts[0].append(lasts[1]), {region: np.concatenate(both) for region, both in parts.items()}


def values_of(
    model: TrainedModel, period: tuple[str, str]
) -> tuple[pd.DatetimeIndex, np.ndarray, np.ndarray, np.ndarray]:
    """First times, latitudes, longitudes and normalised values of the tokens of each window: what the models see."""
    source = model.domain.open(model.domain.with_data(model.recipe, None, period), "validate", model.codecs)
    cases = source.cases()
    values = np.stack([cases[number]["atmosphere"].values.numpy() for number in range(len(cases))])
    first = cases[0]["atmosphere"]
    lat, lon = (first.coordinate(name).numpy() for name in ("latitude_deg", "longitude_deg"))
    return pd.DatetimeIndex(cases.labels), lat, lon, values


def around(box: Box) -> Box:
    (south, north), (west, east) = box
    return (south - AROUND_DEG, north + AROUND_DEG), (west - UPSTREAM_DEG, east)


def components(study: Study, times: pd.DatetimeIndex, tokens: Float[np.ndarray, "S F"]) -> Float[np.ndarray, "S K"]:
    learned = slice_of(times, study.extent.train)
    count = min(max(study.components), *tokens[learned].shape)
    fitted = PCA(count, svd_solver="full").fit(tokens[learned])
    return fitted.transform(tokens) / np.sqrt(fitted.explained_variance_[0])


def rain_features(study: Study) -> dict[str, pd.DataFrame]:
    """The rain index of a window itself, in standard deviations of the training period."""
    found = {}
    for region, box in REGIONS.items():
        index = rain_index(study.extent, box)
        own = index.rolling(STEPS).mean()
        found[region] = (own / own[slice_of(own.index, study.extent.train)].std()).to_frame()
    return found


def regressed(study: Study, run: Run) -> dict[str, Any]:
    """What a logistic regression answers on the held-out period."""
    parts = drawn(parts_of(study.extent), run.size, run.seed)
    codes, of_labels, chosen = codes_of(parts.known), [], []
    if run.arm != "frequencies":
        features = rain_features(study) if run.arm == "rain" else features_of(study, run.arm, weights_of(study, run))
    for number, region in enumerate(REGIONS):
        if run.arm == "frequencies":
            of_labels.append(np.tile(frequencies(codes[:, number]), (len(parts.held_out), 1)))
            continue
        known, asked = (features[region].loc[table.index].values for table in (parts.known, parts.held_out))
        count, penalty = chosen_by_folds(study, known, codes[:, number])
        chosen.append([count, penalty])
        of_labels.append(regression(known[:, :count], codes[:, number], asked[:, :count], penalty))
    return {"probabilities": np.stack(of_labels, axis=1).round(6).tolist(), "chosen": chosen}


def weights_of(study: Study, run: Run) -> int:
    """The seed of the weights behind features; only those that are untrained have one of their own."""
    return run.seed if run.arm == "untrained" else study.seeds[0]


def frequencies(codes: Int[np.ndarray, " S"]) -> Float[np.ndarray, " K"]:
    """Of the classes; none is impossible (Laplace)."""
    counts = np.bincount(codes, minlength=len(CLASSES)) + 1.0
    return counts / counts.sum()


def regression(
    known: Float[np.ndarray, "S F"], codes: Int[np.ndarray, " S"], asked: Float[np.ndarray, "A F"], penalty: float
) -> Float[np.ndarray, "A K"]:
    """Probabilities by logistic regression; of a class that isn't known, as in a fold of few labels, the one of `frequencies`."""
    found = np.tile(frequencies(codes), (len(asked), 1))
    present = np.unique(codes)
    if len(present) > 1:
        fitted = LogisticRegression(C=penalty, max_iter=2000).fit(known, codes)
        found[:, present] = fitted.predict_proba(asked) * found[:, present].sum(axis=1, keepdims=True)
    return found


def chosen_by_folds(study: Study, known: Float[np.ndarray, "S F"], codes: Int[np.ndarray, " S"]) -> tuple[int, float]:
    """The number of components and the penalty with the best log score, each fifth foreseen from the others; windows are in their order."""
    fold = np.arange(len(codes)) * study.folds // len(codes)
    counts = [count for count in study.components if count <= min(known.shape[1], len(codes))] or [known.shape[1]]
    errors = {}
    for count, penalty in product(counts, study.penalties):
        found = np.zeros((len(codes), len(CLASSES)))
        for here in range(study.folds):
            is_asked = fold == here
            learned = known[~is_asked, :count]
            found[is_asked] = regression(learned, codes[~is_asked], known[is_asked, :count], penalty)
        errors[count, penalty] = float(log_scores(found, codes).mean())
    return min(errors, key=errors.__getitem__)


# Runs


def result_of(study: Study, run: Run) -> dict[str, Any]:
    """The result of a run, which is made if it isn't there yet."""
    path = study.out / "runs" / f"{study.pretraining}-{dict(study.steps)[run.size]}-{run.name}.json"
    is_new = not path.is_file()

    def make() -> dict[str, Any]:
        began = time.process_time()
        found = tuned(study, run) if run.arm in NETWORKS else regressed(study, run)
        return asdict(run) | found | {"cpu_s": round(time.process_time() - began, 1)}

    result = kept(path, make)
    if is_new:
        print(f"made {run.name} in {result['cpu_s']:.0f} s", flush=True)
    return result


def choose_rates(study: Study, jobs: int) -> dict[str, float]:
    """The learning rate of each kind of network with the best log score where training stops, with all labels and the first seed."""
    runs = [Run(arm, study.sizes[-1], study.seeds[0], rate) for arm, rate in product(NETWORKS, study.rates)]
    results = in_parallel(partial(result_of, study), runs, jobs)
    chosen = {}
    for arm in NETWORKS:
        errors = {result["rate"]: result["stop"] for result in results if result["arm"] == arm}
        chosen[arm] = min(errors, key=errors.__getitem__)
        print(
            f"learning rate of {arm}: {chosen[arm]:g}{edge_note(chosen[arm], study.rates) if len(study.rates) > 2 else ''}"
        )
    return chosen


def all_runs(study: Study, rates: dict[str, float]) -> list[Run]:
    """The longest first, so that the last ones to end are short."""
    runs = []
    for arm, size, seed in product(ARMS, study.sizes[::-1], study.seeds):
        depends = size != ALL or arm in (*NETWORKS, "untrained")
        runs.append(Run(arm, size, seed if depends else study.seeds[0], rates.get(arm, 0.0)))
    return list(dict.fromkeys(runs))


def run_all(study: Study, rates: dict[str, float], jobs: int) -> list[dict[str, Any]]:
    runs = all_runs(study, rates)
    sources = {(run.arm, weights_of(study, run)) for run in runs if run.arm in ("embedded", "untrained", "components")}
    in_parallel(partial(make_features, study), sorted(sources), jobs)  # before two runs make the same ones
    return in_parallel(partial(result_of, study), runs, jobs)


# Scores


METRICS = {"log score": log_scores, "accuracy": hits, "Brier score": brier_scores}


@dataclass(frozen=True)
class Scores:
    """Scores of each held-out window: R seed, S window, L label, by metric, arm and number of labels."""

    study: Study
    cases: dict[tuple[str, str, int], Float[np.ndarray, "R S L"]]

    @classmethod
    def of(cls, study: Study, results: Sequence[dict[str, Any]]) -> "Scores":
        truth = codes_of(parts_of(study.extent).held_out)
        cases: dict[tuple[str, str, int], list[np.ndarray]] = {}
        for result, (metric, score) in product(results, METRICS.items()):
            found = score(np.array(result["probabilities"]), truth)
            cases.setdefault((metric, result["arm"], result["size"]), []).append(found)
        return cls(study, {key: np.stack(found) for key, found in cases.items()})

    def estimate(self, windows: Float[np.ndarray, " S"]) -> dict[str, float]:
        """A mean over windows with its 95 % interval by resampled blocks of days, the same blocks for all."""
        draws = block_bootstrap(len(windows), BLOCK_H // STEP_H, RESAMPLINGS, np.random.default_rng(0))
        low, high = np.percentile(windows[draws].mean(axis=1), INTERVAL)
        return {"value": round(float(windows.mean()), 4), "low": round(float(low), 4), "high": round(float(high), 4)}

    def rows(self) -> list[dict[str, Any]]:
        rows = []
        for (metric, arm, size), cases in self.cases.items():
            seeds, labels = cases.mean(axis=(1, 2)), cases.mean(axis=(0, 1))
            row = {"arm": arm, "labels": size or "all", "metric": metric} | self.estimate(cases.mean(axis=(0, 2)))
            row |= {"seeds": seeds.round(4).tolist()} | dict(zip(REGIONS, labels.round(4).tolist(), strict=True))
            rows.append(row)
        return rows

    def differences(self) -> list[dict[str, Any]]:
        """Of the first arm less the second, window by window."""
        rows = []
        for metric, (first, second), size in product(METRICS, PAIRS, self.study.sizes):
            apart = self.cases[metric, first, size] - self.cases[metric, second, size]
            row = {"first": first, "second": second, "labels": size or "all", "metric": metric}
            rows.append(row | self.estimate(apart.mean(axis=(0, 2))))
        return rows


def settings(study: Study, rates: dict[str, float]) -> dict[str, Any]:
    parts = parts_of(study.extent)
    return {
        "store": SAMPLE,
        "train": study.extent.train,
        "held_out": study.extent.held_out,
        "windows": len(parts.held_out),
        "labelled": len(parts.known),
        "memory_days": {region: round(memory_days(study.extent, region), 2) for region in REGIONS},
        "seeds": study.seeds,
        "pretraining_steps": study.pretraining,
        "steps": {str(size or "all"): steps for size, steps in study.steps},
        "learning_rates": rates,
        "torch": torch.__version__,
    }


def independent_days(found: dict[str, Any], region: str) -> float:
    """How many independent cases the held-out windows of a label amount to."""
    return found["windows"] * STEP_H / 24 / found["memory_days"][region]


# Tables


def print_settings(found: dict[str, Any]) -> None:
    first, last = found["held_out"]
    print(f"\n{found['windows']} held-out windows, {first} to {last}; {found['labelled']} labelled windows in training")
    for region, days in found["memory_days"].items():
        print(
            f"{region:10s} decorrelation time {days:.1f} days, {independent_days(found, region):.1f} independent cases"
        )


def print_costs(pretraining_s: float, results: Sequence[dict[str, Any]]) -> None:
    of_networks = sum(result["cpu_s"] for result in results if result["arm"] in NETWORKS)
    of_regressions = sum(result["cpu_s"] for result in results if result["arm"] not in NETWORKS)
    print(
        f"CPU time: pre-training {pretraining_s:.0f} s, networks {of_networks:.0f} s, regressions {of_regressions:.0f} s"
    )


def print_scores(results: dict[str, Any]) -> None:
    sizes = list(results["settings"]["steps"])
    for metric in METRICS:
        print(f"\n{metric}, mean over labels and seeds, 95 % interval over days; labels: {', '.join(sizes)}")
        for arm in ARMS:
            rows = [row for row in results["scores"] if (row["arm"], row["metric"]) == (arm, metric)]
            print_row(arm, sizes, rows, "")


def print_differences(results: dict[str, Any]) -> None:
    sizes = list(results["settings"]["steps"])
    for metric in ("log score", "accuracy"):
        print(f"\ndifference of {metric}, first less second; labels: {', '.join(sizes)}")
        for first, second in PAIRS:
            rows = [
                row
                for row in results["differences"]
                if (row["first"], row["second"], row["metric"]) == (first, second, metric)
            ]
            print_row(f"{first} - {second}", sizes, rows, "+")


def print_row(name: str, sizes: Sequence[str], rows: Sequence[dict[str, Any]], sign: str) -> None:
    cells = []
    for size in sizes:
        (row,) = (row for row in rows if str(row["labels"]) == size)
        cells.append(f"{row['value']:{sign}.3f} ({row['low']:{sign}.3f} to {row['high']:{sign}.3f})")
    print(f"{name:26s} " + "   ".join(cells))


def write(results: dict[str, Any], file: Path) -> None:
    """A row a line, so that a change can be read."""
    lines = ['{"settings": ' + json.dumps(results["settings"])]
    for part in ("scores", "differences"):
        rows = ",\n  ".join(json.dumps(row) for row in results[part])
        lines.append(f' "{part}": [\n  {rows}]')
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(",\n".join(lines) + "}\n")


def study_of(arguments: argparse.Namespace) -> Study:
    if not arguments.smoke:
        return Study(arguments.out, tuple(arguments.seeds), arguments.pretraining)
    few = Study(arguments.out / "smoke", (0,), 2, ((10, 2), (ALL, 2)), (3.5e-3,), (3, 10), (1e-2, 1.0), 3, 4)
    return replace(few, extent=SMALL)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/labels"))
    parser.add_argument("--results", type=Path, default=RESULTS, help="the file that is kept")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--pretraining", type=int, default=Study.pretraining, help="steps")
    parser.add_argument("--jobs", type=int, default=2, help="processes, of one thread each")
    parser.add_argument(
        "--smoke", action="store_true", help="one seed, a month, two steps; its results lie under --out"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    study = study_of(arguments)
    pretraining_s = make_pretrained(study)
    rates = choose_rates(study, arguments.jobs)
    results = run_all(study, rates, arguments.jobs)
    scores, about = Scores.of(study, results), settings(study, rates)
    file = study.out / "labels.json" if arguments.smoke else arguments.results
    write({"settings": about, "scores": scores.rows(), "differences": scores.differences()}, file)
    kept_results = json.loads(file.read_text())
    print_settings(about)
    print_costs(pretraining_s, results)
    print_scores(kept_results)
    print_differences(kept_results)


if __name__ == "__main__":
    main()

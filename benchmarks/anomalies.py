"""Strange jets among QCD jets, and planted faults in fields: is what the model calls strange what is wrong?

    python benchmarks/anomalies.py --out runs/anomalies [--seeds 0 1 2] [--only jets fields] [--contamination 0.01] [--smoke]

Jets: for each seed the recipes `jets` and `jets-next` (here without the label) learn from the QCD jets among the first 16 000 of
`sample:jets`, with a share `--contamination` of tops among them (0 if not given). Scores of the 2000 held-out jets, half of them tops,
beside an isolation forest and an auto-encoder on five substructure variables of the same jets, and boosting that knows the labels. Prints
AUC and the largest significance improvement, signal efficiency over the square root of the background efficiency, of cuts that keep at
least ten background jets.

Fields: the quickstart's pre-training, or that of --model RUN. Sensor faults and unit errors are planted in the held-out months of
`sample:atmosphere`: values that are stuck for five days, spikes at a point, blocks with an offset, a day in Celsius, wind with the wrong
sign. Prints precision and recall of the tokens' channels above thresholds that are estimated from the training period, beside those of
the anomaly from climatology. A channel of a token counts as faulty if a value in it is wrong by a standard deviation or more.
What a stopped run left is used again.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score, roc_curve
from sklearn.preprocessing import StandardScaler

from shared import SMOKE, WHOLE, Effort, once, pretrained_once, spread
from statecast import open_fields, pretrain
from statecast.fields.sources import Record
from statecast.fields.strange import TiledWindows, searched_fields
from statecast.fields.tokenizers import split_patches
from statecast.particles.evaluation.baselines import fit_classifier, probabilities
from statecast.particles.evaluation.observables import TAGGING, as_features, observables
from statecast.particles.held_out import whole_jets
from statecast.particles.inference.write import write_jets
from statecast.particles.jets import Jets
from statecast.particles.recipe import JetData
from statecast.particles.strange import token_names
from statecast.surprise.score import values_per_channel
from statecast.surprise.strange import Search, searched, usual_of
from statecast.surprise.usual import Usual
from statecast.trained import TrainedModel, load

# Jets

LEARNED, HELD_OUT_JETS = (0, 15_999), (16_000, 17_999)
FEW_JETS = ((0, 399), (16_000, 16_199))  # of smoke runs
BACKGROUND = "QCD"
FEWEST_BACKGROUND = 10
JET_RECIPES = {
    "masked": {"task": {"kind": "masked_particles", "hidden": [0.3, 0.4], "ask": ["codes"], "show": []}},
    "next": {"task": {"kind": "next_particle", "ask": ["codes", "bins"], "show": ["jet"]}},
}
SCORES = ("score", "score_highest", "surprise")
HIDDEN, BOTTLENECK, EPOCHS = 32, 2, 200  # of the auto-encoder


def jets_of(span: tuple[int, int]) -> Jets:
    return whole_jets(("sample:jets",), span, JetData(files=("sample:jets",), train=span))


def background_file(folder: Path, contamination: float, smoke: bool) -> Path:
    """The QCD jets to learn from, with a share of tops among them, as a file."""
    path = folder / "background.parquet"
    if not path.is_file():
        jets = jets_of(FEW_JETS[0] if smoke else LEARNED)
        assert jets.labels is not None
        background = np.flatnonzero(jets.labels == BACKGROUND)
        signal = np.flatnonzero(jets.labels != BACKGROUND)[: round(contamination * len(background))]
        chosen = np.sort(np.concatenate([background, signal]))
        folder.mkdir(parents=True, exist_ok=True)
        write_jets(jets[chosen], path)
    return path


def jet_recipe(kind: str, file: Path, jets: int, seed: int, smoke: bool) -> dict[str, Any]:
    validated = max(8, jets // 16)
    data = {"domain": "particles", "files": str(file), "align": True}
    streams: dict[str, Any] = {
        "particles": {"particles": ["delta_eta", "delta_phi", "log_pt_fraction", "log_pt", "charge"]},
        "jet": {"quantities": ["multiplicity", "pt_gev", "eta", "mass_gev"]},
        "codes": {"asks": "codebook", "size": 32 if smoke else 512},
    }
    if kind == "next":
        streams["bins"] = {"asks": "bins", "size": 512}
    training = {"steps": 2 if smoke else 400, "batch_size": 32, "learning_rate": 3e-3, "validation_samples": 64}
    return {
        "seed": seed,
        "data": data | {"train": [0, jets - validated - 1], "validate": [jets - validated, jets - 1]},
        "streams": streams,
        "model": {"width": 48 if smoke else 96, "encoder_layers": 1 if smoke else 3, "decoder_layers": 1, "heads": 4},
        "training": training | {"footprint": False, "loggers": []},
    } | JET_RECIPES[kind]


def model_scores(trained: TrainedModel, held_out: tuple[int, int], smoke: bool) -> dict[str, Float[np.ndarray, " J"]]:
    """The scores of each held-out jet."""
    recipe = trained.domain.with_data(trained.recipe, "sample:jets", tuple(map(str, held_out)))
    source = trained.domain.open(recipe, "validate", trained.codecs)
    assert source is not None
    search = Search(parts=2 if smoke else 4, windows=0, batch=64)
    tables, _ = searched(trained, source.cases(), search, token_names, progress=False)
    return {name: tables.samples[name].astype(float) for name in SCORES}


def autoencoder(train: Float[np.ndarray, "J F"], seed: int, epochs: int) -> Any:
    """Error of a small auto-encoder that learned from standardised features: features -> squared error of each jet."""
    scaler = StandardScaler().fit(train)
    values = torch.from_numpy(scaler.transform(train)).float()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        sizes = (train.shape[1], HIDDEN, BOTTLENECK, HIDDEN, train.shape[1])
        layers: list[torch.nn.Module] = []
        for inside, outside in pairwise(sizes):
            layers += [torch.nn.Linear(inside, outside), torch.nn.GELU()]
        network = torch.nn.Sequential(*layers[:-1])
        optimiser = torch.optim.Adam(network.parameters(), 1e-3)
        for _ in range(epochs):
            for batch in values[torch.randperm(len(values))].split(256):
                optimiser.zero_grad()
                (network(batch) - batch).square().mean().backward()
                optimiser.step()

    @torch.no_grad()
    def error(features: Float[np.ndarray, "J F"]) -> Float[np.ndarray, " J"]:
        asked = torch.from_numpy(scaler.transform(features)).float()
        return (network(asked) - asked).square().mean(dim=1).numpy()

    return error


def baseline_scores(learned: Jets, held_out: Jets, seed: int, smoke: bool) -> dict[str, Float[np.ndarray, " J"]]:
    """Of detectors that learn from the same jets, and of the one that knows the labels of all."""
    theirs, ours = (as_features(observables(jets), TAGGING) for jets in (learned, held_out))
    forest = IsolationForest(random_state=seed).fit(theirs)
    return {
        "isolation forest": -forest.score_samples(ours),
        "auto-encoder": autoencoder(theirs, seed, 2 if smoke else EPOCHS)(ours),
    }


def ceiling_scores(held_out: Jets, seed: int, smoke: bool) -> Float[np.ndarray, " J"]:
    labelled = jets_of(FEW_JETS[0] if smoke else LEARNED)
    theirs, ours = (as_features(observables(jets), TAGGING) for jets in (labelled, held_out))
    assert labelled.labels is not None
    model = fit_classifier("boosting", theirs, labelled.labels, seed=seed)
    classes = [str(name) for name in np.unique(labelled.labels)]
    return 1 - probabilities(model, ours, classes)[:, classes.index(BACKGROUND)]


def significance_improvement(is_signal: Int[np.ndarray, " J"], score: Float[np.ndarray, " J"]) -> float:
    """max of eps_S / sqrt(eps_B) over cuts that keep at least ten background jets."""
    background, signal, _ = roc_curve(is_signal, score, drop_intermediate=False)
    enough = background * (is_signal == 0).sum() >= FEWEST_BACKGROUND
    return float((signal[enough] / np.sqrt(background[enough])).max())


def jet_rows(
    seed: int, out: Path, contamination: float, kinds: Sequence[str], smoke: bool
) -> dict[str, tuple[float, float]]:
    """AUC and significance improvement of each score."""
    folder = out / ("smoke" if smoke else f"contamination-{contamination:g}")
    file, held_out = background_file(folder, contamination, smoke), FEW_JETS[1] if smoke else HELD_OUT_JETS
    learned, asked = whole_jets((str(file),), (0, None), JetData(files=(str(file),), train=(0, 1))), jets_of(held_out)
    assert asked.labels is not None
    found = baseline_scores(learned, asked, seed, smoke)
    found["boosting with labels"] = ceiling_scores(asked, seed, smoke)
    for kind in kinds:
        run = folder / f"{kind}-{seed}"
        recipe = jet_recipe(kind, file, len(learned), seed, smoke)
        trained = once(run, partial(pretrain, recipe, run, progress=False))
        found |= {f"{kind}: {name}": score for name, score in model_scores(trained, held_out, smoke).items()}
    is_signal = (asked.labels != BACKGROUND).astype(int)
    return {
        name: (float(roc_auc_score(is_signal, score)), significance_improvement(is_signal, score))
        for name, score in found.items()
    }


def print_jets(runs: list[dict[str, tuple[float, float]]], contamination: float) -> None:
    print(f"\ntops among QCD jets, learned from QCD with {contamination:.1%} of tops, {len(runs)} seeds")
    print(f"{'score':28s} {'AUC':>18s} {'max eps_S/sqrt(eps_B)':>24s}")
    for name in runs[0]:
        auc, improvement = (np.array([run[name][place] for run in runs]) for place in (0, 1))
        print(f"{name:28s} {spread(auc):>18s} {spread(improvement, 2):>24s}")


# Fields

KINDS = ("stuck", "spike", "offset", "celsius", "wrong sign")
RATES = (1e-3, 3e-4, 1e-4, 3e-5)
VISIBLE = 1.0  # standard deviations of anomalies: a smaller error is no fault that counts


@dataclass(frozen=True)
class Planted:
    """Fields with faults, and which fault each value has: 0, or its number from 1 with its kind in `kinds`."""

    fields: Float[np.ndarray, "T V H W"]
    fault: Int[np.ndarray, "T V H W"]
    kinds: tuple[str, ...]


def planted(record: Record, std: Float[np.ndarray, " V"], seed: int, times: int = 1) -> Planted:
    """Faults of every kind at random places; `times` as many of each."""
    random, names = np.random.default_rng(seed), [str(channel) for channel in record.channels]
    fields = record.read(slice(0, len(record))).copy()
    fault, kinds = np.zeros(fields.shape, int), []
    steps, _, rows, columns = fields.shape
    any_of = [n for n, name in enumerate(names) if not name.startswith("tprate")]
    winds = [n for n in any_of if names[n][0] in "uv"] or any_of

    def place(kind: str, among: list[int], t: int, h: int, w: int) -> tuple:
        kinds.append(kind)
        first = [int(random.integers(max(1, n - size + 1))) for n, size in ((steps, t), (rows, h), (columns, w))]
        where = [slice(a, a + size) for a, size in zip(first, (t, h, w), strict=True)]
        at = (where[0], int(random.choice(among)), where[1], where[2])
        fault[at] = len(kinds)
        return at

    for _ in range(20 * times):
        at = place("stuck", any_of, 20, 1, 1)
        fields[at] = fields[at][:1]
    for _ in range(60 * times):
        at = place("spike", any_of, 1, 1, 1)
        fields[at] += random.choice([-1, 1]) * random.uniform(4, 8) * std[at[1]]
    for _ in range(10 * times):
        at = place("offset", any_of, 12, 4, 6)
        fields[at] += random.choice([-1, 1]) * 3 * std[at[1]]
    at = place("celsius", [names.index("t2m")], 4, rows, columns)
    fields[at] -= 273.15
    for _ in range(5 * times):
        at = place("wrong sign", winds, 8, 6, 12)
        fields[at] = -fields[at]
    return Planted(fields, fault, tuple(kinds))


def field_table(seed: int, model: TrainedModel, effort: Effort, search: Search) -> list[tuple[str, float, str, float]]:
    """(detector, rate, what, value) for the faults of a seed."""
    (name, codec), extent = next(iter(model.codecs.items())), effort.extent
    store = open_fields("sample:atmosphere")
    records = {
        when: Record.open(store, codec.stream, span) for when, span in (("t", extent.train), ("h", extent.held_out))
    }
    std = codec.climatology.anomaly_std
    faults = planted(records["h"], std, seed)
    wrong = np.abs(faults.fields - records["h"].read(slice(0, len(records["h"])))) / std[:, None, None]
    cases = TiledWindows.of(model, {name: replace(records["h"], in_memory=faults.fields)})
    usual = usual_of(model, search, TiledWindows.of(model, {name: records["t"]}))
    _, excess = searched_fields(model, cases, search, usual, progress=False)
    anomalies = climatology_excess(model, cases)
    of_training = climatology_usual(model, TiledWindows.of(model, {name: records["t"]}), search)
    cut = partial(by_token, codec)
    rows = []
    for detector, found, known in (("model", excess[name], usual), ("climatology", anomalies, of_training)):
        for rate in RATES:
            threshold = replace(known, false_alarms=rate).threshold[name][:-1]
            flagged = cut(found)[..., 0] > threshold
            rows += [
                (detector, rate, *each)
                for each in counts(flagged, cut(wrong)[..., 0], cut(faults.fault)[..., 0], faults)
            ]
    return rows


def by_token(codec: Any, fields: Float[np.ndarray, "T V H W"]) -> Float[np.ndarray, "N V 1"]:
    """The largest value in each channel of each token; steps beyond the last whole token are left out."""
    steps = len(fields) // codec.stream.patch[0] * codec.stream.patch[0]
    values = split_patches(np.nan_to_num(fields[:steps])[:, codec.channel_order()], codec.stream.patch, codec.groups)
    return values.reshape(len(values), codec.layout[0], -1).max(axis=-1, keepdims=True)


def climatology_excess(model: TrainedModel, cases: TiledWindows) -> Float[np.ndarray, "T V H W"]:
    """The squared anomaly from climatology, in units of its variance."""
    source, codec = next(iter(cases.sources.values())), next(iter(model.codecs.values()))
    whole = source.whole(0, len(source.record))
    return (whole.anomalies / codec.climatology.anomaly_std[:, None, None]) ** 2


def climatology_usual(model: TrainedModel, cases: TiledWindows, search: Search) -> Usual:
    """The same of as many windows of the training period as the model's thresholds come from."""
    name = next(iter(model.codecs))
    chosen = np.unique(np.linspace(0, len(cases) - 1, min(len(cases), search.windows)).round().astype(int))
    parts = []
    for number in chosen.tolist():
        tokens = cases[number][name]
        values = tokens.values.numpy().reshape(len(tokens), -1, values_per_channel(tokens))
        parts.append((values**2).max(axis=-1))
    excess = np.concatenate(parts)
    return Usual({name: np.pad(excess, ((0, 0), (0, 1)), constant_values=np.nan)}, {}, np.zeros(0), RATES[0])


def counts(flagged: np.ndarray, wrong: np.ndarray, fault: np.ndarray, planted: Planted) -> list[tuple[str, float]]:
    """Precision; recall of all tokens, of those of each kind, and the share of faults of which some token is found."""
    is_faulty = wrong >= VISIBLE
    right = int((flagged & is_faulty).sum())
    false = int((flagged & (fault == 0)).sum())
    kind = np.array(["", *planted.kinds])[fault.astype(int)]
    rows = [("precision", right / max(1, right + false)), ("recall", right / max(1, int(is_faulty.sum())))]
    visible = np.unique(fault[is_faulty])
    found = np.isin(visible, np.unique(fault[flagged & is_faulty]))
    rows.append(("faults found", float(found.mean())))
    for name in KINDS:
        chosen = is_faulty & (kind == name)
        rows.append((name, float(flagged[chosen].mean()) if chosen.any() else float("nan")))
    return rows


def print_fields(runs: list[list[tuple[str, float, str, float]]]) -> None:
    names = list(dict.fromkeys(what for _, _, what, _ in runs[0]))
    print(f"\nplanted faults, tokens' channels above the threshold, {len(runs)} seeds")
    print(f"{'detector':12s} {'rate':>8s} " + " ".join(f"{name:>16s}" for name in names))
    for detector, rate in dict.fromkeys((row[0], row[1]) for row in runs[0]):
        cells = []
        for name in names:
            values = np.array([row[3] for run in runs for row in run if row[:3] == (detector, rate, name)])
            cells.append(f"{spread(values):>16s}")
        print(f"{detector:12s} {rate:8.0e} " + " ".join(cells))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--only", nargs="+", choices=("jets", "fields"), default=["jets", "fields"])
    parser.add_argument("--model", help="run of the quickstart's pre-training; trained if not given")
    parser.add_argument("--models", nargs="+", choices=tuple(JET_RECIPES), default=list(JET_RECIPES), help="of jets")
    parser.add_argument("--contamination", type=float, default=0.0, help="share of tops among the jets to learn from")
    parser.add_argument("--smoke", action="store_true", help="a moment, to see that all runs")
    options = parser.parse_args()
    torch.set_num_threads(1)
    seeds = options.seeds[:1] if options.smoke else options.seeds
    if "jets" in options.only:
        rows = [jet_rows(seed, options.out, options.contamination, options.models, options.smoke) for seed in seeds]
        print_jets(rows, options.contamination)
    if "fields" in options.only:
        effort = SMOKE if options.smoke else Effort(WHOLE)
        folder = options.out / ("smoke" if options.smoke else "fields")
        model = load(options.model) if options.model else pretrained_once(folder, 0, effort)
        search = Search(windows=2 if options.smoke else 32)
        print_fields([field_table(seed, model, effort, search) for seed in seeds])


if __name__ == "__main__":
    main()

"""Does pre-training pay for jets? Tagging against the number of labels, beside classical taggers and taggers of other libraries.

    python benchmarks/jets.py --out runs/jets [--seeds 0 1 2 3 4] [--labels 100 1000 10000] [--rates 1e-3 3e-3] [--arms ...]
                              [--pretraining jets-substructure] [--pretraining-steps 4800] [--peers part lgatr pet]
                              [--peer-sizes small large] [--results FILE] [--figure FILE] [--threads 1] [--smoke]

Top quarks against QCD in `sample:jets`. Models are pre-trained on jets 0 to 14 999 without labels, on hidden particles and on numbers
that are computed from the particles (recipe `jets-substructure`; `--pretraining jets`: on hidden particles alone), then learn from the
labelled jets [1000 s, 1000 s + n - 1] of seed s: no label is shared by two seeds, but for n = 10 000. All arms of a seed learn from the
same labels. Jets 16 000 to 17 999 are held out.

fine-tuned    from the pre-trained model, all weights
frozen        the same, but only what answers is trained: the heads, and what is new
scratch       the same architecture and steps, new weights
substructure  fine-tuned, with five variables of substructure among the visible numbers of the jet: mass, soft-drop mass, τ21, τ32, count
longer        scratch with the steps of pre-training too, at the number of labels at which peers are compared
boosting      gradient boosting on the five variables alone
logistic      logistic regression on them
part, ...     taggers of other libraries (jet_peers.py), trained for the CPU time of pre-training and fine-tuning together

One rule for every network, of ours and of the peers: steps (or time) are fixed beforehand, the cosine of the learning rate ends with
them, and of eight states evenly spread over the training the one with the best loss on 256 validation jets is kept. The learning rate (and
the size of a peer) is that with the best loss on all validation jets, 15 000 to 15 999, of the first seed with 1000 labels; `substructure`
takes that of `fine-tuned`, `longer` that of `scratch`. So networks look at labels beyond those that are counted; boosting and logistic
regression don't: they are fitted as scikit-learn does. The held-out jets decide nothing.

Prints the loss of pre-training beside the unigram entropy; accuracy, AUC and background rejections, mean over the seeds, with the 95 %
interval of resampled jets; differences of AUC on paired seeds, with the interval of Student over the seeds and that of resampled jets; and
CPU times. One JSON a run under --out; what is there is used again. --results holds all but the answers.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy.stats import t as student

from jet_peers import PEERS, VALIDATIONS, Clouds, Training, available, cross_entropy, logits, train
from shared import PLAIN, edge_note, kept
from statecast import finetune, load, pretrain, read_recipe
from statecast.config import Recipe
from statecast.evaluation.bootstrap import interval, resampled
from statecast.evaluation.classes import SMALLEST_PROBABILITY
from statecast.particles.evaluation.baselines import Kind, fit_classifier, probabilities
from statecast.particles.evaluation.figures import label_efficiency
from statecast.particles.evaluation.observables import TAGGING, as_features, observables
from statecast.particles.evaluation.tagging import auc, rejection
from statecast.particles.inference.tag import asked_labels, class_probabilities
from statecast.particles.jets import Jets
from statecast.particles.quickstart import Plan as FirstRun
from statecast.particles.quickstart import masked_scores
from statecast.particles.sources.files import read_jets
from statecast.trained import TrainedModel

SAMPLE = "sample:jets"
CLASSES = ("QCD", "Tbqq")  # background, signal
ARMS = ("fine-tuned", "frozen", "scratch", "substructure", "longer")
CLASSICAL: tuple[Kind, ...] = ("boosting", "logistic")
TUNED = {"fine-tuned": "fine-tuned", "frozen": "frozen", "scratch": "scratch"}
TUNED |= {"substructure": "fine-tuned", "longer": "scratch"}  # whose learning rate an arm takes
STEPS = {100: 100, 1000: 200, 10_000: 400}  # by labels: more labels bear more steps before they are overfitted
PRETRAINING_STEPS = 4800
PRETRAINING = "jets-substructure"
EARLY_STOPPING_JETS = 256
QUANTITIES = ["multiplicity", "pt_gev", "eta", "mass_gev", "soft_drop_mass_gev", "tau21", "tau32"]

Scores = Float[np.ndarray, "S J"]
"""Of the held-out jets: log p(signal) - log p(background), for each seed."""


@dataclass(frozen=True)
class Plan:
    """How large the whole is.

    labels      numbers of labelled jets
    compared    that at which learning rates are chosen and peers are compared
    steps       of fine-tuning, by the number of labels
    train ...   first and last jet
    peer_seconds  CPU time of a peer; none: that of our pre-training and fine-tuning together
    pretraining   recipe of it
    masked      held-out jets on which the loss of pre-training is measured
    """

    out: Path
    seeds: tuple[int, ...]
    labels: tuple[int, ...]
    rates: tuple[float, ...]
    arms: tuple[str, ...] = ARMS
    peers: tuple[str, ...] = tuple(PEERS)
    peer_sizes: tuple[str, ...] = ("small", "large")
    peer_seconds: float | None = None
    compared: int = 1000
    steps: Mapping[int, int] = field(default_factory=lambda: STEPS)
    pretraining_steps: int = PRETRAINING_STEPS
    pretraining: str = PRETRAINING
    train: tuple[int, int] = (0, 14_999)
    validate: tuple[int, int] = (15_000, 15_999)
    held_out: tuple[int, int] = (16_000, 17_999)
    stride: int = 1000
    masked: int = 300
    resamplings: int = 200
    overrides: tuple[str, ...] = ()

    def labelled(self, labels: int, seed: int) -> tuple[int, int]:
        """First and last labelled jet."""
        first = self.stride * seed
        return first, first + labels - 1

    def arms_at(self, labels: int) -> list[str]:
        return [arm for arm in self.arms if arm != "longer" or labels == self.compared]


@dataclass(frozen=True)
class Data:
    """The jets of a plan."""

    plan: Plan

    @cached_property
    def training(self) -> Jets:
        return self._read(self.plan.train)

    @cached_property
    def validation(self) -> Jets:
        return self._read(self.plan.validate)

    @cached_property
    def held_out(self) -> Jets:
        return self._read(self.plan.held_out)

    @property
    def splits(self) -> dict[str, Jets]:
        return {"train": self.training, "validate": self.validation, "held out": self.held_out}

    @cached_property
    def variables(self) -> dict[str, Float[np.ndarray, "J F"]]:
        """The five variables of substructure of each split."""
        return {name: as_features(observables(jets), TAGGING) for name, jets in self.splits.items()}

    def labelled(self, labels: int, seed: int) -> Jets:
        first, last = self.plan.labelled(labels, seed)
        return self.training[first - self.plan.train[0] : last + 1 - self.plan.train[0]]

    @cached_property
    def is_signal(self) -> Bool[np.ndarray, " J"]:
        """Of the held-out jets."""
        return codes_of(self.held_out) == 1

    def _read(self, numbers: tuple[int, int]) -> Jets:
        return read_jets(SAMPLE, numbers[0], numbers[1] + 1)


def codes_of(jets: Jets) -> Int[np.ndarray, " J"]:
    """1 for signal, 0 for background."""
    assert jets.labels is not None
    return (jets.labels == CLASSES[1]).astype(int)


def log_odds(probability: Float[np.ndarray, "J 2"]) -> Float[np.ndarray, " J"]:
    """log p(signal) - log p(background)."""
    background, signal = np.log(np.maximum(probability, SMALLEST_PROBABILITY)).T
    return signal - background


def loss_of(score: Float[np.ndarray, " J"], codes: Int[np.ndarray, " J"]) -> float:
    """Mean of -log p(class) in nats, from log odds."""
    return float(np.logaddexp(0.0, np.where(codes == 1, -score, score)).mean())


# Ours


@dataclass(frozen=True)
class Run:
    """One training of ours."""

    arm: str
    labels: int
    seed: int
    learning_rate: float


def pretraining(plan: Plan, seed: int) -> Recipe:
    steps = plan.pretraining_steps
    said = {"seed": seed, "data.train": list(plan.train), "data.validate": "null"}
    said |= {"training.steps": steps, "training.checkpoint_every": steps}
    return read_recipe(plan.pretraining, [*as_overrides(said), *without_extras(), *plan.overrides])


def as_overrides(said: Mapping[str, Any]) -> list[str]:
    return [f"{key}={value}" for key, value in said.items()]


def without_extras() -> list[str]:
    """Nothing beside the training, whose time is measured."""
    return [f"training.{key}={json.dumps(value)}" for key, value in PLAIN.items()]


def tagging(plan: Plan, run: Run) -> Recipe:
    """The recipe `jets-tag`, from the labels of a run."""
    steps = plan.steps[run.labels] + (plan.pretraining_steps if run.arm == "longer" else 0)
    said = {
        "data.train": list(plan.labelled(run.labels, run.seed)),
        "data.validate": list(plan.validate),
        "training.steps": steps,
        "training.learning_rate": run.learning_rate,
        "training.validate_every": max(1, steps // VALIDATIONS),
        "training.validation_samples": min(EARLY_STOPPING_JETS, plan.validate[1] - plan.validate[0] + 1),
        "training.checkpoint_every": steps,
        "training.result": "best",
    }
    if run.arm == "frozen":
        said["adaptation.change"] = "heads"
    if run.arm == "substructure":
        said["streams.jet.quantities"] = json.dumps(QUANTITIES)
    overrides = [*as_overrides(said), *without_extras()]
    return read_recipe("jets-tag", overrides, inherit=pretraining(plan, run.seed))


def folder_of(plan: Plan, seed: int) -> Path:
    return plan.out / f"seed-{seed}" / f"{plan.pretraining}-{plan.pretraining_steps}"


def pretrained_once(plan: Plan, seed: int) -> dict[str, Any]:
    """Pre-trains if it isn't done: its CPU time, and the loss on held-out jets beside that of the marginal frequencies."""
    run = folder_of(plan, seed) / "model"

    def make() -> dict[str, Any]:
        began = time.process_time()
        model = pretrain(pretraining(plan, seed), run, progress=False, overwrite=True)
        took = time.process_time() - began
        scores = masked_scores(model, FirstRun(held_out=plan.held_out, masked_jets=plan.masked))
        losses = {s.forecast: [s.value, s.low, s.high] for s in scores if s.metric == "log_score"}
        return {"seed": seed, "cpu_s": round(took, 1), "parameters": model.parameters, **losses}

    return kept(folder_of(plan, seed) / "masked.json", make)


def result_of(plan: Plan, data: Data, run: Run) -> dict[str, Any]:
    """The result of a run, which is made if it isn't there yet."""
    name = f"{run.arm}-{run.labels}-{plan.steps[run.labels]}-{run.learning_rate:g}"

    def make() -> dict[str, Any]:
        began = time.process_time()
        model = trained(plan, run)
        took = time.process_time() - began
        said = f"{model.recipe.training.steps} steps"
        found = {"arm": run.arm, "labels": run.labels, "seed": run.seed, "learning_rate": run.learning_rate}
        facts = {"cpu_s": round(took, 1), "parameters": model.parameters, "length": said}
        return found | facts | answers_of(data, lambda split: scores_of(model, data.splits[split]))

    return reported(folder_of(plan, run.seed) / f"{name}.json", make, data)


def trained(plan: Plan, run: Run) -> TrainedModel:
    recipe = tagging(plan, run)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        if run.arm in ("scratch", "longer"):
            return pretrain(recipe, out, progress=False)
        return finetune(recipe, load(folder_of(plan, run.seed) / "model"), out, progress=False)


def scores_of(model: TrainedModel, jets: Jets) -> Float[np.ndarray, " J"]:
    order = [asked_labels(model)["label"].classes.index(name) for name in CLASSES]
    return log_odds(class_probabilities(model, jets)[:, order])


def answers_of(data: Data, score: Callable[[str], Float[np.ndarray, " J"]]) -> dict[str, Any]:
    """The loss on all validation jets, and what is said of the held-out ones; `score` takes the name of a split."""
    validation = loss_of(score("validate"), codes_of(data.validation))
    return {"validation": validation, "scores": [round(float(x), 5) for x in score("held out")]}


def reported(path: Path, make: Callable[[], dict[str, Any]], data: Data) -> dict[str, Any]:
    """A result that is kept; one that is new is printed."""
    is_new = not path.is_file()
    result = kept(path, make)
    if is_new:
        found = auc(np.array(result["scores"]), data.is_signal)
        print(f"seed {result['seed']} {path.stem:36s} AUC {found:.4f} {result['cpu_s']:7.1f} s", flush=True)
    return result


def chosen(results: Mapping[Any, dict[str, Any]]) -> Any:
    """The key of the result with the best loss on the validation jets."""
    return min(results, key=lambda key: results[key]["validation"])


def rates_of(plan: Plan, data: Data) -> dict[str, float]:
    """The best learning rate of each arm that has one of its own, with the first seed."""
    found = {}
    for arm in dict.fromkeys(TUNED[arm] for arm in plan.arms):
        runs = {rate: Run(arm, plan.compared, plan.seeds[0], rate) for rate in plan.rates}
        found[arm] = chosen({rate: result_of(plan, data, run) for rate, run in runs.items()})
        print(f"learning rate of {arm}: {found[arm]:g}{edge_note(found[arm], plan.rates)}")
    return found


# What they are compared with


def classical(plan: Plan, data: Data, kind: Kind, labels: int, seed: int) -> dict[str, Any]:
    """A classifier on the five variables, from the same labels; its time is that of fitting alone."""

    def make() -> dict[str, Any]:
        first, last = plan.labelled(labels, seed)
        chosen_jets = slice(first - plan.train[0], last + 1 - plan.train[0])
        variables, codes = data.variables["train"][chosen_jets], codes_of(data.training[chosen_jets])
        began = time.process_time()
        model = fit_classifier(kind, variables, np.array(CLASSES)[codes], seed=seed)
        took = time.process_time() - began
        found = {"arm": kind, "labels": labels, "seed": seed, "cpu_s": round(took, 3), "length": "as scikit-learn does"}
        score = lambda split: log_odds(probabilities(model, data.variables[split], CLASSES))  # noqa: E731
        return found | answers_of(data, score)

    return reported(folder_of(plan, seed) / f"{kind}-{labels}.json", make, data)


def peer_result(
    plan: Plan, data: Data, name: str, seed: int, seconds: float, size: str, learning_rate: float
) -> dict[str, Any]:
    """A peer after so many seconds of CPU time, which is trained if it isn't there yet."""
    peer = PEERS[name]
    path = folder_of(plan, seed) / f"{name}-{size}-{plan.compared}-{learning_rate:g}-{seconds:.1f}s.json"

    def make() -> dict[str, Any]:
        clouds = {
            key: Clouds.of(jets, codes_of(jets))
            for key, jets in (
                ("train", data.labelled(plan.compared, seed)),
                ("stop", data.validation[:EARLY_STOPPING_JETS]),
                ("validate", data.validation),
                ("held out", data.held_out),
            )
        }
        torch.manual_seed(seed)
        model = peer.make(**peer.sizes[size])
        training: Training = train(model, clouds["train"], clouds["stop"], seconds, learning_rate, seed)
        background, signal = logits(model, clouds["held out"]).T
        return {
            "arm": peer.name,
            "labels": plan.compared,
            "seed": seed,
            "learning_rate": learning_rate,
            "size": size,
            "cpu_s": round(training.cpu_s, 1),
            "parameters": sum(p.numel() for p in model.parameters()),
            "length": f"{training.steps} steps",
            "validation": cross_entropy(model, clouds["validate"]),
            "scores": [round(float(x), 5) for x in signal - background],
        }

    return reported(path, make, data)


def peer_results(plan: Plan, data: Data, name: str, seconds: Mapping[int, float]) -> list[dict[str, Any]]:
    """One peer, every seed; its size and learning rate are the best of the first seed on the validation jets."""
    first = plan.seeds[0]
    choices = [(size, rate) for size in plan.peer_sizes for rate in plan.rates]
    of_first = {choice: peer_result(plan, data, name, first, seconds[first], *choice) for choice in choices}
    size, rate = chosen(of_first)
    print(f"size and learning rate of {PEERS[name].name}: {size}, {rate:g}{edge_note(rate, plan.rates)}")
    return [peer_result(plan, data, name, seed, seconds[seed], size, rate) for seed in plan.seeds]


# Scores

Statistic = Callable[[Float[np.ndarray, " J"], Bool[np.ndarray, " J"]], float]
METRICS: dict[str, Statistic] = {
    "accuracy": lambda score, is_signal: float(((score > 0) == is_signal).mean()),
    "auc": auc,
    "rejection_30": lambda score, is_signal: rejection(score, is_signal, 0.3),
    "rejection_50": lambda score, is_signal: rejection(score, is_signal, 0.5),
}


@dataclass(frozen=True)
class Table:
    """The scores of all results, by arm and number of labels; a row is a seed."""

    plan: Plan
    results: Sequence[dict[str, Any]]
    is_signal: Bool[np.ndarray, " J"]

    @cached_property
    def draws(self) -> list[Int[np.ndarray, " J"]]:
        return resampled(self.is_signal, self.plan.resamplings)

    def scores(self, arm: str, labels: int) -> Scores:
        of_seed = {r["seed"]: r["scores"] for r in self.results if (r["arm"], r["labels"]) == (arm, labels)}
        return np.array([of_seed[seed] for seed in self.plan.seeds])

    @cached_property
    def keys(self) -> list[tuple[str, int]]:
        return sorted(dict.fromkeys((r["arm"], r["labels"]) for r in self.results), key=lambda key: key[1])

    def aucs(self, arm: str, labels: int) -> Float[np.ndarray, " S"]:
        return np.array([auc(score, self.is_signal) for score in self.scores(arm, labels)])

    def rows(self) -> list[dict[str, Any]]:
        """Each metric, mean over the seeds, with the interval of resampled jets; and the AUC of each seed."""
        rows = []
        for arm, labels in self.keys:
            row: dict[str, Any] = {"arm": arm, "labels": labels}
            scores = self.scores(arm, labels)
            for name, statistic in METRICS.items():
                row[name] = with_interval(partial(seed_mean, statistic), (scores.T, self.is_signal), self.draws)
            rows.append(row | {"auc_of_seeds": self.aucs(arm, labels).round(5).tolist()})
        return rows

    def differences(self, pairs: Sequence[tuple[str, str, int]]) -> list[dict[str, Any]]:
        """AUC of one arm less that of another on the same labels, for pairs that are there."""
        rows = []
        for one, other, labels in pairs:
            if (one, labels) not in self.keys or (other, labels) not in self.keys:
                continue
            of_seeds = self.aucs(one, labels) - self.aucs(other, labels)
            arrays = (self.scores(one, labels).T, self.scores(other, labels).T, self.is_signal)
            mean, *over_jets = with_interval(auc_difference, arrays, self.draws)
            found = {"one": one, "other": other, "labels": labels, "difference": mean}
            rows.append(found | {"over_seeds": over_seeds(of_seeds), "over_jets": over_jets})
        return rows


def seed_mean(statistic: Statistic, scores: Float[np.ndarray, "J S"], is_signal: Bool[np.ndarray, " J"]) -> float:
    return float(np.mean([statistic(score, is_signal) for score in scores.T]))


def auc_difference(one: np.ndarray, other: np.ndarray, is_signal: Bool[np.ndarray, " J"]) -> float:
    return seed_mean(auc, one, is_signal) - seed_mean(auc, other, is_signal)


def with_interval(statistic: Any, arrays: Any, draws: Any) -> list[float]:
    """Value, low, high."""
    return [round(float(x), 5) for x in (statistic(*arrays), *interval(statistic, arrays, draws))]


def over_seeds(values: Float[np.ndarray, " S"]) -> list[float] | None:
    """The 95 % interval of the mean by Student's distribution; none for a single seed."""
    if len(values) < 2:
        return None
    half = student.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return [round(float(x), 5) for x in (values.mean() - half, values.mean() + half)]


def pairs_of(plan: Plan) -> list[tuple[str, str, int]]:
    """The differences that the questions of the benchmark are about."""
    pairs = [("fine-tuned", "scratch", labels) for labels in plan.labels]
    pairs += [("substructure", "boosting", labels) for labels in plan.labels]
    pairs += [("fine-tuned", "boosting", labels) for labels in plan.labels]
    return pairs + [("fine-tuned", other, plan.compared) for other in ("longer", *(p.name for p in PEERS.values()))]


# The whole


def run(plan: Plan) -> dict[str, Any]:
    """All of a plan; what the results file holds."""
    data = Data(plan)
    pretrained_once(plan, plan.seeds[0])
    rates = rates_of(plan, data)
    masked, results = [], []
    for seed in plan.seeds:
        masked.append(pretrained_once(plan, seed))
        for labels in plan.labels:
            runs = [Run(arm, labels, seed, rates[TUNED[arm]]) for arm in plan.arms_at(labels)]
            results += [result_of(plan, data, one) for one in runs]
            results += [classical(plan, data, kind, labels, seed) for kind in CLASSICAL]
    seconds = seconds_of(plan, masked, results)
    for name in plan.peers:
        results += peer_results(plan, data, name, seconds)
    table = Table(plan, results, data.is_signal)
    return {
        "settings": settings_of(plan),
        "masked": masked,
        "scores": table.rows(),
        "differences": table.differences(pairs_of(plan)),
        "costs": costs(results, masked),
    }


def seconds_of(plan: Plan, masked: Sequence[dict[str, Any]], results: Sequence[dict[str, Any]]) -> dict[int, float]:
    """What a peer may use, by seed: the CPU time of pre-training and fine-tuning together."""
    if plan.peer_seconds is not None:
        return dict.fromkeys(plan.seeds, plan.peer_seconds)
    found = {one["seed"]: one["cpu_s"] for one in masked}
    for result in results:
        if (result["arm"], result["labels"]) == ("fine-tuned", plan.compared):
            found[result["seed"]] += result["cpu_s"]
    return found


def settings_of(plan: Plan) -> dict[str, Any]:
    names = (
        "seeds",
        "labels",
        "rates",
        "peer_sizes",
        "pretraining",
        "pretraining_steps",
        "train",
        "validate",
        "held_out",
    )
    found = {name: getattr(plan, name) for name in names}
    return found | {"sample": SAMPLE, "steps": dict(plan.steps), "torch": torch.__version__}


def costs(results: Sequence[dict[str, Any]], masked: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """CPU time of each arm, mean over the seeds: without and with pre-training."""
    before = float(np.mean([one["cpu_s"] for one in masked]))
    grouped: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for result in results:
        grouped.setdefault((result["arm"], result["labels"]), []).append(result)
    rows = []
    for (arm, labels), group in grouped.items():
        own = float(np.mean([one["cpu_s"] for one in group]))
        whole = own + (before if arm in ("fine-tuned", "frozen", "substructure") else 0.0)
        facts = {key: group[0].get(key) for key in ("parameters", "learning_rate", "size", "length")}
        rows.append(
            {"arm": arm, "labels": labels, "cpu_s": round(own, 2), "with_pretraining_s": round(whole, 2), **facts}
        )
    return rows


# Printing


def print_tables(found: dict[str, Any]) -> None:
    seeds = len(found["settings"]["seeds"])
    print(
        "\nloss of pre-training on held-out jets, nats: of the model, of the marginal frequencies (the unigram entropy)"
    )
    for one in found["masked"]:
        print(f"seed {one['seed']:<3d} {one['model'][0]:.3f} {one['marginal'][0]:.3f}")
    print(
        "\naccuracy, AUC, background rejection at 30 % and at 50 % signal efficiency [95 % interval of resampled jets], "
        f"mean over {seeds} seeds"
    )
    for row in found["scores"]:
        cells = [interval_text(row["accuracy"], 3), interval_text(row["auc"], 4)]
        cells += [interval_text(row[name], 1) for name in ("rejection_30", "rejection_50")]
        print(f"{row['labels']:6d} labels  {row['arm']:14s} {'  '.join(cells)}")
    print(f"\ndifference of AUC on {seeds} paired seeds [95 % interval over the seeds] [of resampled jets]")
    for row in found["differences"]:
        what = f"{row['labels']:6d} labels  {row['one']} less {row['other']}"
        spans = [span_text(row["over_seeds"]), span_text(row["over_jets"])]
        print(f"{what:44s} {row['difference']:+.4f}  {'  '.join(spans)}")
    print("\nCPU time, mean over the seeds: of the training, and with pre-training")
    for row in found["costs"]:
        size = "" if row["parameters"] is None else f"{row['parameters']:,} weights"
        facts = ", ".join(filter(None, (row["length"], size, row["size"])))
        print(
            f"{row['labels']:6d} labels  {row['arm']:14s} {row['cpu_s']:8.1f} s {row['with_pretraining_s']:8.1f} s  ({facts})"
        )


def interval_text(values: Sequence[float], digits: int) -> str:
    value, low, high = (f"{x:.{digits}f}" for x in values)
    return f"{value} [{low}, {high}]"


def span_text(span: Sequence[float] | None) -> str:
    return "[one seed]" if span is None else f"[{span[0]:+.4f}, {span[1]:+.4f}]"


def draw(found: dict[str, Any], path: Path) -> None:
    """AUC against the number of labels, with the range of the seeds."""
    labels = found["settings"]["labels"]
    of_arm: dict[str, dict[int, list[float]]] = {}
    for row in found["scores"]:
        of_arm.setdefault(row["arm"], {})[row["labels"]] = row["auc_of_seeds"]
    curves = {arm: [of[n] for n in labels] for arm, of in of_arm.items() if all(n in of for n in labels)}
    label_efficiency(labels, curves).savefig(path, dpi=120)


def smoke_plan(out: Path, peers: tuple[str, ...]) -> Plan:
    small = ("streams.codes.size=16", "model.width=32", "model.heads=2", "model.encoder_layers=1")
    return Plan(
        out,
        seeds=(0,),
        labels=(20, 60),
        rates=(3e-3,),
        peers=peers,
        peer_sizes=("small",),
        peer_seconds=0.5,
        compared=60,
        steps={20: 2, 60: 3},
        pretraining_steps=2,
        train=(0, 199),
        validate=(200, 249),
        held_out=(250, 399),
        masked=10,
        resamplings=20,
        overrides=(*small, f"data.cache={out / 'cache'}"),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/jets"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4], choices=range(6))
    parser.add_argument("--labels", type=int, nargs="+", default=list(STEPS), choices=list(STEPS))
    parser.add_argument("--rates", type=float, nargs="+", default=[1e-3, 3e-3], help="learning rates to choose among")
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=ARMS)
    parser.add_argument("--peers", nargs="*", default=list(PEERS), choices=list(PEERS))
    parser.add_argument("--peer-sizes", nargs="+", default=["small", "large"], choices=("small", "large"))
    parser.add_argument("--pretraining", default=PRETRAINING, choices=("jets", PRETRAINING), help="its recipe")
    parser.add_argument("--pretraining-steps", type=int, default=PRETRAINING_STEPS)
    parser.add_argument("--results", type=Path, help="a JSON file of all but the answers")
    parser.add_argument("--figure", type=Path, help="a PNG of AUC against the number of labels")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--smoke", action="store_true", help="one seed, a moment; into its own directory")
    arguments = parser.parse_args()
    if 1000 not in arguments.labels or "fine-tuned" not in arguments.arms:
        parser.error("the arm fine-tuned at 1000 labels is what the others are compared with. Leave it in.")
    torch.set_num_threads(arguments.threads)
    peers = tuple(available(arguments.peers))
    plan = Plan(
        arguments.out,
        tuple(arguments.seeds),
        tuple(arguments.labels),
        tuple(arguments.rates),
        tuple(arguments.arms),
        peers,
        tuple(arguments.peer_sizes),
        pretraining=arguments.pretraining,
        pretraining_steps=arguments.pretraining_steps,
    )
    found = run(smoke_plan(arguments.out / "smoke", peers) if arguments.smoke else plan)
    print_tables(found)
    if arguments.results:
        arguments.results.write_text(json.dumps(found, indent=1) + "\n")
    if arguments.figure:
        draw(found, arguments.figure)


if __name__ == "__main__":
    main()

"""Verification of any model on whole samples: how well it answers the question of its task, token by token.

Axes: S sample, N asked token, V category, E member of the head, P value in a token, R rank.
"""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float

from statecast.answer import predict_question
from statecast.domain import Cases
from statecast.evaluation.bootstrap import Score
from statecast.evaluation.loop import Scored, verify_cases
from statecast.evaluation.progress import progress_bar
from statecast.evaluation.scores import COVERAGES, Means, covered, ensemble_scores, rank_counts
from statecast.evaluation.verification import LabelAxis, Verification, write_scores
from statecast.labels import LabelCodec
from statecast.models import Prediction
from statecast.models.heads import almost_fair_crps
from statecast.outputs import new_output
from statecast.streams import UNKNOWN, Asks, Question, Tokens, Window
from statecast.trained import ModelError, TrainedModel, load_compared

TRAINING_CASES = 500  # that the baseline is estimated from, spread evenly


class Judge(Protocol):
    """What a domain adds to the verification of samples: peers of the model, and statistics and scores of its own."""

    def peers(self, number: int, question: Question, name: str) -> Mapping[str, Prediction]:
        """What others say of the asked tokens of a stream, by their names, each with a batch axis of 1."""
        ...

    def statistics(
        self, number: int, question: Question, name: str, forecast: str, said: Prediction
    ) -> Mapping[str, float]:
        """Further statistics of one forecast of one sample, the same ones for each sample of a stream."""
        ...

    def scores(self, means: Means, members: int) -> Mapping[str, Float[np.ndarray, "*A"]]:
        """All scores of the means of statistics, see `sample_scores`."""
        ...


class NoJudge:
    """Adds nothing."""

    def peers(self, number: int, question: Question, name: str) -> Mapping[str, Prediction]:
        return {}

    def statistics(
        self, number: int, question: Question, name: str, forecast: str, said: Prediction
    ) -> Mapping[str, float]:
        return {}

    def scores(self, means: Means, members: int) -> Mapping[str, Float[np.ndarray, "*A"]]:
        return sample_scores(means, members)


@dataclass(frozen=True)
class SampleEvaluation:
    """What an evaluation leaves: its directory, what was verified, and the answers about labels."""

    out: Path
    verifications: Sequence[Verification]
    answers: xr.Dataset

    @property
    def written(self) -> Path:
        """The file to look at."""
        return self.out / "scores.json"

    def tables(self) -> list[tuple[str, list[list[str]]]]:
        """A table of all scores, each with its 95 % interval, and its title."""
        rows = [["stream", "forecast", "metric", "value", "95 % interval", "samples"]]
        for each in self.verifications:
            for record in each.records():
                numbers = (f"{record['value']:.4g}", f"{record['low']:.4g} to {record['high']:.4g}", str(record["n"]))
                rows.append([record["stream"], record["forecast"], record["metric"], *numbers])
        title = self.verifications[0].task if self.verifications else "nothing was asked"
        return [(title, rows)]


def evaluate_samples(
    run: str | Path | TrainedModel,
    data: str | None = None,
    period: tuple[str, str] | None = None,
    out: str | Path = "evaluation",
    *,
    against: str | Path | TrainedModel | None = None,
    decorrelation: float = 0.0,
    judge: Judge | None = None,
    overwrite: bool = False,
    progress: bool = True,
) -> SampleEvaluation:
    """Verify a model on samples that its training did not see; write `scores.json` and `answers.nc` into `out`.

    data, period  the record and the part of it, in the words of the domain; None: the validation split of the model's recipe
    against       another model that is asked the same
    decorrelation  how far apart samples have to lie to be independent, in the units of `Cases.positions`; 0: all are independent
    judge         what a domain adds

    log_score  mean of -log p(code), in nats: 0 is perfect, and what is not below that of the baseline has learned nothing
    accuracy   share of the codes that the most probable category has right
    rmse       of the mean of the head's members
    crps       of the head's members, which stand for quantiles; the fair one where a flow head drew them
    coverage_50, coverage_68, coverage_95   share of the true values that lie in the central interval of this probability, where there are
               enough members for one: a calibrated answer has 0.5, 0.68 and 0.95

    `scores.nc` also counts the ranks of true values among the members; they are uniform for draws of the true posterior (simulation-based
    calibration, Talts et al. 2018, arXiv 1804.06788).

    Labels are scored in their own units, other values in units of the codec's normalisation. The baseline `marginal` gives every token the
    same answer: the frequency of each code, or the distribution of the values, in the training split. `answers.nc` holds for each label
    stream what the model says of each sample. Raises ModelError where there is no split to verify on.
    """
    models = load_compared(run, against)
    trained = models["model"]
    source = trained.domain.open(trained.domain.with_data(trained.recipe, data, period), "validate", trained.codecs)
    if source is None or len(source.cases()) == 0:
        raise ModelError("there is no sample to verify on. Name a period that holds some.")
    judge = judge or NoJudge()
    answers: dict[str, dict[int, np.ndarray]] = {}
    cases, marginals = source.cases(), _marginals(trained)
    with progress_bar("evaluation", progress) as show_progress:
        verifications = verify_cases(
            range(len(cases)),
            lambda number: _scored(models, marginals, judge, number, cases[number], answers),
            positions=cases.positions if decorrelation else None,
            decorrelation=decorrelation,
            scores=judge.scores,
            progress=show_progress,
        )
    labelled = _labelled(cases, answers, trained.codecs)
    with new_output(out, overwrite=overwrite) as directory:
        directory.mkdir()
        write_scores(verifications, directory)
        labelled.to_netcdf(directory / "answers.nc")
    return SampleEvaluation(Path(out), verifications, labelled)


def scores_of_samples(trained: TrainedModel) -> list[Score]:
    """The scores of `evaluate_samples` on the validation split."""
    with tempfile.TemporaryDirectory() as folder:
        evaluation = evaluate_samples(trained, out=Path(folder) / "scores", progress=False)
    scores = []
    for verification in evaluation.verifications:
        for record in verification.records():
            numbers = {key: record[key] for key in ("value", "low", "high", "n")}
            scores.append(Score(record["forecast"], record["task"], record["metric"], **numbers))
    return scores


def sample_scores(means: Means, members: int) -> dict[str, Float[np.ndarray, "*A"]]:
    """Log score and accuracy of codes, RMSE, CRPS and coverage of values: those that the statistics allow."""
    plain = {name: means[name] for name in ("log_score", "accuracy", *COVERAGES) if name in means}
    return plain | ensemble_scores(means, members)


def _scored(
    models: Mapping[str, TrainedModel],
    marginals: Mapping[str, Prediction],
    judge: Judge,
    number: int,
    window: Window,
    answers: dict[str, dict[int, np.ndarray]],
) -> Iterator[Scored]:
    """The scores of each forecast of one sample; what the model says of labels is put into `answers`, by the number of the sample."""
    first = next(iter(models.values()))
    question = replace(first.recipe.task.complete(window, number), seed=torch.tensor(number))
    said = {key: predict_question(model, question) for key, model in models.items()}
    for name, asked in question.queries.items():
        codec = first.codecs[name]
        forecasts = {key: predictions[name] for key, predictions in said.items()}
        if question.asks == "tokens":
            forecasts["marginal"] = marginals[name]
        forecasts |= judge.peers(number, question, name)
        task = question_name(first, name)
        for key, prediction in forecasts.items():
            statistics = token_scores(prediction, asked, question.asks, codec)
            statistics |= judge.statistics(number, question, name, key, prediction)
            arrays = {metric: np.array([value]) for metric, value in statistics.items()}
            members = 1 if prediction.members is None else prediction.members.shape[-2]
            ranks = _ranks(prediction, asked) if members > 1 and len(asked) else None
            yield Scored(task, key, (LabelAxis("stream", {"stream": (name,)}),), arrays, members, ranks)
        if isinstance(codec, LabelCodec) and question.asks == "tokens" and len(asked):
            answers.setdefault(name, {})[number] = _answer(said["model"][name], codec)


def question_name(trained: TrainedModel, name: str) -> str:
    """The kind of the task, and the stream where the task may ask several: not always all of them at once."""
    kind = str(trained.recipe.task.kind)
    return kind if len(trained.recipe.task.asked_streams(trained.codecs)) == 1 else f"{kind} {name}"


def token_scores(said: Prediction, asked: Tokens, asks: Asks, codec: Any) -> dict[str, float]:
    """Means over the asked tokens of one sample, weighted by `Tokens.weight`."""
    weight = torch.ones(len(asked)) if asked.weight is None else asked.weight
    found: dict[str, float] = {}
    if said.logits is not None and asked.codes is not None:
        logits = said.logits[0, : len(asked)].expand(len(asked), -1).cpu()
        if asks == "replaced":  # one logit: for having been replaced
            logits = torch.cat([torch.zeros_like(logits), logits], dim=-1)
        known = (asked.codes != UNKNOWN) * weight
        right = (logits.argmax(dim=-1) == asked.codes).float()
        nats = -logits.log_softmax(dim=-1).gather(-1, asked.codes.clamp(min=0)[:, None])[:, 0]
        found |= {"log_score": _mean(nats, known), "accuracy": _mean(right, known)}
    if said.members is not None:
        scale = codec.std if isinstance(codec, LabelCodec) else 1.0
        members = _members_of(said, asked) * scale
        truth, known = asked.values * scale, asked.observed * weight[:, None]
        found["squared_error"] = _mean((members.mean(dim=-2) - truth) ** 2, known)
        if members.shape[-2] > 1:
            found["crps"] = _mean(almost_fair_crps(members, truth, fairness=float(said.is_drawn)), known)
            found |= _coverages(members, truth, known, is_drawn=said.is_drawn)
    return found


def _members_of(said: Prediction, asked: Tokens) -> Float[torch.Tensor, "N E P"]:
    """Those of every asked token, also where one answer stands for all."""
    assert said.members is not None
    return said.members[0, : len(asked)].expand(len(asked), -1, -1).cpu()


def _coverages(
    members: Float[torch.Tensor, "N E P"],
    truth: Float[torch.Tensor, "N P"],
    weight: Float[torch.Tensor, "N P"],
    *,
    is_drawn: bool,
) -> dict[str, float]:
    found = {}
    for name, probability in COVERAGES.items():
        inside = covered(members.movedim(-2, 0).numpy(), truth.numpy(), probability, drawn=is_drawn)
        if inside is not None:
            found[name] = _mean(torch.from_numpy(inside).float(), weight)
    return found


def _ranks(said: Prediction, asked: Tokens) -> Float[np.ndarray, "1 R"]:
    """How often the true values of a sample have each rank among the members."""
    members = _members_of(said, asked).movedim(-2, 0).flatten(1)
    truth = torch.where(asked.observed, asked.values, torch.nan).flatten()
    return rank_counts(members.numpy(), truth.numpy())[None]


def _mean(values: torch.Tensor, weight: torch.Tensor) -> float:
    total = weight.sum().item()
    return (values * weight).sum().item() / total if total > 0 else float("nan")


def _marginals(trained: TrainedModel) -> dict[str, Prediction]:
    """For each stream the same answer about every token: frequencies of the codes and quantiles of the values of the training split."""
    source = trained.domain.open(trained.recipe, "train", trained.codecs)
    assert source is not None
    cases = source.cases()
    chosen = np.unique(np.linspace(0, len(cases) - 1, min(len(cases), TRAINING_CASES)).round().astype(int))
    windows = [cases[int(number)] for number in chosen]
    found = {}
    for name in trained.recipe.task.asked_streams(trained.codecs):
        tokens = [window[name] for window in windows]
        found[name] = _marginal(tokens, trained.model.head.members)
    return found


def _marginal(samples: Sequence[Tokens], members: int) -> Prediction:
    spec = samples[0].spec
    logits = quantiles = None
    if spec.vocabulary:
        codes = torch.cat([tokens.codes for tokens in samples if tokens.codes is not None])
        counts = torch.bincount(codes[codes != UNKNOWN], minlength=spec.vocabulary) + 1.0  # Laplace: none is impossible
        logits = counts.log()[None, None]
    if spec.size:
        values = torch.cat([torch.where(tokens.observed, tokens.values, torch.nan) for tokens in samples])
        at = (torch.arange(members) + 0.5) / members
        quantiles = torch.nanquantile(values, at, dim=0)[None, None]
    return Prediction(quantiles, None, logits)


def _answer(said: Prediction, codec: LabelCodec) -> np.ndarray:
    """Probability of each class, or the members of a number in its unit."""
    if said.logits is not None:
        return said.logits[0, 0].softmax(dim=-1).cpu().numpy()
    assert said.members is not None
    return codec.numbers(said.members[0, 0, :, 0].cpu().numpy())


def _labelled(
    cases: Cases, answers: Mapping[str, Mapping[int, Float[np.ndarray, " A"]]], codecs: Mapping[str, Any]
) -> xr.Dataset:
    """What the model says of each label of each sample, NaN where it was not asked."""
    coords: dict[str, Any] = {"sample": list(cases.labels)}
    variables: dict[str, Any] = {}
    for name, of_samples in answers.items():
        codec = codecs[name]
        values = np.full((len(cases), len(next(iter(of_samples.values())))), np.nan, np.float32)
        for number, answer in of_samples.items():
            values[number] = answer
        if codec.classes:
            coords[f"{name}_class"] = list(codec.classes)
            variables[f"{name}_probability"] = (("sample", f"{name}_class"), values, {"units": "1"})
        else:
            variables[name] = (("sample", "number"), values, {"units": codec.units})
    return xr.Dataset(variables, coords)

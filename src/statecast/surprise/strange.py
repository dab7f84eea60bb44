"""The strangest samples of a record, and which of their tokens are strange, by any model of any domain."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from statecast.domain import Cases
from statecast.evaluation.loop import Progress, unseen
from statecast.evaluation.progress import progress_bar
from statecast.outputs import new_output, require_place
from statecast.surprise.measure import MEASURES, OF_CODES
from statecast.surprise.report import write_report
from statecast.surprise.score import Asking, in_batches
from statecast.surprise.tables import Named, Tables, TableWriter, by_coordinates
from statecast.surprise.usual import Usual, usual
from statecast.trained import ModelError, TrainedModel, load

PARTS = 4  # a quarter of the tokens is hidden at once
USUAL_WINDOWS = 32
FALSE_ALARMS = 1e-4
ROUNDS = 2
BATCH = 8


@dataclass(frozen=True)
class Search:
    """How a record is searched.

    parts         of a partition: one of them is hidden at a time
    windows       of the training split from which thresholds are estimated; 0: none, and nothing is told strange or not
    false_alarms  share of the channels of tokens that are told strange there
    batch         samples that are asked at once
    rounds        after the first, the model's own estimate stands in the place of each strange value
    """

    parts: int = PARTS
    windows: int = USUAL_WINDOWS
    false_alarms: float = FALSE_ALARMS
    batch: int = BATCH
    rounds: int = ROUNDS

    def asking(self, usual: Usual | None) -> Asking:
        """How the record is asked, once it is known what is usual."""
        if usual is None:
            return Asking(self.parts)
        return Asking(self.parts, limits=usual.limits, threshold=usual.threshold, rounds=self.rounds)

    def __post_init__(self) -> None:
        if not 0 < self.false_alarms < 1:
            raise ModelError(f"false alarms are {self.false_alarms:g}, expected a share between 0 and 1.")
        for name in ("windows", "batch"):
            if getattr(self, name) < (least := int(name == "batch")):
                raise ModelError(f"{name} is {getattr(self, name)}, expected at least {least}.")


@dataclass(frozen=True)
class Anomalies:
    """What a search leaves: its directory, the file of it to look at, and the tables of samples and tokens."""

    written: Path
    tables: Tables
    usual: Usual | None


def anomalies(
    run: str | Path | TrainedModel,
    data: str | None = None,
    period: tuple[str, str] | None = None,
    out: str | Path = "anomalies",
    *,
    search: Search | None = None,
    named: Named = by_coordinates,
    report: bool = True,
    overwrite: bool = False,
    progress: bool = True,
) -> Anomalies:
    """How surprising each token of each sample is; write `anomalies.nc` and `report.html` into the directory `out`.

    data, period  the record and the part of it, in the words of the domain; None: the validation split of the model's recipe
    named         what says which token it is

    See `surprise.tables.Tables` for what comes back. Raises ModelError where there is no sample, or the task asks no content.
    """
    trained = load(run)
    search = search or Search()
    require_place(out, overwrite)
    source = trained.domain.open(trained.domain.with_data(trained.recipe, data, period), "validate", trained.codecs)
    if source is None or len(source.cases()) == 0:
        raise ModelError("there is no sample to look at. Name a period that holds some.")
    found, known = searched(trained, source.cases(), search, named, progress=progress)
    with new_output(out, overwrite=overwrite) as directory:
        directory.mkdir()
        described(found.as_dataset(), trained, search).to_netcdf(directory / "anomalies.nc")
        if report:
            write_report(found, known, facts(trained, data, search), directory / "report.html")
    return Anomalies(Path(out), found, known)


def searched(
    trained: TrainedModel, cases: Cases, search: Search, named: Named, *, progress: bool, training: Cases | None = None
) -> tuple[Tables, Usual | None]:
    """The tables of all cases, and what is usual."""
    known = None
    if search.windows:
        with progress_bar("training windows", progress) as show_progress:
            known = usual_of(trained, search, training, show_progress)
    writer = TableWriter(trained.codecs, known, named)
    with progress_bar("samples", progress) as show_progress:
        numbers = list(range(len(cases)))
        for number, window, of in in_batches(
            trained, cases, numbers, search.asking(known), batch=search.batch, progress=show_progress
        ):
            writer.add(cases.labels[number], window, of)
    return writer.tables(), known


def usual_of(
    trained: TrainedModel, search: Search, training: Cases | None = None, progress: Progress = unseen
) -> Usual:
    """What is usual on the training split of the model's recipe, or on `training`. Raises ModelError if it can't be read."""
    if training is None:
        try:
            source = trained.domain.open(trained.recipe, "train", trained.codecs)
        except ValueError as error:
            raise ModelError(
                f"{str(error).rstrip('.')}. Thresholds come from the training split: pass --windows 0 for scores without them."
            ) from error
        assert source is not None
        training = source.cases()
    asking = Asking(search.parts)
    return usual(trained, training, search.windows, search.false_alarms, asking, batch=search.batch, progress=progress)


def facts(trained: TrainedModel, data: Any, search: Search) -> list[tuple[str, str]]:
    """What a report says of a search."""
    return [
        ("data", "the validation split" if data is None else str(data)),
        ("task of the model", str(trained.recipe.task.kind)),
        ("surprise of values", MEASURES[trained.model.options.head]),
        ("surprise of codes", OF_CODES),
        ("hidden at a time", f"one of {search.parts} parts, where the task hides tokens at random"),
        ("false alarms", f"{search.false_alarms:g} of the channels of tokens of {search.windows} training windows"),
    ]


def described(dataset: Any, trained: TrainedModel, search: Search) -> Any:
    """The dataset with what its numbers are."""
    return dataset.assign_attrs({key.replace(" ", "_"): value for key, value in facts(trained, None, search)[1:]})

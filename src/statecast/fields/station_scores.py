"""The reports that a model of stations is scored on, and those that its baselines learn from."""

from collections.abc import Mapping
from dataclasses import dataclass

import xarray as xr

from statecast.evaluation import Verification
from statecast.evaluation.progress import progress_bar
from statecast.fields.evaluation.stations import verify_stations
from statecast.fields.held_out import beside, require_unseen_stations
from statecast.fields.recipe import FieldRecipe
from statecast.fields.source import FieldSource, open_source
from statecast.fields.sources.units import tell
from statecast.fields.stations.table import StationError
from statecast.trained import ModelError, TrainedModel


@dataclass(frozen=True)
class StationData:
    """What stations are scored on: the store of the fields, a period, and stores or tables of single streams.

    is_of_training  the store holds the training period of the model, too
    """

    data: str | xr.Dataset
    period: tuple[str, str]
    given: Mapping[str, str | xr.Dataset]
    is_of_training: bool


def evaluate_stations(
    models: Mapping[str, TrainedModel], where: StationData, *, every_h: float, progress: bool
) -> list[Verification]:
    """Verify models on the stations of their tables, or of others that are given: stations that training has not seen will do.

    Raises StoreError if training has learned from these stations in this period.
    """
    trained = models["model"]
    source = open_source(_recipe(trained, where), "validate", trained.codecs)
    assert source is not None
    ids = {name: series.reports.stations.ids for name, series in source.stations.items()}
    require_unseen_stations(trained, ids, source.record.dataset, where.period)
    training = _training(trained, where) if where.is_of_training else None
    with progress_bar("stations", progress) as show_progress:
        return verify_stations(models, source, training, every_h=every_h, progress=show_progress)


def _training(trained: TrainedModel, where: StationData) -> FieldSource | None:
    """The training period; None, with a word on standard error, if its table of stations is not there any more."""
    given = {name: store for name, store in where.given.items() if name not in trained.recipe.stations}
    recipe = _recipe(trained, StationData(where.data, where.period, given, is_of_training=True))
    data = recipe.data.model_copy(update={"validate_on": None})
    try:
        return open_source(recipe.model_copy(update={"data": data}), "train", trained.codecs)
    except StationError as error:
        tell(f"{error} The baseline mos, which learns from it, is left out.")
        return None


def _recipe(trained: TrainedModel, where: StationData) -> FieldRecipe:
    """The recipe of the model with other data."""
    if any(isinstance(data, xr.Dataset) for data in (where.data, *where.given.values())):
        raise ModelError(
            "a model of stations is evaluated on stores with a path, got a dataset. Write it to a store first."
        )
    recipe: FieldRecipe = trained.recipe
    stores = {n: beside(where.data, store, recipe.data.store) for n, store in recipe.data.stores.items()}
    own = {name: store for name, store in where.given.items() if name not in recipe.stations}
    changes = {"store": where.data, "stores": {**stores, **own}, "validate_on": where.period}
    streams = dict(recipe.streams)
    for name, stream in recipe.stations.items():
        table = where.given.get(name) or beside(where.data, stream.table, recipe.data.store)
        streams[name] = stream.model_copy(update={"table": table})
    return recipe.model_copy(update={"data": recipe.data.model_copy(update=changes), "streams": streams})

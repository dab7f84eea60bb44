"""Jets that a model is evaluated on: they must be none that it learned from."""

from statecast import numbered
from statecast.numbered import SampleFiles, real_places
from statecast.particles.jets import Jets
from statecast.particles.recipe import JetData
from statecast.particles.record import Columns, Range, chosen_chunks
from statecast.particles.sources.files import find_files
from statecast.trained import ModelError, TrainedModel


def held_out_jets(data: JetData) -> Jets:
    """The jets of the validation split. Raises ModelError if there is none."""
    if data.validate_on is None:
        raise ModelError("the recipe has no validation split, and no period is given. Give --period FIRST LAST.")
    jets = (0, None) if data.validate_on == "all" else data.validate_on
    return whole_jets(data.held_out_files, jets, data)


def whole_jets(files: tuple[str, ...], jets: Range, data: JetData) -> Jets:
    """Jets of a range, whole: those that a record of them is made of."""
    columns = Columns(files, jets, data.most_constituents, (), (), ())
    return Jets.joined(list(chosen_chunks(columns)))


def require_unseen(trained: TrainedModel, data: SampleFiles) -> None:
    """Raises SeenError if jets, or events, of validation of `data` were learned from, by the model or one that it was fine-tuned from."""
    numbered.require_unseen(trained.learned, data, lambda files: real_places(find_files(files)))

"""Training: questions drawn from a record, a model fitted to them."""

from statecast.training.fit import fit
from statecast.training.options import TrainingOptions
from statecast.training.questions import QuestionDataset, StreamSource, read_window

__all__ = ["QuestionDataset", "StreamSource", "TrainingOptions", "fit", "read_window"]

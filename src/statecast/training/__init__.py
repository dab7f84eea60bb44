"""Training: questions are drawn from a record, and a model is fitted to them."""

from statecast.training.checkpoints import RunStopped
from statecast.training.fit import fit, require_devices
from statecast.training.options import ONE_DEVICE, Devices, TrainingOptions, is_first_process
from statecast.training.questions import QuestionDataset

__all__ = [
    "ONE_DEVICE",
    "Devices",
    "QuestionDataset",
    "RunStopped",
    "TrainingOptions",
    "fit",
    "is_first_process",
    "require_devices",
]

"""Training: questions are drawn from a record, and a model is fitted to them.

`training.fit` and `training.checkpoints` need Lightning, which takes seconds to import: what only asks a trained model does without.
"""

from statecast.training.options import ONE_DEVICE, Devices, TrainingOptions, is_first_process
from statecast.training.questions import QuestionDataset

__all__ = [
    "ONE_DEVICE",
    "Devices",
    "QuestionDataset",
    "TrainingOptions",
    "is_first_process",
]

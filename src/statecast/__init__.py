"""statecast: pre-train a foundation model on the record of a physical system, and fine-tune it for every question asked of it."""

from statecast.config import Recipe, read_recipe
from statecast.jobs import evaluate, finetune, predict, pretrain
from statecast.quickstart import quickstart
from statecast.sources import open_fields
from statecast.trained import TrainedModel, load

__all__ = [
    "Recipe",
    "TrainedModel",
    "evaluate",
    "finetune",
    "load",
    "open_fields",
    "predict",
    "pretrain",
    "quickstart",
    "read_recipe",
]

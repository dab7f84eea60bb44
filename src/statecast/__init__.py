"""statecast: pre-train a foundation model on the record of a physical system, then fine-tune it for any question about that system."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from statecast.config import Recipe, read_recipe
    from statecast.fields.continual import update
    from statecast.fields.quickstart import quickstart
    from statecast.fields.sources.fields import open_fields
    from statecast.fields.verbs import complete, predict
    from statecast.representation import embed
    from statecast.runs import finetune, pretrain
    from statecast.trained import TrainedModel, load
    from statecast.verbs import anomalies, evaluate

__all__ = [
    "Recipe",
    "TrainedModel",
    "anomalies",
    "complete",
    "embed",
    "evaluate",
    "finetune",
    "load",
    "open_fields",
    "predict",
    "pretrain",
    "quickstart",
    "read_recipe",
    "update",
]

_HOMES = {
    "statecast.config": ("Recipe", "read_recipe"),
    "statecast.runs": ("finetune", "pretrain"),
    "statecast.fields.verbs": ("complete", "predict"),
    "statecast.verbs": ("anomalies", "evaluate"),
    "statecast.representation": ("embed",),
    "statecast.fields.quickstart": ("quickstart",),
    "statecast.fields.continual": ("update",),
    "statecast.fields.sources.fields": ("open_fields",),
    "statecast.trained": ("TrainedModel", "load"),
}


def __getattr__(name: str) -> Any:
    """Names are imported on first use, so that `statecast --help` does not have to wait for torch."""
    for module, names in _HOMES.items():
        if name in names:
            return getattr(import_module(module), name)
    raise AttributeError(f"module 'statecast' has no attribute '{name}'")

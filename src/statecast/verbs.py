"""What one does with a trained model of any domain. A domain that has a way of its own is asked first."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from statecast.config import DEFAULT_DOMAIN
from statecast.domain import find_domain
from statecast.evaluation.samples import evaluate_samples
from statecast.explain.tokens import explain_token
from statecast.representation import embed
from statecast.trained import TrainedModel, locate

__all__ = ["embed", "evaluate", "explain"]


def evaluate(run: str | Path | TrainedModel, *arguments: Any, **options: Any) -> Any:
    """Verify a model on data that its training did not see, beside its baselines.

    Fields: `fields.verbs.evaluate`. Other domains, if they have no way of their own: `evaluation.samples.evaluate_samples`.
    """
    return _verb(run, "evaluate", evaluate_samples)(run, *arguments, **options)


def explain(run: str | Path | TrainedModel, *arguments: Any, **options: Any) -> Any:
    """What an answer comes from.

    Fields: `fields.verbs.explain`, the answer at a point. Other domains, if they have no way of their own: `explain.tokens.explain_token`,
    the answer to one token.
    """
    return _verb(run, "explain", explain_token)(run, *arguments, **options)


def domain_name(run: str | Path | TrainedModel) -> str:
    """The domain of a model, without loading its weights. Raises ModelError for a directory that holds no model."""
    if isinstance(run, TrainedModel):
        return str(run.recipe.data.domain)
    recipe = yaml.safe_load((locate(run) / "recipe.yaml").read_text())
    return str(recipe["data"].get("domain", DEFAULT_DOMAIN))


def _verb(run: str | Path | TrainedModel, name: str, default: Callable[..., Any]) -> Callable[..., Any]:
    return find_domain(domain_name(run)).verbs.get(name, default)

"""What can be done with a trained model of any domain. A domain's own implementation takes precedence."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from statecast.domain import find_domain
from statecast.evaluation.samples import evaluate_samples
from statecast.explain.tokens import explain_token
from statecast.representation import embed
from statecast.trained import TrainedModel
from statecast.trained import domain_name as domain_of_directory

__all__ = ["VerbError", "embed", "evaluate", "explain"]


class VerbError(ValueError):
    """An option that the domain of a model does not have."""


def evaluate(run: str | Path | TrainedModel, *arguments: Any, **options: Any) -> Any:
    """Verify a model against baselines on data that were not used in training.

    Fields: `fields.verbs.evaluate`. Domains without their own implementation: `evaluation.samples.evaluate_samples`. Raises VerbError for
    an option that the model's domain does not have.
    """
    verb = _verb(run, "evaluate", evaluate_samples)
    if unknown := [name for name in options if name not in inspect.signature(verb).parameters]:
        raise VerbError(f"{unknown[0]}: evaluating a model of {domain_name(run)} has no such option. Leave it out.")
    return verb(run, *arguments, **options)


def explain(run: str | Path | TrainedModel, *arguments: Any, **options: Any) -> Any:
    """Explain what an answer depends on.

    Fields: `fields.verbs.explain`, the answer at a point. Domains without their own implementation: `explain.tokens.explain_token`, the
    answer for one token.
    """
    return _verb(run, "explain", explain_token)(run, *arguments, **options)


def domain_name(run: str | Path | TrainedModel) -> str:
    """The domain of a model, without loading its weights. Raises ModelError if the directory contains no model."""
    if isinstance(run, TrainedModel):
        return str(run.recipe.data.domain)
    return domain_of_directory(run)


def _verb(run: str | Path | TrainedModel, name: str, default: Callable[..., Any]) -> Callable[..., Any]:
    return find_domain(domain_name(run)).verbs.get(name, default)

"""What can be done with a trained model of any domain. A domain's own implementation takes precedence."""

from collections.abc import Callable
from inspect import signature
from pathlib import Path
from typing import Any

from statecast.domain import find_domain
from statecast.evaluation.samples import evaluate_samples
from statecast.explain.tokens import explain_token
from statecast.representation import embed
from statecast.trained import ModelError, TrainedModel
from statecast.trained import domain_name as domain_of_directory

__all__ = ["embed", "evaluate", "explain", "generate"]


def evaluate(run: str | Path | TrainedModel, *arguments: Any, **options: Any) -> Any:
    """Verify a model against baselines on data that were not used in training.

    Fields: `fields.verbs.evaluate`. Domains without their own implementation: `evaluation.samples.evaluate_samples`.
    """
    return _verb(run, "evaluate", evaluate_samples)(run, *arguments, **options)


def explain(run: str | Path | TrainedModel, *arguments: Any, **options: Any) -> Any:
    """Explain what an answer depends on.

    Fields: `fields.verbs.explain`, the answer at a point. Domains without their own implementation: `explain.tokens.explain_token`, the
    answer for one token.
    """
    return _verb(run, "explain", explain_token)(run, *arguments, **options)


def generate(run: str | Path | TrainedModel, **options: Any) -> Any:
    """Draw new samples.

    Jets: `particles.inference.generate.generate_with`; showers: `particles.showers.inference.generate.generate`. Raises ModelError for a
    model of a domain that generates nothing, or for an option that its domain does not have.
    """
    name = domain_name(run)
    verb = find_domain(name).verbs.get("generate")
    if verb is None:
        raise ModelError(
            f"the model is of the domain {name}, which generates nothing. Give a model of jets or showers."
        )
    known = signature(verb).parameters
    if unknown := [option for option in options if option not in known]:
        raise ModelError(f"option {unknown[0]} does not go with a model of the domain {name}. Leave it out.")
    return verb(run, **options)


def domain_name(run: str | Path | TrainedModel) -> str:
    """The domain of a model, without loading its weights. Raises ModelError if the directory contains no model."""
    if isinstance(run, TrainedModel):
        return str(run.recipe.data.domain)
    return domain_of_directory(run)


def _verb(run: str | Path | TrainedModel, name: str, default: Callable[..., Any]) -> Callable[..., Any]:
    return find_domain(domain_name(run)).verbs.get(name, default)

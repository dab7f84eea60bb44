"""What can be done with a trained model of any domain. A domain's own implementation takes precedence."""

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from statecast.domain import find_domain
from statecast.evaluation.samples import evaluate_samples
from statecast.explain.tokens import explain_token
from statecast.representation import embed
from statecast.surprise.strange import anomalies as anomalies_of_samples
from statecast.trained import TrainedModel
from statecast.trained import domain_name as domain_of_directory

__all__ = ["VerbError", "anomalies", "embed", "evaluate", "explain", "generate"]


class VerbError(ValueError):
    """A domain has no such verb, or its verb no such option."""


def evaluate(run: str | Path | TrainedModel, *arguments: Any, **options: Any) -> Any:
    """Verify a model against baselines on data that were not used in training.

    Fields: `fields.verbs.evaluate`. Domains without their own implementation: `evaluation.samples.evaluate_samples`. Raises VerbError for
    an option that the model's domain does not have.
    """
    verb = _verb(run, "evaluate", evaluate_samples)
    _require_options(verb, options, f"evaluating a model of {domain_name(run)}")
    return verb(run, *arguments, **options)


def explain(run: str | Path | TrainedModel, *arguments: Any, **options: Any) -> Any:
    """Explain what an answer depends on.

    Fields: `fields.verbs.explain`, the answer at a point. Domains without their own implementation: `explain.tokens.explain_token`, the
    answer for one token.
    """
    return _verb(run, "explain", explain_token)(run, *arguments, **options)


def anomalies(run: str | Path | TrainedModel, *arguments: Any, **options: Any) -> Any:
    """Find the strangest samples of a record, and which of their tokens are strange.

    Fields: `fields.strange.anomalies`, each value on its grid; jets: `particles.strange.anomalies`. Domains without their own
    implementation: `surprise.strange.anomalies`. Raises VerbError for an option that the model's domain does not have.
    """
    verb = _verb(run, "anomalies", anomalies_of_samples)
    _require_options(verb, options, f"searching by a model of {domain_name(run)}")
    return verb(run, *arguments, **options)


def generate(run: str | Path | TrainedModel, **options: Any) -> Any:
    """Draw new samples.

    Jets: `particles.inference.generate.generate_with`; showers: `particles.showers.inference.generate.generate`; texts:
    `text.inference.generate.generate`. Raises VerbError for a model of a domain that generates nothing, and for an option that its
    domain does not have.
    """
    name = domain_name(run)
    verb = find_domain(name).verbs.get("generate")
    if verb is None:
        raise VerbError(f"a model of {name} generates nothing. Give a model of jets, showers or texts.")
    _require_options(verb, options, f"generating by a model of {name}")
    return verb(run, **options)


def _require_options(verb: Callable[..., Any], options: Mapping[str, Any], doing: str) -> None:
    if unknown := [name for name in options if name not in inspect.signature(verb).parameters]:
        raise VerbError(f"{unknown[0]}: {doing} has no such option. Leave it out.")


def domain_name(run: str | Path | TrainedModel) -> str:
    """The domain of a model, without loading its weights. Raises ModelError if the directory contains no model."""
    if isinstance(run, TrainedModel):
        return str(run.recipe.data.domain)
    return domain_of_directory(run)


def _verb(run: str | Path | TrainedModel, name: str, default: Callable[..., Any]) -> Callable[..., Any]:
    return find_domain(domain_name(run)).verbs.get(name, default)

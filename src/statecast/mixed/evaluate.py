"""Verification on samples of several domains that no part of the training has seen."""

from pathlib import Path

from statecast.config import RecipeError
from statecast.domain import find_domain
from statecast.evaluation.samples import SampleEvaluation, evaluate_samples
from statecast.mixed.recipe import part_recipe
from statecast.mixed.source import key_of
from statecast.trained import TrainedModel, load


def evaluate(
    run: str | Path | TrainedModel,
    data: str | None = None,
    period: tuple[str, str] | None = None,
    out: str | Path = "evaluation",
    *,
    against: str | Path | TrainedModel | None = None,
    decorrelation: float = 0.0,
    overwrite: bool = False,
    progress: bool = True,
) -> SampleEvaluation:
    """Verify a model of several domains, see `evaluation.samples.evaluate_samples`; `data` is PART=DATA.

    Raises RecipeError for a sample with the time or number of one that was trained on.
    """
    trained = load(run)
    asked = trained.domain.open(trained.domain.with_data(trained.recipe, data, period), "validate", trained.codecs)
    if asked is not None:
        known = learned_keys(trained)
        if shared := [label for label in asked.cases().labels if key_of(label) in known]:
            raise RecipeError(
                f"sample {shared[0]} was trained on, as were {len(shared) - 1} others: expected samples that training never saw. "
                "Name another period."
            )
    return evaluate_samples(
        trained, data, period, out, against=against, decorrelation=decorrelation, overwrite=overwrite, progress=progress
    )


def learned_keys(trained: TrainedModel) -> set[str]:
    """What the samples are called that the model was trained on, and those of a part that a model was trained on which it started from."""
    found: set[str] = set()
    for data in trained.learned:
        if data.domain == trained.recipe.data.domain:
            recipes = [trained.recipe]
        else:
            parts = [part_recipe(trained.recipe, name) for name in trained.recipe.data.parts]
            recipes = [part for part in parts if part.data.domain == data.domain]
        for recipe in recipes:
            of_training = recipe.model_copy(update={"data": data})
            source = find_domain(data.domain).open(of_training, "train", trained.codecs)
            assert source is not None
            found |= {key_of(label) for label in source.cases().labels}
    return found

"""Verification on samples of several domains that no part of the training has seen."""

from pathlib import Path

from statecast.config import RecipeError
from statecast.evaluation.samples import SampleEvaluation, evaluate_samples
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
    trained = run if isinstance(run, TrainedModel) else load(run)
    recipe = trained.domain.with_data(trained.recipe, data, period)
    asked = trained.domain.open(recipe, "validate", trained.codecs)
    learned = trained.domain.open(trained.recipe, "train", trained.codecs)
    if asked is not None and learned is not None:
        known = {key_of(label) for label in learned.cases().labels}
        if shared := [label for label in asked.cases().labels if key_of(label) in known]:
            raise RecipeError(
                f"sample {shared[0]} was trained on, as were {len(shared) - 1} others: expected samples that training never saw. "
                "Name another period."
            )
    return evaluate_samples(
        trained, data, period, out, against=against, decorrelation=decorrelation, overwrite=overwrite, progress=progress
    )

"""How much of a jet a codebook keeps: usage of codes, resolution of observables, a classifier of decoded against original jets.

Axes: J jet, N particle of all jets, V code, O observable.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from matplotlib.figure import Figure
from scipy.stats import wasserstein_distance

from statecast.config import RecipeError, read_recipe, shipped_recipes
from statecast.evaluation.report import section, write_page
from statecast.outputs import new_output
from statecast.particles.domain import DOMAIN
from statecast.particles.evaluation.generation import classifier_auc
from statecast.particles.evaluation.observables import as_features, observables
from statecast.particles.features import particle_columns, particle_features
from statecast.particles.held_out import held_out_jets, require_unseen
from statecast.particles.jets import Jets, summed_momentum
from statecast.particles.recipe import ParticleRecipe
from statecast.particles.source import open_source
from statecast.particles.target_codec import CodebookCodec, ResidualCodec
from statecast.trained import ModelError, TrainedModel, load

OBSERVABLES = ("mass_gev", "pt_gev", "tau21", "tau32")
RECIPES = (".yaml", ".yml")


@dataclass(frozen=True)
class CodebookQuality:
    """What a codebook keeps of jets.

    jets         number of jets that were decoded
    codes        of the codebook
    used         share of the codes that occur
    perplexity   exp of the entropy of their frequencies: so many codes, equally often used, say as much
    resolution   for each observable, standard deviation of decoded minus true, divided by that of the true ones; without closing
    wasserstein  for each observable, distance of the distributions, divided by the standard deviation of the true one
    auc          of a classifier that tells decoded from original jets by their observables: 0.5 can't, 1 always
    """

    jets: int
    codes: int
    used: float
    perplexity: float
    resolution: Mapping[str, float]
    wasserstein: Mapping[str, float]
    auc: float

    def facts(self) -> list[tuple[str, str]]:
        """What is said of all jets together, in words."""
        return [
            ("codes used", f"{self.used:.1%} of {self.codes}, perplexity {self.perplexity:.0f}"),
            (
                "classifier",
                f"area under the ROC curve {self.auc:.3f}; 0.5: decoded jets can't be told from original ones",
            ),
        ]

    def table(self) -> list[list[str]]:
        """A row for each observable."""
        rows = [["observable", "resolution / spread", "Wasserstein distance / spread"]]
        for name in OBSERVABLES:
            rows.append([name, f"{self.resolution[name]:.3f}", f"{self.wasserstein[name]:.3f}"])
        return rows


def codebook_quality(
    run: str | Path | TrainedModel,
    data: str | None = None,
    period: tuple[str, str] | None = None,
    out: str | Path | None = None,
    *,
    seed: int = 0,
    overwrite: bool = False,
) -> CodebookQuality:
    """Code and decode jets. Written to the directory `out` as `codebook.html` and `codebook.json` if that is given.

    run           a model, or a recipe of pre-training: its codebook is fitted to the jets of training, and nothing else is trained
    data, period  files, and the first and the last jet; None: the validation split of the recipe

    Uses the second code too, if there is one. Raises ModelError for a model without a codebook, SeenError for jets that a model has learned
    from, JetError for jets that are not there, RecipeError for a recipe that is not of jets.
    """
    recipe, codecs = _fitted(run, data, period)
    codec, fine = codebooks_of(codecs)
    truth = held_out_jets(recipe.data)
    codes, decoded = decoded_jets(truth, codec, fine, torch.Generator().manual_seed(seed))
    true, found = observables(truth), observables(decoded)
    frequency = np.bincount(codes.numpy(), minlength=codec.codebook.size) / len(codes)
    quality = _quality(frequency, true, found, seed)
    if out is not None:
        with new_output(out, overwrite=overwrite) as directory:
            directory.mkdir()
            (directory / "codebook.json").write_text(json.dumps(asdict(quality), indent=1), encoding="utf-8")
            facts = [("jets", f"{len(truth)} of {', '.join(recipe.data.held_out_files)}"), *quality.facts()]
            write_page("Codebook", facts, _sections(quality, frequency, true, found), directory / "codebook.html")
    return quality


def _fitted(
    run: str | Path | TrainedModel, data: str | None, period: tuple[str, str] | None
) -> tuple[ParticleRecipe, Mapping[str, Any]]:
    """The recipe, with its validation split as asked for, and the codecs of a model or of a recipe."""
    if not isinstance(run, TrainedModel) and (str(run) in shipped_recipes() or Path(run).suffix in RECIPES):
        recipe = read_recipe(run)
        if not isinstance(recipe, ParticleRecipe) or recipe.event is not None:
            raise RecipeError(f"recipe {run}: is not of jets, expected one that asks for a codebook. Name another.")
        recipe = DOMAIN.with_data(recipe, data, period)
        source = open_source(recipe, "train", {})
        assert source is not None
        return recipe, source.codecs
    trained = load(run)
    codebooks_of(trained.codecs)  # before jets of another domain are looked for
    recipe = trained.domain.with_data(trained.recipe, data, period)
    require_unseen(trained, recipe.data)
    return recipe, trained.codecs


def _quality(
    frequency: Float[np.ndarray, " V"], true: Mapping[str, np.ndarray], found: Mapping[str, np.ndarray], seed: int
) -> CodebookQuality:
    positive = frequency[frequency > 0]
    spread = {name: float(np.std(true[name])) for name in OBSERVABLES}
    original, decoded = (as_features(each, OBSERVABLES) for each in (true, found))
    original, decoded = (
        original[::2],
        decoded[1::2],
    )  # of other jets: a classifier that has seen a jet takes its decoded twin for it
    return CodebookQuality(
        len(true["pt_gev"]),
        len(frequency),
        float((frequency > 0).mean()),
        float(np.exp(-(positive * np.log(positive)).sum())),
        {name: float(np.std(found[name] - true[name])) / spread[name] for name in OBSERVABLES},
        {name: float(wasserstein_distance(found[name], true[name])) / spread[name] for name in OBSERVABLES},
        classifier_auc(original, decoded, seed=seed),
    )


def codebooks_of(codecs: Mapping[str, Any]) -> tuple[CodebookCodec, ResidualCodec | None]:
    """The codebook among the codecs, and its second code if there is one. Raises ModelError if there is none."""
    for name, codec in codecs.items():
        if isinstance(codec, CodebookCodec):
            finer = (c for c in codecs.values() if isinstance(c, ResidualCodec) and c.stream.of == name)
            return codec, next(finer, None)
    raise ModelError(f"the model has no codebook. Streams: {', '.join(codecs)}. Name a model that asks for one.")


def decoded_jets(
    jets: Jets, codec: CodebookCodec, fine: ResidualCodec | None, generator: torch.Generator
) -> tuple[Int[torch.Tensor, " N"], Jets]:
    """The first codes of all particles, and the jets that the codes are decoded to, in the frame of the true jets; not closed."""
    book, names = codec.codebook, codec.of.channels
    features = torch.from_numpy(particle_features(jets, names))
    codes = codec.codes(features, torch.from_numpy(np.asarray(jets.particles["kind"])).long())
    values, kinds = book.decode(codes, generator)
    if fine is not None:
        looked_at = [book.names.index(name) for name in book.looked_at]
        values[:, looked_at] = fine.residuals.decode(codes, fine.codes(features, codes), generator)
    values = values[:, [book.names.index(name) for name in names]] * codec.of.std + codec.of.mean
    of = np.repeat(np.arange(len(jets)), jets.multiplicity)
    jet = {name: column[of] for name, column in jets.of_jets.items()}
    columns = particle_columns(values.numpy(), names, kinds.numpy(), jet)
    order = np.lexsort((-columns["pt_gev"], of))
    decoded = Jets(jets.offsets, {name: column[order] for name, column in columns.items()}, {})
    return codes, replace(decoded, of_jets=summed_momentum(decoded))


def _sections(
    quality: CodebookQuality,
    frequency: Float[np.ndarray, " V"],
    true: Mapping[str, np.ndarray],
    found: Mapping[str, np.ndarray],
) -> list[dict[str, Any]]:
    text = "Decoded minus original jets, in units of the spread of the original ones."
    resolution = section("Resolution", text, [_histograms(true, found)], quality.table())
    return [resolution, section("Usage", "Frequency of each code, in order.", [_usage(frequency)])]


def _histograms(true: Mapping[str, np.ndarray], found: Mapping[str, np.ndarray]) -> Figure:
    figure = Figure(figsize=(11, 2.8), layout="constrained")
    for axis, name in zip(np.atleast_1d(figure.subplots(1, len(OBSERVABLES))), OBSERVABLES, strict=True):
        low, high = np.quantile(true[name], (0.005, 0.995))
        edges = np.linspace(low, high, 40)
        for label, values in (("original", true[name]), ("decoded", found[name])):
            axis.hist(values, edges, histtype="step", label=label)
        axis.set(xlabel=name, yticks=[])
    figure.axes[0].legend(fontsize=7, frameon=False)
    return figure


def _usage(frequency: Float[np.ndarray, " V"]) -> Figure:
    figure = Figure(figsize=(5, 2.6), layout="constrained")
    axis = figure.subplots()
    axis.semilogy(np.sort(frequency)[::-1].clip(min=1e-7))
    axis.set(xlabel="code", ylabel="frequency")
    return figure

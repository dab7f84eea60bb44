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

from statecast.evaluation.report import section, write_page
from statecast.outputs import new_output
from statecast.particles import record
from statecast.particles.codec import CodebookCodec, ResidualCodec
from statecast.particles.features import particle_columns, particle_features
from statecast.particles.jets import JetError, Jets, summed_momentum
from statecast.trained import ModelError, TrainedModel, load

OBSERVABLES = ("mass_gev", "pt_gev", "tau21", "tau32")
JETS = 2000  # that are decoded, unless others are asked for


@dataclass(frozen=True)
class CodebookQuality:
    """What a codebook keeps of jets.

    codes        of the codebook
    used         share of the codes that occur
    perplexity   exp of the entropy of their frequencies: so many codes, equally often used, say as much
    resolution   for each observable, standard deviation of decoded minus true, divided by that of the true ones; without closing
    wasserstein  for each observable, distance of the distributions, divided by the standard deviation of the true one
    auc          of a classifier that tells decoded from original jets by their observables: 0.5 can't, 1 always
    """

    codes: int
    used: float
    perplexity: float
    resolution: Mapping[str, float]
    wasserstein: Mapping[str, float]
    auc: float


def codebook_quality(
    run: str | Path | TrainedModel,
    files: str,
    jets: tuple[int, int] = (0, JETS - 1),
    out: str | Path | None = None,
    *,
    seed: int = 0,
    overwrite: bool = False,
) -> CodebookQuality:
    """Code and decode jets of files. Written to the directory `out` as `codebook.html` and `codebook.json` if that is given.

    Uses the second code too, if the model has one. Raises ModelError for a model without a codebook, JetError for jets that are not there.
    """
    trained = run if isinstance(run, TrainedModel) else load(run)
    codec, fine = codebooks_of(trained)
    truth = _chosen(trained, files, jets)
    codes, decoded = decoded_jets(truth, codec, fine, torch.Generator().manual_seed(seed))
    true, found = observables(truth), observables(decoded)
    frequency = np.bincount(codes.numpy(), minlength=codec.codebook.size) / len(codes)
    positive = frequency[frequency > 0]
    spread = {name: float(np.nanstd(true[name])) for name in OBSERVABLES}
    quality = CodebookQuality(
        codec.codebook.size,
        float((frequency > 0).mean()),
        float(np.exp(-(positive * np.log(positive)).sum())),
        {name: float(np.nanstd(found[name] - true[name])) / spread[name] for name in OBSERVABLES},
        {name: _distance(found[name], true[name]) / spread[name] for name in OBSERVABLES},
        _separability(true, found, seed),
    )
    if out is not None:
        with new_output(out, overwrite=overwrite) as directory:
            directory.mkdir()
            (directory / "codebook.json").write_text(json.dumps(asdict(quality), indent=1), encoding="utf-8")
            _write_page(quality, frequency, true, found, files, directory / "codebook.html")
    return quality


def codebooks_of(trained: TrainedModel) -> tuple[CodebookCodec, ResidualCodec | None]:
    """The codebook of a model, and its second code if there is one. Raises ModelError if there is none."""
    for name, codec in trained.codecs.items():
        if isinstance(codec, CodebookCodec):
            finer = (c for c in trained.codecs.values() if isinstance(c, ResidualCodec) and c.stream.of == name)
            return codec, next(finer, None)
    raise ModelError(
        f"the model has no codebook. Streams: {', '.join(trained.codecs)}. Name a model that asks for one."
    )


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


def observables(jets: Jets) -> dict[str, Float[np.ndarray, " J"]]:
    """Mass and pT of the sum of the particles, and their substructure."""
    from statecast.particles.substructure import substructure

    return {**substructure(jets), **summed_momentum(jets)}


def _chosen(trained: TrainedModel, files: str, jets: tuple[int, int]) -> Jets:
    columns = record.Columns((files,), jets, trained.recipe.data.most_constituents, (), (), ())
    return Jets.joined(list(record.chosen_chunks(columns)))


def _distance(one: Float[np.ndarray, " J"], other: Float[np.ndarray, " J"]) -> float:
    from scipy.stats import wasserstein_distance

    return float(wasserstein_distance(one[np.isfinite(one)], other[np.isfinite(other)]))


def _separability(true: Mapping[str, np.ndarray], found: Mapping[str, np.ndarray], seed: int) -> float:
    """Area under the ROC curve of boosted trees, on the half of the jets that they were not fitted on."""
    try:
        from sklearn.ensemble import HistGradientBoostingClassifier
        from sklearn.metrics import roc_auc_score
    except ImportError:
        raise JetError("the quality of a codebook needs scikit-learn. Install statecast[hep].") from None
    tables = [np.stack([each[name] for name in OBSERVABLES], axis=-1) for each in (true, found)]
    half = len(tables[0]) // 2
    fitted, tested = (np.concatenate([table[part] for table in tables]) for part in (slice(0, half), slice(half, None)))
    answers = [np.repeat([0, 1], len(rows) // 2) for rows in (fitted, tested)]
    trees = HistGradientBoostingClassifier(max_iter=100, random_state=seed).fit(fitted, answers[0])
    return float(roc_auc_score(answers[1], trees.predict_proba(tested)[:, 1]))


def _write_page(
    quality: CodebookQuality,
    frequency: Float[np.ndarray, " V"],
    true: Mapping[str, np.ndarray],
    found: Mapping[str, np.ndarray],
    files: str,
    out: Path,
) -> None:
    facts = [
        ("jets", f"{len(true['tau21'])} of {files}"),
        ("codes used", f"{quality.used:.1%} of {quality.codes}, perplexity {quality.perplexity:.0f}"),
        (
            "classifier",
            f"area under the ROC curve {quality.auc:.3f}; 0.5: decoded jets can't be told from original ones",
        ),
    ]
    rows: list[list[str]] = [["observable", "resolution / spread", "Wasserstein distance / spread"]]
    for name in OBSERVABLES:
        rows.append([name, f"{quality.resolution[name]:.3f}", f"{quality.wasserstein[name]:.3f}"])
    sections: list[dict[str, Any]] = [
        section(
            "Resolution",
            "Decoded minus original jets, in units of the spread of the original ones.",
            [_histograms(true, found)],
            rows,
        ),
        section("Usage", "Frequency of each code, in order.", [_usage(frequency)]),
    ]
    write_page("Codebook", facts, sections, out)


def _histograms(true: Mapping[str, np.ndarray], found: Mapping[str, np.ndarray]) -> Figure:
    figure = Figure(figsize=(11, 2.8), layout="constrained")
    for axis, name in zip(np.atleast_1d(figure.subplots(1, len(OBSERVABLES))), OBSERVABLES, strict=True):
        low, high = np.nanquantile(true[name], (0.005, 0.995))
        edges = np.linspace(low, high, 40)
        for label, values in (("original", true[name]), ("decoded", found[name])):
            axis.hist(values[np.isfinite(values)], edges, histtype="step", label=label)
        axis.set(xlabel=name, yticks=[])
    figure.axes[0].legend(fontsize=7, frameon=False)
    return figure


def _usage(frequency: Float[np.ndarray, " V"]) -> Figure:
    figure = Figure(figsize=(5, 2.6), layout="constrained")
    axis = figure.subplots()
    axis.semilogy(np.sort(frequency)[::-1].clip(min=1e-7))
    axis.set(xlabel="code", ylabel="frequency")
    return figure

"""Samples of jets: one split of a record with the codecs of its streams."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from statecast.domain import Split
from statecast.labels import LabelCodec
from statecast.numbered import NumberedCases, require_apart
from statecast.particles.codebook import fit_codebook, fit_residuals
from statecast.particles.codec import JetCodec, OneJet, ParticleCodec
from statecast.particles.recipe import ParticleRecipe
from statecast.particles.record import Columns, JetRecord, Range, read_record
from statecast.particles.streams import JetStream, LabelStream, ParticleStream, TargetStream
from statecast.particles.target_codec import BinsCodec, CodebookCodec, KindsCodec, ResidualCodec, ValuesCodec
from statecast.streams import Tokens, Window
from statecast.trained import ModelError


@dataclass(frozen=True)
class JetSource:
    """One split, from which jets are drawn.

    codes       of all particles, by stream of codes
    is_rotated  drawn jets are rotated about their axis, and reflected, at random; those of `cases` are not
    """

    record: JetRecord
    codecs: Mapping[str, Any]
    codes: Mapping[str, Int[Tensor, " N"]] = field(default_factory=dict)
    is_rotated: bool = False

    def draw(self, sample: np.random.Generator) -> Window:
        """The tokens of a jet, each jet with the same probability."""
        number = int(sample.integers(len(self.record)))
        turn = random_turn(sample) if self.is_rotated else None
        return self.window(number, turn)

    def describe(self, sample: np.random.Generator) -> str:
        return f"jet {self.record.places[int(sample.integers(len(self.record)))]}"

    def cases(self) -> NumberedCases:
        return NumberedCases(self)

    def window(self, number: int, turn: Float[Tensor, "2 2"] | None = None) -> Window:
        """The tokens of one jet, by stream; `turn` rotates it about its axis."""
        jet = self.jet(number)
        if turn is not None:
            jet = jet.turned(self.record.columns.features, turn)
        return window_of(jet, self.codecs)

    def jet(self, number: int) -> OneJet:
        """The columns of one jet."""
        record, span = self.record, self.record.span(number)
        labels = {name: record.label(name, number) for name in record.columns.labels}
        codes = {name: codes[span].long() for name, codes in self.codes.items()}
        return OneJet(record.features[span], record.kinds[span].long(), record.quantities[number], labels, codes)


def window_of(jet: OneJet, codecs: Mapping[str, Any]) -> Window:
    """The tokens of a jet, by stream."""
    return {name: _tokens(name, codec, jet) for name, codec in codecs.items()}


def _tokens(name: str, codec: Any, jet: OneJet) -> Tokens:
    if isinstance(codec, LabelCodec):
        assert isinstance(codec.stream, LabelStream)
        return codec.tokens(jet.labels.get(codec.stream.label))
    if isinstance(codec, CodebookCodec | ResidualCodec):
        return codec.tokens(jet, name)
    return codec.tokens(jet)


def random_turn(sample: np.random.Generator) -> Float[Tensor, "2 2"]:
    """A random rotation of the plane, with a reflection in half of the cases."""
    angle, sign = sample.uniform(0, 2 * math.pi), 1.0 if sample.uniform() < 0.5 else -1.0
    cos, sin = math.cos(angle), math.sin(angle)
    return torch.tensor([[cos, -sin * sign], [sin, cos * sign]])


def open_source(recipe: ParticleRecipe, split: Split, known: Mapping[str, Any]) -> JetSource | None:
    """One split of a recipe; None where it has no validation. A stream in `known` keeps its codec.

    Statistics and codebooks come from the training split. Raises RecipeError, JetError or ModelError in one line.
    """
    chosen = recipe.data.train if split == "train" else recipe.data.validate_on
    if chosen is None:
        return None
    jets: Range = (0, None) if chosen == "all" else chosen
    require_apart(recipe.data)
    record = read_record(columns_of(recipe, split, jets), recipe.data.cache)
    codecs = fitted_codecs(recipe, record, known)
    return source_of(record, codecs, is_rotated=split == "train" and recipe.data.rotate)


def source_of(record: JetRecord, codecs: Mapping[str, Any], *, is_rotated: bool = False) -> JetSource:
    """Samples of a record; the codes of all particles are computed once."""
    codes: dict[str, Tensor] = {}
    if not is_rotated:  # of a rotated jet they change with each draw
        for name, codec in codecs.items():
            if isinstance(codec, CodebookCodec):
                codes[name] = codec.codes(record.features, record.kinds.long()).int()
        for name, codec in codecs.items():
            if isinstance(codec, ResidualCodec) and codec.stream.of in codes:
                codes[name] = codec.codes(record.features, codes[codec.stream.of].long()).int()
    return JetSource(record, codecs, codes, is_rotated)


def columns_of(recipe: ParticleRecipe, split: Split, jets: Range) -> Columns:
    """The columns that the streams of a recipe need."""
    files = recipe.data.files if split == "train" else recipe.data.held_out_files
    quantities = recipe.jet[1].ordered if recipe.jet else ()
    labels = tuple(dict.fromkeys(stream.label for stream in recipe.labels.values()))
    features = tuple(recipe.particles[1].particles)
    return Columns(files, jets, recipe.data.most_constituents, features, quantities, labels, recipe.data.align)


def fitted_codecs(recipe: ParticleRecipe, record: JetRecord, known: Mapping[str, Any]) -> dict[str, Any]:
    """The codec of each stream, those in `known` as they are. Raises ModelError for one that is known in another form."""
    name, stream = recipe.particles
    particles = particle_codec(stream, record, known_as(name, known, ParticleCodec))
    codecs: dict[str, Any] = {}
    refined: dict[str, TargetStream] = {}
    for other, options in recipe.streams.items():
        if isinstance(options, ParticleStream):
            codecs[other] = particles
        elif isinstance(options, JetStream):
            codecs[other] = jet_codec(options, record, known_as(other, known, JetCodec))
        elif isinstance(options, TargetStream) and options.of is not None:
            refined[other] = options
        elif isinstance(options, TargetStream):
            codecs[other] = _target_codec(other, options, particles, recipe, record, known)
        elif isinstance(options, LabelStream):
            codecs[other] = label_codec(options, record.labels(options.label), known_as(other, known, LabelCodec))
    for other, options in refined.items():
        codecs[other] = _residual_codec(other, options, codecs[str(options.of)], recipe, record, known)
    return {other: codecs[other] for other in recipe.streams}


def known_as(name: str, known: Mapping[str, Any], kind: type[Any]) -> Any:
    """The known codec of a stream, None if there is none. Raises ModelError if it is of another kind."""
    codec = known.get(name)
    if codec is not None and not isinstance(codec, kind):
        raise ModelError(f"stream {name}: the model knows it in another form. Give the stream another name to add it.")
    return codec


def particle_codec(stream: ParticleStream, record: JetRecord, known: ParticleCodec | None) -> ParticleCodec:
    """The codec of particles with the statistics of a record, or of a known codec."""
    if known is not None and known.stream == stream:
        return known
    return ParticleCodec.fit(stream, record.features.numpy(), known)


def jet_codec(stream: JetStream, record: JetRecord, known: JetCodec | None) -> JetCodec:
    """The codec of numbers of jets with the statistics of a record, or of a known codec."""
    if known is not None and known.stream == stream:
        return known
    return JetCodec.fit(stream, record.quantities.numpy(), known)


def label_codec(stream: LabelStream, labels: Sequence[Any], known: LabelCodec | None) -> LabelCodec:
    """The codec of labels of the training split, or a known one."""
    if known is not None:
        return replace(known, stream=stream)
    units = "GeV" if stream.label.endswith("_gev") else "1"
    return LabelCodec.fit(stream, labels, is_class=stream.is_class, units=units)


def _residual_codec(
    name: str,
    stream: TargetStream,
    of: CodebookCodec,
    recipe: ParticleRecipe,
    record: JetRecord,
    known: Mapping[str, Any],
) -> ResidualCodec:
    before = known_as(name, known, ResidualCodec)
    if before is not None:
        _require_same(name, before.stream, stream)
        return replace(before, of=of)
    columns = [of.of.channels.index(each) for each in of.codebook.looked_at]
    values = of.of.normalised(record.features)[:, columns]
    codes = of.codes(record.features, record.kinds.long())
    return ResidualCodec(stream, fit_residuals(values, codes, of.codebook.size, stream.size, recipe.seed), of)


def _require_same(name: str, before: TargetStream, now: TargetStream) -> None:
    if before != now:
        raise ModelError(
            f"stream {name}: the model knows it with {before}, the recipe says {now}. Give the stream another name to add it."
        )


def _target_codec(
    name: str,
    stream: TargetStream,
    particles: ParticleCodec,
    recipe: ParticleRecipe,
    record: JetRecord,
    known: Mapping[str, Any],
) -> Any:
    kind = {"codebook": CodebookCodec, "kinds": KindsCodec, "values": ValuesCodec, "bins": BinsCodec}[stream.asks]
    before = known_as(name, known, kind)
    if before is not None:
        _require_same(name, before.stream, stream)
    if isinstance(before, CodebookCodec | ValuesCodec):
        return replace(before, of=particles)
    if before is not None:
        return before
    if stream.asks == "kinds":
        return KindsCodec(stream)
    if stream.asks == "values":
        return ValuesCodec(stream, particles)
    if stream.asks == "bins":
        assert recipe.jet is not None
        return BinsCodec.fit(stream, recipe.jet[1], record.quantities.numpy(), recipe.seed)
    values = particles.normalised(record.features)
    book = fit_codebook(values, record.kinds.long(), particles.channels, stream.size, stream.method, recipe.seed)
    return CodebookCodec(stream, book, particles)

"""The window of a training sample of jets, without values: for costs."""

from collections.abc import Sequence

import numpy as np
import torch

from statecast.domain import Codec, Sizes
from statecast.labels import LabelCodec, LabelError
from statecast.particles.codebook import MEMBERS, Codebook, Residuals
from statecast.particles.codec import JetCodec, OneJet, ParticleCodec
from statecast.particles.event_codec import EventCodec, InEvent
from statecast.particles.event_source import open_event_source
from statecast.particles.jets import JetError
from statecast.particles.recipe import ParticleRecipe
from statecast.particles.record import JetRecord, read_record
from statecast.particles.source import columns_of, window_of
from statecast.particles.streams import EventStream, JetStream, LabelStream, ParticleStream, TargetStream
from statecast.particles.target_codec import BinsCodec, CodebookCodec, KindsCodec, ResidualCodec, ValuesCodec
from statecast.streams import Tokens

LOOKED_AT = 1000  # jets from which the number of particles and classes is estimated
ASSUMED_PARTICLES, ASSUMED_CLASSES = 50, 10


def sizes(recipe: ParticleRecipe) -> Sizes:
    """The files say how many particles a jet has and how many classes there are; without files both are assumed."""
    if recipe.event is not None:
        return _event_sizes(recipe)
    record = _looked_at(recipe)
    assumed: tuple[str, ...] = ()
    if record is None:
        particles, classes = min(ASSUMED_PARTICLES, recipe.data.most_constituents), ASSUMED_CLASSES
        assumed = (
            f"{', '.join(recipe.data.files)} can't be read: jets are assumed to have {particles} particles and {classes} classes",
        )
    else:
        particles, classes = round(float(np.diff(record.offsets).mean())), len(record.class_names)
    codecs = _blank_codecs(recipe, classes)
    jet = _blank_jet(recipe, particles)
    return Sizes({name: codec.spec for name, codec in codecs.items()}, window_of(jet, codecs), assumed)


def _blank_jet(recipe: ParticleRecipe, particles: int) -> OneJet:
    names = recipe.particles[1].particles
    return OneJet(
        0.01 * torch.arange(particles)[:, None].expand(-1, len(names)).float(),
        torch.zeros(particles, dtype=torch.int64),
        torch.zeros(len(recipe.jet[1].ordered) if recipe.jet else 0),
    )


def _event_sizes(recipe: ParticleRecipe) -> Sizes:
    """As of jets: the files say how many particles the jets have, and how many processes there are."""
    assert recipe.event is not None
    first, last = recipe.data.train
    data = recipe.data.model_copy(update={"train": (first, min(last, first + LOOKED_AT - 1))})
    try:
        source = open_event_source(recipe.model_copy(update={"data": data}), "train", {})
    except (JetError, LabelError, OSError):
        source = None
    if source is None:
        particles, classes = min(ASSUMED_PARTICLES, recipe.data.most_constituents), ASSUMED_CLASSES
        files = ", ".join(recipe.data.files)
        assumed: tuple[str, ...] = (
            f"{files} can't be read: jets are assumed to have {particles} particles, and events {classes} processes",
        )
    else:
        particles, assumed = round(float(np.diff(source.record.jets.offsets).mean())), ()
        classes = max(
            (len(codec.categories) for codec in source.codecs.values() if isinstance(codec, LabelCodec)), default=0
        )
    blank = _blank_codecs(recipe, classes)
    codecs = {n: InEvent(c) if isinstance(c, ParticleCodec | JetCodec) else c for n, c in blank.items()}
    jets = [_blank_jet(recipe, particles)] * recipe.event[1].jets
    window = {name: _event_tokens(codec, jets) for name, codec in codecs.items()}
    return Sizes({name: codec.spec for name, codec in codecs.items()}, window, assumed)


def _event_tokens(codec: Codec, jets: Sequence[OneJet]) -> Tokens:
    if isinstance(codec, InEvent):
        return codec.tokens(jets)
    if isinstance(codec, EventCodec):
        return codec.tokens(torch.zeros(len(codec.channels)))
    assert isinstance(codec, LabelCodec)
    return codec.tokens(None)


def _looked_at(recipe: ParticleRecipe) -> JetRecord | None:
    """The first jets of training; None if the files can't be read."""
    first, last = recipe.data.train
    try:
        return read_record(columns_of(recipe, "train", (first, min(last, first + LOOKED_AT - 1))))
    except (JetError, OSError):
        return None


def _blank_codecs(recipe: ParticleRecipe, classes: int) -> dict[str, Codec]:
    stream = recipe.particles[1]
    size = len(stream.particles)
    of = ParticleCodec(stream, torch.zeros(size), torch.ones(size))
    codecs: dict[str, Codec] = {}
    for other, options in recipe.streams.items():
        if isinstance(options, ParticleStream):
            codecs[other] = of
        elif isinstance(options, JetStream):
            zeros = torch.zeros(len(options.ordered))
            codecs[other] = JetCodec(options, zeros, zeros + 1)
        elif isinstance(options, EventStream):
            zeros = torch.zeros(len(options.numbers))
            codecs[other] = EventCodec(options, zeros, zeros + 1)
        elif isinstance(options, LabelStream):
            names = tuple(f"class {number}" for number in range(max(2, classes))) if options.is_class else ()
            codecs[other] = LabelCodec(options, names)
        elif isinstance(options, TargetStream):
            codecs[other] = _blank_target(options, of, recipe)
    return codecs


def _blank_target(stream: TargetStream, of: ParticleCodec, recipe: ParticleRecipe) -> Codec:
    if stream.asks == "kinds":
        return KindsCodec(stream)
    if stream.asks == "values":
        return ValuesCodec(stream, of)
    if stream.asks == "bins":
        assert recipe.jet is not None
        bins, count = max(2, stream.size // 8), len(recipe.jet[1].ordered)
        return BinsCodec(stream, recipe.jet[1], torch.zeros(count, bins - 1), torch.zeros(count, bins, MEMBERS))
    if stream.asks == "residual":
        coarse = _blank_target(recipe.targets[str(stream.of)], of, recipe)
        assert isinstance(coarse, CodebookCodec)
        cells, parts = torch.zeros(coarse.codebook.size, 3), torch.zeros(stream.size, 3)
        return ResidualCodec(stream, Residuals(cells, cells + 1, parts, parts[:, None]), coarse)
    looked_at = of.channels[:3]
    nothing = torch.zeros(stream.size, MEMBERS)
    book = Codebook(of.channels, looked_at, torch.zeros(stream.size, 8), nothing[..., None], nothing.long())
    return CodebookCodec(stream, book, of)

"""Jets as a domain of the core: recipe, record, codecs, model card and the verbs of its own."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from statecast.domain import Sizes, Split
from statecast.labels import LabelCodec
from statecast.numbered import with_files
from statecast.particles.codec import JetCodec, ParticleCodec
from statecast.particles.evaluation.evaluate import evaluate
from statecast.particles.event_codec import EventCodec, InEvent
from statecast.particles.event_source import EventSource, open_event_source
from statecast.particles.inference.generate import generate_with
from statecast.particles.recipe import ParticleRecipe
from statecast.particles.sizes import sizes
from statecast.particles.source import JetSource, open_source
from statecast.particles.strange import anomalies
from statecast.particles.streams import (
    EventStream,
    JetStream,
    LabelStream,
    ParticleStream,
    TargetStream,
    kind_of_stream,
)
from statecast.particles.target_codec import BinsCodec, CodebookCodec, KindsCodec, ResidualCodec, ValuesCodec


class Particles:
    """Jets of particles."""

    name = "particles"
    Recipe = ParticleRecipe
    recipes = "statecast.particles.recipes"
    verbs: Mapping[str, Callable[..., Any]] = {
        "anomalies": anomalies,
        "evaluate": evaluate,
        "generate": generate_with,
    }

    def open(self, recipe: ParticleRecipe, split: Split, known: Mapping[str, Any]) -> JetSource | EventSource | None:
        return open_event_source(recipe, split, known) if recipe.event else open_source(recipe, split, known)

    def with_data(self, recipe: ParticleRecipe, data: str | None, period: tuple[str, str] | None) -> ParticleRecipe:
        """The recipe with other files of validation; without a range all of their jets."""
        return with_files(recipe, data, period, "jet")

    def load(self, directory: Path, streams: Mapping[str, Mapping[str, Any]], recipe: ParticleRecipe) -> dict[str, Any]:
        kinds = {name: kind_of_stream(options) for name, options in streams.items()}
        particles, jets = (next((n for n, k in kinds.items() if k == kind), "") for kind in ("particles", "quantities"))
        of = ParticleCodec.load(ParticleStream(**streams[particles]), directory, particles)
        of_jet = JetStream(**streams[jets]) if jets else None
        codecs: dict[str, Any] = {}
        refined: dict[str, TargetStream] = {}
        for name, options in streams.items():
            if name == particles:
                codecs[name] = of
            elif name == jets:
                codecs[name] = JetCodec.load(JetStream(**options), directory, name)
            elif kinds[name] == "numbers":
                codecs[name] = EventCodec.load(EventStream(**options), directory, name)
            elif kinds[name] == "label":
                codecs[name] = LabelCodec.load(LabelStream(**options), directory, name)
            elif options["asks"] == "residual":
                refined[name] = TargetStream(**options)
            else:
                codecs[name] = _load_target(TargetStream(**options), of, of_jet, directory, name)
        for name, stream in refined.items():
            codecs[name] = ResidualCodec.load(stream, codecs[str(stream.of)], directory, name)
        if "numbers" in kinds.values():
            codecs |= {name: InEvent(codecs[name]) for name in (particles, jets) if name}
        return {name: codecs[name] for name in streams}

    def sizes(self, recipe: ParticleRecipe) -> Sizes:
        return sizes(recipe)

    def card(self, codecs: Mapping[str, Any], recipe: ParticleRecipe) -> str:
        rows = ["| stream | tokens | values | categories |", "|---|---|---|---|"]
        for name, codec in codecs.items():
            categories = codec.categories
            listed = ", ".join(categories) if len(categories) <= 12 else f"{len(categories)} codes"
            content = codec.stream.ordered if isinstance(codec.stream, JetStream) else codec.channels
            tokens = _tokens_of(codec, "an event" if recipe.event else "a jet")
            rows.append(f"| {name} | {tokens} | {', '.join(content) or '-'} | {listed or '-'} |")
        first, last = recipe.data.train
        what = "events" if recipe.event else "jets"
        return "\n".join([f"Trained on {what} {first} to {last} of `{', '.join(recipe.data.files)}`.", "", *rows])


def _tokens_of(codec: Any, sample: str) -> str:
    """What a token of the stream stands for."""
    if isinstance(codec.stream, JetStream):
        return "one a number"
    return "one a particle" if codec.spec.ragged else f"one {sample}"


def _load_target(stream: TargetStream, of: ParticleCodec, of_jet: JetStream | None, directory: Path, name: str) -> Any:
    if stream.asks == "codebook":
        return CodebookCodec.load(stream, of, directory, name)
    if stream.asks == "values":
        return ValuesCodec(stream, of)
    if stream.asks == "kinds":
        return KindsCodec(stream)
    if of_jet is None:
        raise ValueError(f"stream {name} has bins of numbers of the jet, but no stream has these numbers")
    return BinsCodec.load(stream, of_jet, directory, name)


DOMAIN = Particles()

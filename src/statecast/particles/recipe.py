"""The recipe of a run on jets: where they lie, their streams, and the question."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from statecast.config import Recipe
from statecast.numbered import Numbers, SampleFiles
from statecast.particles.streams import AnyStream, EventStream, JetStream, LabelStream, ParticleStream, TargetStream
from statecast.particles.tasks import MaskedParticles, Mix, NextParticle
from statecast.tasks import Translate

ParticleTask = MaskedParticles | NextParticle | Mix | Translate


class JetData(SampleFiles):
    """Where the jets lie and which of them may be learned from."""

    files: tuple[str, ...] = Field(
        description="a file of jets, several, or the sample that ships with statecast (sample:jets)"
    )
    train: Numbers = Field(
        description="first and last jet, or event, of training, inclusive; statistics and codebooks come from them alone"
    )
    validate_on: Numbers | Literal["all"] | None = Field(
        None,
        alias="validate",
        description="first and last jet, or event, of validation, inclusive, or all; none: no validation",
    )

    most_constituents: int = Field(
        128, ge=1, le=100_000, description="particles of a jet that are read, those of largest pT"
    )
    rotate: bool = Field(
        False, description="training sees each jet rotated about its axis by a random angle, and reflected at random"
    )
    align: bool = Field(
        False,
        description="each jet is turned about its axis until its principal axis lies along Δη; generated jets get a random turn",
    )
    cache: str | None = Field(
        None,
        description="directory in which columns are kept and memory-mapped, for more jets than memory holds; none: in memory",
    )

    @model_validator(mode="after")
    def _align_or_rotate(self) -> Self:
        if self.align and self.rotate:
            raise ValueError(
                "align and rotate are both true: a random turn undoes the alignment. Set one of them to false."
            )
        return self


class ParticleRecipe(Recipe):
    """One run on jets."""

    data: JetData
    streams: dict[str, AnyStream] = Field(min_length=1, description="kinds of measurement, by name")  # type: ignore[assignment]
    task: Annotated[ParticleTask, Field(discriminator="kind")]  # type: ignore[assignment]

    @property
    def particles(self) -> tuple[str, ParticleStream]:
        """Name and options of the stream of particles."""
        return next((name, stream) for name, stream in self.streams.items() if isinstance(stream, ParticleStream))

    @property
    def jet(self) -> tuple[str, JetStream] | None:
        """Name and options of the stream of numbers of the jet; None if there is none."""
        return next(((name, s) for name, s in self.streams.items() if isinstance(s, JetStream)), None)

    @property
    def event(self) -> tuple[str, EventStream] | None:
        """Name and options of the stream of numbers of the event; None if a sample is a jet."""
        return next(((name, s) for name, s in self.streams.items() if isinstance(s, EventStream)), None)

    @property
    def targets(self) -> dict[str, TargetStream]:
        """The streams that are only asked."""
        return {name: stream for name, stream in self.streams.items() if isinstance(stream, TargetStream)}

    @property
    def labels(self) -> dict[str, LabelStream]:
        """The streams of labels."""
        return {name: stream for name, stream in self.streams.items() if isinstance(stream, LabelStream)}

    @model_validator(mode="after")
    def _there_is_one_stream_of_each_kind(self) -> Self:
        for kind, what, least in (
            (ParticleStream, "particles", 1),
            (JetStream, "quantities", 0),
            (EventStream, "numbers", 0),
        ):
            names = [name for name, stream in self.streams.items() if isinstance(stream, kind)]
            if not least <= len(names) <= 1:
                raise ValueError(
                    f"streams: {len(names)} hold {what} ({', '.join(names) or 'none'}), expected one. Add or remove some."
                )
        if self.jet is None and (bins := [name for name, stream in self.targets.items() if stream.asks == "bins"]):
            raise ValueError(
                f"streams.{bins[0]}: asks for bins of numbers of the jet, but no stream has quantities. Add one."
            )
        return self

    @model_validator(mode="after")
    def _jets_of_events_are_not_aligned(self) -> Self:
        if self.event is not None and self.data.align:
            raise ValueError(
                "data.align is true, but jets of events are not aligned. Start from a model of jets with data.align=false."
            )
        return self

    @model_validator(mode="after")
    def _residuals_are_of_codebooks(self) -> Self:
        books = [name for name, stream in self.targets.items() if stream.asks == "codebook"]
        for name, stream in self.targets.items():
            if stream.of is not None and stream.of not in books:
                raise ValueError(
                    f"streams.{name}.of: {stream.of} asks for no codebook, expected one of {', '.join(books) or 'none'}. Add its stream."
                )
        return self

    @model_validator(mode="after")
    def _targets_are_not_visible(self) -> Self:
        shown = set(self.streams) - set(self.task.to) if isinstance(self.task, Translate) else self._shown_by_name()
        if visible := [name for name in self.targets if name in shown]:
            raise ValueError(f"streams.{visible[0]}: is a target, but the task shows it. Ask for it, or leave it out.")
        return self

    @model_validator(mode="after")
    def _particles_are_particles(self) -> Self:
        for task in self._particle_tasks():
            name = self.particles[0]
            if task.particles != name:
                raise ValueError(f"task.particles: {task.particles} holds no particles, expected {name}.")
            for asked in task.ask:
                target = self.targets.get(asked)
                if target is None:
                    raise ValueError(
                        f"task.ask: {asked} is no target stream ({', '.join(self.targets) or 'none'}). Name one of them."
                    )
                if target.asks == "bins" and isinstance(task, MaskedParticles):
                    raise ValueError(f"task.ask: {asked} is of the whole jet, expected a target of its particles.")
        return self

    @model_validator(mode="after")
    def _events_have_labels(self) -> Self:
        if self.event is None:
            return self
        if self.targets or not isinstance(self.task, Translate):
            name = next(iter(self.targets), self.task.kind)
            raise ValueError(
                f"streams.{self.event[0]}: a sample is an event, of which only labels are asked, got {name}. "
                "Choose the task translate to labels."
            )
        if self.data.cache is not None:
            raise ValueError("data.cache: events are held in memory. Remove this key.")
        return self

    def _particle_tasks(self) -> list[MaskedParticles | NextParticle]:
        tasks = self.task.tasks if isinstance(self.task, Mix) else (self.task,)
        return [task for task in tasks if not isinstance(task, Translate)]

    def _shown_by_name(self) -> set[str]:
        return {name for task in self._particle_tasks() for name in task.show}

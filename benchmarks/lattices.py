"""Answers averaged over token lattices, beside a U-Net whose answers are averaged over the same shifts.

    python benchmarks/lattices.py --run runs/quickstart --out runs/lattices [--seconds 120] [--every-h 72] [--questions forecast] [--smoke]

Asks the quickstart's models on 1, 2 and 4 token lattices in months that no training saw: its forecast, and gaps and a finer grid by its
recipes, fine-tuned from its pre-training. A U-Net is trained for each question for so many seconds of CPU time of one thread and asked on
the grid shifted by 0 or 1 row and column. `masked` asks the pre-trained model for 75 % of the tokens, without a U-Net. `ours` are answers
without the filter of the points around each one, `mended` those with it, as by default (`fields.edges`).

Prints RMSE and CRPS over those of our model on one lattice, geometric means over the channels; the power of the forecast's mean over the
truth's in the shortest third of the waves along the rows, the median and the largest of the channels, and that of one channel (z@500, or
u@850 of the finer grid); and the CPU time of an answer in seconds. In a gap, waves are those of the filled field. A U-Net gives one value:
its CRPS is its mean absolute error. Runs that lie at --out are used again.
"""

import argparse
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from shared import FEW_STEPS, SMALL, WHOLE, Extent, once, records_of
from statecast import finetune, load, pretrain
from statecast.fields.edges import with_edges
from statecast.fields.evaluation.answers import asked_points
from statecast.fields.evaluation.cases import ask
from statecast.fields.evaluation.reconstruction import plain_mask, reconstruct
from statecast.fields.evaluation.scores import statistics
from statecast.fields.evaluation.spectra import zonal_power
from statecast.fields.evaluation.verification import every, forecast_case
from statecast.fields.inference.blocks import forecast_block
from statecast.fields.inference.lattices import SHIFTS, asked_on
from statecast.fields.source import open_source
from statecast.fields.sources import Record
from statecast.fields.tokenizers import StreamSource, sources_of, whole_window
from statecast.trained import TrainedModel
from unet import (
    UNET,
    Anomalies,
    Departure,
    FillQuestion,
    ForecastQuestion,
    Question,
    downscale_question,
    downscaled,
    trained_peer,
)

LEADS = (1, 2, 4)  # steps: +6, +12 and +24 h
STREAMS = {"forecast": "atmosphere", "masked": "atmosphere", "fill": "atmosphere", "downscale": "europe"}
SHOWN = {"forecast": "z@500", "masked": "z@500", "fill": "z@500", "downscale": "u@850"}
MASKED_SHARE = 0.75
Fields = Float[np.ndarray, "E T V H W"]
Asked = Callable[[int, int], Fields]
"""(lattices, start) -> members in the units of the channels."""
Peer = tuple[Question, Departure]


@dataclass(frozen=True)
class Window:
    """What is true at one start. Axes: T time or lead time, V channel, H row, W column. NaN in `truth`: is not scored."""

    truth: Float[np.ndarray, "T V H W"]
    climatology: Float[np.ndarray, "T V H W"]
    around: Float[np.ndarray, "T V H W"]  # the truth at all points, which a gap lies in


@dataclass
class Found:
    """Of one forecast, start by start."""

    squared: list[np.ndarray] = field(default_factory=list)
    crps: list[np.ndarray] = field(default_factory=list)
    power: list[np.ndarray] = field(default_factory=list)
    cpu_s: float = 0.0

    def add(self, members: Fields, window: Window, record: Record) -> None:
        of = statistics(members, window.truth, window.climatology, record.grid.cell_area)
        mean = np.where(np.isfinite(window.truth), members.mean(axis=0), window.around)
        self.squared.append(of["squared_error"])
        self.crps.append(of["crps"])
        self.power.append(short_waves(mean, record))

    def rmse(self) -> Float[np.ndarray, "T V"]:
        return np.sqrt(np.nanmean(self.squared, axis=0))


def short_waves(fields: Float[np.ndarray, "T V H W"], record: Record) -> Float[np.ndarray, "T V"]:
    return np.array_split(zonal_power(fields, record.grid), 3, axis=-1)[-1].sum(axis=-1)


# Ours


def model_of(question: str, run: Path, out: Path, extent: Extent, smoke: bool) -> TrainedModel:
    """The quickstart's model of a question."""
    overrides = [*extent.of_stream, *(FEW_STEPS if smoke else ())]
    first = run
    if smoke:
        first = out / "pretrained"
        once(first, partial(pretrain, "quickstart", first, overrides=[*extent.overrides, *FEW_STEPS], progress=False))
    elif question in ("forecast", "masked"):
        return load(run / {"forecast": "forecast", "masked": "pretrained"}[question])
    else:
        first = run / "pretrained"
    tuned = out / question
    return once(tuned, partial(finetune, f"quickstart-{question}", first, tuned, overrides=overrides, progress=False))


def forecasts(trained: TrainedModel, records: Mapping[str, Record]) -> tuple[Callable[[int], Window], Asked]:
    name, codec = next(iter(trained.codecs.items()))
    task, at = trained.recipe.task, [lead - 1 for lead in LEADS]
    history = task.history * codec.stream.patch[0]

    def window(start: int) -> Window:
        whole = StreamSource(records[name], codec).whole(start, task.window_slabs * codec.stream.patch[0])
        case = forecast_case(whole, history)
        return Window(case.truth[at], case.climatology[at], case.truth[at])

    def asked(lattices: int, start: int) -> Fields:
        heads = forecast_block(asked_on(trained, lattices), task, records, start)[name][:, at]
        return codec.to_fields(heads, window(start).climatology)

    return window, asked


def windows(trained: TrainedModel, records: Mapping[str, Record], name: str) -> tuple[Callable[[int], Window], Asked]:
    """Questions about what is hidden in a window."""
    sources = sources_of(trained.codecs, {stream: records[stream] for stream in trained.codecs})
    streams = partial(whole_window, sources, steps=trained.recipe.window_steps)

    def window(start: int) -> Window:
        case = ask({"ours": trained}, streams(start=start))[0][name]
        return Window(np.where(case.asked, case.truth, np.nan), case.climatology, case.truth)

    def asked(lattices: int, start: int) -> Fields:
        return ask({"ours": asked_on(trained, lattices)}, streams(start=start))[1][name]["ours"]

    return window, asked


def masks(trained: TrainedModel, records: Mapping[str, Record], name: str) -> tuple[Callable[[int], Window], Asked]:
    """Questions about the tokens of a window that are hidden at random."""
    mask = plain_mask(MASKED_SHARE, trained.recipe.task.window_slabs)

    def window(start: int) -> Window:
        case = reconstruct(trained, records, start, mask)[name]
        return Window(np.where(case.hidden, case.truth, np.nan), case.climatology, case.truth)

    def asked(lattices: int, start: int) -> Fields:
        return reconstruct(asked_on(trained, lattices), records, start, mask)[name].members

    return window, asked


def mended(trained: TrainedModel) -> TrainedModel:
    """The model with its filter, which one of an earlier version lacks."""
    if any(codec.edges is not None for codec in trained.codecs.values()):
        return trained
    source = open_source(trained.recipe, "train", trained.codecs)
    assert source is not None
    return with_edges(trained, source)


def plain(trained: TrainedModel) -> TrainedModel:
    """The model without a filter."""
    return replace(trained, codecs={name: replace(codec, edges=None) for name, codec in trained.codecs.items()})


# The U-Net


@dataclass(frozen=True)
class Averaged:
    """A network that is asked on the grid shifted by 0 or 1 row and column; points at the ends take the answers that cover them."""

    network: Departure
    lattices: int
    periodic: bool

    def __call__(self, inputs: torch.Tensor, base: torch.Tensor) -> torch.Tensor:
        total, count = torch.zeros_like(base), torch.zeros(base.shape[-2:])
        rows, columns = np.arange(base.shape[-2]), np.arange(base.shape[-1])
        for by_row, by_column in SHIFTS[self.lattices]:
            i = torch.from_numpy(rows[1:-1] if by_row else rows)[:, None]
            shifted = np.roll(columns, -1) if self.periodic else columns[1:-1]
            j = torch.from_numpy(shifted if by_column else columns)
            total[..., i, j] += self.network(inputs[..., i, j], base[..., i, j])
            count[i, j] += 1
        return total / count


def unet(question: str, trained: TrainedModel, learned: dict[str, Record], seconds: float, seed: int = 0) -> Peer:
    """What the network is asked, and the network, trained for so long."""
    name = STREAMS[question]
    codec = trained.codecs[name]
    if question == "downscale":
        asked, anomalies = downscale_question(trained, name, learned)
        times = np.flatnonzero(np.isfinite(anomalies.values).any(axis=(1, 2, 3)))
    else:
        anomalies = Anomalies.read(learned[name], codec.climatology)
        asked = ForecastQuestion.fit(anomalies, LEADS, codec.stream.patch[0])
        if question == "fill":
            asked = FillQuestion(trained.recipe.window_steps, len(codec.climatology.channels), swaths(trained, learned))
        times = asked.starts(anomalies)
    return asked, trained_peer(UNET, asked, anomalies, times, seed, seconds)[0]


def swaths(trained: TrainedModel, learned: dict[str, Record]) -> Callable[[np.random.Generator], np.ndarray]:
    """Masks like those that ours is trained on."""
    ((name, codec),) = trained.codecs.items()
    stream = StreamSource(learned[name], codec).whole(0, trained.recipe.window_steps)
    tokens = stream.tokens()

    def hide(generator: np.random.Generator) -> np.ndarray:
        queries = trained.recipe.task.complete({name: tokens}, seed=int(generator.integers(2**31))).queries[name]
        return asked_points(stream, tokens, queries)[:, 0]

    return hide


def asked_of_unet(
    question: str, trained: TrainedModel, records: dict[str, Record], peer: Peer, window: Callable[[int], Window]
) -> Asked:
    """How the network is asked about the window that begins at a start."""
    asked, network = peer
    name = STREAMS[question]
    codec, record = trained.codecs[name], records[name]
    if question == "downscale":
        times = np.arange(len(record))

        @cache
        def everywhen(lattices: int) -> Fields:
            averaged = Averaged(network, lattices, record.grid.is_periodic)
            return downscaled(averaged, asked, trained, name, records, times)

        return lambda lattices, start: everywhen(lattices)[None, start : start + trained.recipe.window_steps]
    anomalies = Anomalies.read(record, codec.climatology)

    @torch.inference_mode()
    def answer(lattices: int, start: int) -> Fields:
        case = window(start)
        if question == "forecast":
            batch = asked.batch(anomalies, np.array([start + codec.stream.patch[0] - 1]))
        else:
            batch = asked.masked(anomalies, np.array([start]), np.isfinite(case.truth)[None, :, 0])
        averaged = Averaged(network, lattices, record.grid.is_periodic)
        values = averaged(batch.inputs, batch.base).reshape(case.truth.shape).numpy()
        return codec.to_fields((values * codec.climatology.anomaly_std[:, None, None])[None], case.climatology)

    return answer


# Tables


def measured(
    record: Record, starts: np.ndarray, window: Callable[[int], Window], ways: Mapping[str, Asked]
) -> tuple[dict[tuple[str, int], Found], Found]:
    """Each way on 1, 2 and 4 lattices, and the truth's power."""
    found: dict[tuple[str, int], Found] = defaultdict(Found)
    truth = Found()
    for start in starts.tolist():
        case = window(start)
        truth.power.append(short_waves(case.around, record))
        for name, asked in ways.items():
            for lattices in SHIFTS:
                began = time.process_time()
                members = asked(lattices, start)
                found[name, lattices].cpu_s += (time.process_time() - began) / len(starts)
                found[name, lattices].add(members, case, record)
    return found, truth


def rows(question: str, found: dict[tuple[str, int], Found], truth: Found, shown: int) -> Iterator[str]:
    geometric = lambda ratio: float(np.exp(np.log(ratio).mean()))  # noqa: E731
    plain = found["ours", 1]
    leads = [f"+{6 * lead} h" for lead in LEADS] if question == "forecast" else [""]
    for t, lead in enumerate(leads):
        at = slice(t, t + 1) if question == "forecast" else slice(None)
        mean = lambda values, at=at: np.nanmean(np.asarray(values)[:, at], axis=(0, 1))  # noqa: E731
        for (name, lattices), of in found.items():
            rmse = np.sqrt(mean(of.squared) / mean(plain.squared))
            crps = mean(of.crps) / mean(plain.crps)
            power = mean(of.power) / mean(truth.power)
            yield (
                f"{question:9s} {lead:5s} {name:6s} {lattices} {geometric(rmse):.3f} {geometric(crps):.3f} "
                f"{np.median(power):.2f} {power.max():.2f} {power[shown]:.2f} {of.cpu_s:.3f}"
            )


def run(question: str, arguments: argparse.Namespace, out: Path) -> None:
    extent = SMALL if arguments.smoke else WHOLE
    trained = model_of(question, arguments.run, out, extent, arguments.smoke)
    learned, records = (records_of(trained, p) for p in (trained.recipe.data.train, extent.held_out))
    name, task = STREAMS[question], trained.recipe.task
    asking = {"forecast": lambda model: forecasts(model, records), "masked": lambda model: masks(model, records, name)}
    ask_of = asking.get(question, lambda model: windows(model, records, name))
    window, ours = ask_of(plain(trained))
    ways = {"ours": ours, "mended": ask_of(mended(trained))[1]}
    if question != "masked":
        peer = unet(question, trained, learned, arguments.seconds)
        ways |= {"U-Net": asked_of_unet(question, trained, records, peer, window)}
    record = records[name]
    starts = every(record, record.starts(task.window_slabs * trained.recipe.slab_steps), arguments.every_h)
    channels = [str(channel) for channel in record.channels]
    found, truth = measured(record, starts, window, ways)
    shown = channels.index(SHOWN[question])
    for row in rows(question, found, truth, shown):
        print(row, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, help="what `statecast quickstart` wrote; may be left out with --smoke")
    parser.add_argument("--out", type=Path, default=Path("runs/lattices"))
    parser.add_argument("--seconds", type=float, default=120.0, help="CPU time of the training of a U-Net")
    parser.add_argument("--every-h", type=float, default=72.0, help="hours between starts")
    parser.add_argument("--questions", nargs="+", choices=STREAMS, default=list(STREAMS))
    parser.add_argument("--smoke", action="store_true", help="one question, a few steps; in a folder of its own")
    arguments = parser.parse_args()
    if arguments.run is None and not arguments.smoke:
        parser.error("give --run RUN, as `statecast quickstart` makes it, or --smoke.")
    torch.set_num_threads(1)
    if arguments.smoke:
        arguments.seconds, arguments.every_h, arguments.questions = 0.2, 96.0, ["forecast"]
    print(
        "RMSE and CRPS over ours on one lattice; short waves over the truth's: median, largest, one channel; CPU s of an answer"
    )
    for question in arguments.questions:
        run(question, arguments, arguments.out / ("smoke" if arguments.smoke else ""))


if __name__ == "__main__":
    main()

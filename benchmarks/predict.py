"""A forecast whose members roll out in tokens as one batch, against one whose members roll out one after the other on the grid.

    python benchmarks/predict.py [--run RUN] [--blocks 4] [--members 16] [--repeats 5] [--threads 2] [--smoke]

Both draw the same members. The peer asks the model once for the first block, which all members share; in every later block it goes
tokens -> grid -> tokens for each member by itself. They are timed in turns in one process. Prints the median CPU time and wall-clock time
in seconds, the ratio of the peer's to ours, and the largest difference between the members of both in standard deviations of the
anomalies. Without a run the quickstart's model of a few steps is asked, which takes as long.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float

from shared import HELD_OUT, SAMPLE, given_or_tiny
from statecast import open_fields
from statecast.answer import answer
from statecast.fields.inference.members import draw_member
from statecast.fields.inference.neighbourhoods import slab_depth
from statecast.fields.inference.rollout import APART_H, rolled_out
from statecast.fields.sources import Record
from statecast.fields.tokenizers import located, read_window, sources_of
from statecast.fields.tokenizers.windows import whole_domain
from statecast.trained import TrainedModel

Members = Float[np.ndarray, "E T V H W"]


def one_by_one(trained: TrainedModel, record: Record, blocks: int, members: int) -> Members:
    """Anomalies of the members of a model of one stream, on the whole domain."""
    (codec,) = trained.codecs.values()
    task, depth = trained.recipe.task, slab_depth(trained)
    history, leads = task.history * depth, task.leads * depth
    known = [codec.anomalies(record, whole_domain(record.grid, 0, history))] * members
    for first in range(0, leads * blocks, leads):
        hours = record.hours[first + history : first + history + leads] + APART_H * first
        for member in range(members):
            if first > 0 or member == 0:
                heads = ask(trained, record, first, known[member][first:])
            drawn = draw_member(heads, member, record.grid, hours)
            known[member] = np.concatenate([known[member], drawn])
    return np.stack(known)[:, history:]


def ask(
    trained: TrainedModel, record: Record, first: int, history: Float[np.ndarray, "T V H W"]
) -> Float[np.ndarray, "K T V H W"]:
    """The answers of all heads to one member's history."""
    ((name, codec),) = trained.codecs.items()
    task, depth = trained.recipe.task, slab_depth(trained)
    place = whole_domain(record.grid, first, task.window_slabs * depth)
    question = task.complete(read_window(located(sources_of(trained.codecs, {name: record}), {name: place})))
    values = codec.from_anomalies(history)
    context = {name: replace(question.context[name], values=values.nan_to_num(), observed=values.isfinite())}
    heads = answer(trained, replace(question, context=context))[name]
    return codec.to_anomalies(heads, whole_domain(record.grid, 0, task.leads * depth))


def in_turns(ways: dict[str, Callable[[], Members]], repeats: int) -> dict[str, tuple[float, float]]:
    """Median CPU time and wall-clock time of each way."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, run in ways.items():
            began, began_cpu = time.perf_counter(), time.process_time()
            run()
            times[name].append((time.process_time() - began_cpu, time.perf_counter() - began))
    return {name: tuple(np.median(seconds, axis=0)) for name, seconds in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", help="a run that forecasts one stream")
    parser.add_argument("--blocks", type=int, default=4)
    parser.add_argument("--members", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--smoke", action="store_true", help="two blocks, three members, once")
    arguments = parser.parse_args()
    blocks, members, repeats = arguments.blocks, arguments.members, arguments.repeats
    if arguments.smoke:
        blocks, members, repeats = 2, 3, 1
    torch.set_num_threads(arguments.threads)
    trained = given_or_tiny(arguments.run)
    task = trained.recipe.task
    ((name, codec),) = trained.codecs.items()
    steps = (task.history + task.leads * blocks) * slab_depth(trained)
    store = open_fields(SAMPLE).sel(time=slice(*HELD_OUT)).isel(time=slice(0, steps))
    record = Record.open(store, codec.stream)
    ways = {
        "peer": lambda: one_by_one(trained, record, blocks, members),
        "ours": lambda: rolled_out(trained, task, {name: record}, blocks, members)[name],
    }
    apart = (ways["peer"]() - ways["ours"]()) / codec.climatology.anomaly_std[:, None, None]
    times = in_turns(ways, repeats)
    print(f"{blocks} blocks, {members} members, {arguments.threads} threads")
    for way, (cpu_s, wall_s) in times.items():
        print(f"{way:30s} {cpu_s:.3f} s CPU {wall_s:.3f} s wall clock")
    ratio, of_wall = (np.array(times["peer"]) / times["ours"]).tolist()
    print(f"{'peer / ours':30s} {ratio:.2f} CPU {of_wall:.2f} wall clock")
    print(f"largest difference             {np.abs(apart).max():.7f} standard deviations")


if __name__ == "__main__":
    main()

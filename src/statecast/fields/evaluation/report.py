"""The report: one self-contained HTML file. Axes: T time, V channel, H row, W column, K wavenumber."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from matplotlib.figure import Figure

from statecast.evaluation import Verification
from statecast.evaluation.figures import training_curves
from statecast.evaluation.report import section, write_page
from statecast.fields.evaluation import figures
from statecast.fields.evaluation.cases import TASKS, Case, ask, scored_streams, task_of, window_steps
from statecast.fields.evaluation.reconstruction import masked_task, plain_mask, reconstruct
from statecast.fields.evaluation.skill import relative_table, skill_sections
from statecast.fields.evaluation.spectra import zonal_power
from statecast.fields.evaluation.verification import forecast_case
from statecast.fields.inference.blocks import forecast_block
from statecast.fields.inference.forecast import forecast_task
from statecast.fields.inference.members import draw_member
from statecast.fields.inference.neighbourhoods import drawn_places, model_windows, slab_depth
from statecast.fields.sources import Grid, Record
from statecast.fields.streams import Channel
from statecast.fields.tokenizers import Located, StreamSource, located, sources_of
from statecast.fields.tokenizers.first_guess import first_guess
from statecast.trained import TrainedModel

SPECTRUM_WINDOWS = 20
MEAN, HEAD, MEMBER = "model's mean", "a head", "a member"  # as the spectra name them
HEADS_ARE_SCORED = (
    "What is scored are the model's heads, which stand for quantiles at each point; the members that `statecast predict` and "
    "`statecast complete` write are drawn from them along smooth fields, and are scored by `statecast evaluate --members`."
)
REFERENCES = (
    "persistence",
    "climatology",
    "linear",
    "interpolation",
    "mos",
    "bilinear",
    "regression",
    "quantile_mapping",
)
EDGES = (
    " Tokens are answered one by one, which leaves edges between them, seen as power in the shortest waves. `--lattices 2` or `4` averages "
    "answers whose edges lie elsewhere, and takes 2 or 4 times as long."
)
MAPPED = 3  # variables on the maps: more would make the report large


@dataclass(frozen=True)
class RunFacts:
    """What the report tells about the run itself."""

    title: str
    trained: TrainedModel
    store: str
    period: tuple[str, str]
    wall_time_s: Mapping[str, float]
    runs: Mapping[str, Path]
    pretrained: TrainedModel | None = None


def write_report(
    facts: RunFacts, records: Mapping[str, Record], verifications: Sequence[Verification], out: Path
) -> None:
    """Write the report on `verifications`, whose period is that of `records`, one a stream, to the file `out`."""
    record = next(iter(records.values()))
    sections: list[dict[str, Any]] = []
    for task in dict.fromkeys(v.task for v in verifications if v.task.split()[0] == "forecast"):
        name = task.removeprefix("forecast").strip() or next(n for n, r in records.items() if r.changes)
        sections += _forecast_sections(facts, records, name, [v for v in verifications if v.task == task])
    masked = [v for v in verifications if v.task.startswith("masked")]
    if masked:
        sections += _masked_sections(facts.pretrained or facts.trained, records, masked)
    others = [v for v in verifications if v.task.split()[0] in TASKS]
    if others:
        sections += _task_sections(facts.trained, records, others)
    curves = training_curves(facts.runs)
    if curves is not None:
        sections.append(
            section(
                "Training", "Loss in normalised units; the thick line is the loss on the validation period.", [curves]
            )
        )
    write_page(facts.title, _facts(facts, record), sections, out)


def _forecast_sections(
    facts: RunFacts, records: Mapping[str, Record], name: str, forecasts: Sequence[Verification]
) -> list[dict[str, Any]]:
    of = forecasts[0].task.removeprefix("forecast")
    lead_times = forecasts[0].labels("lead_time_h")
    text = "Continuous ranked probability score, beside the distribution of the training period; lower is better."
    sections = skill_sections(forecasts, ("model",), text + _heads_are_scored(facts.trained))
    drawn = power_figures(forecast_power(facts.trained, records, name), records[name])
    text = _spectrum_text(lead_times[-1]) + (EDGES if facts.trained.recipe.window.lattices == 1 else "")
    spectrum = [section(f"Spectrum{of}", text, drawn)] if drawn else []
    return [*sections, *spectrum, _forecast_maps(facts.trained, records, name)]


def _heads_are_scored(trained: TrainedModel) -> str:
    return f" {HEADS_ARE_SCORED}" if trained.model.head.members > 1 and not trained.model.draws_states else ""


def _spectrum_text(lead_h: float | None) -> str:
    return (
        f"Power along the rows {lead_h:g} h ahead, a mean over at most {SPECTRUM_WINDOWS} starts: of the truth, of the mean of the heads, "
        "and of a member as `statecast predict` draws it. A mean that knows less than the truth is smoother; a member should not be."
    )


def forecast_power(
    trained: TrainedModel, records: Mapping[str, Record], name: str
) -> dict[str, Float[np.ndarray, "V K"]]:
    """Power along the rows at the last lead time, a mean over some starts: of the truth, the heads' mean and the first drawn member.

    Rows count where the truth has no gap. See `spectra.zonal_power`.
    """
    task, tokenizer, record = forecast_task(trained), trained.codecs[name], records[name]
    history, steps = (slabs * slab_depth(trained) for slabs in (task.history, task.window_slabs))
    powers = []
    for start in _some(record.starts(steps)):
        case = forecast_case(StreamSource(record, tokenizer).whole(start, steps), history)
        heads = forecast_block(trained, task, records, start)[name]
        heads, climatology, truth = heads[:, -1:], case.climatology[-1:], case.truth[-1:]
        member = heads[0]
        if not trained.model.draws_states:
            member = draw_member(heads, 0, record.grid, record.hours[start + steps - 1 : start + steps])
        forecasts = {MEAN: tokenizer.to_fields(heads, climatology).mean(axis=0)}
        forecasts[MEMBER] = tokenizer.to_fields(member[None], climatology)[0]
        fields = {key: np.where(np.isnan(truth), np.nan, values) for key, values in forecasts.items()}
        powers.append(_power({"truth": truth} | fields, record.grid))
    return _mean(powers)


def _forecast_maps(trained: TrainedModel, records: Mapping[str, Record], name: str) -> dict[str, Any]:
    task, tokenizer, record = forecast_task(trained), trained.codecs[name], records[name]
    depth = slab_depth(trained)
    steps = task.window_slabs * depth
    starts = record.starts(steps)
    window = StreamSource(record, tokenizer).whole(int(starts[len(starts) // 2]), steps)
    case = forecast_case(window, task.history * depth)
    block = forecast_block(trained, task, records, window.place.start)
    members = tokenizer.to_fields(block[name], case.climatology)
    rows = [
        (record.channels[c], record.units[c], case.truth[-1, c], members[:, -1, c])
        for c in mapped_channels(record.channels)
    ]
    lead_h = case.truth.shape[0] * record.step_h
    start = str(record.dataset["time"].values[window.place.start + task.history * depth - 1])[:16]
    return section(
        "Maps", f"One forecast from {start}, {lead_h:g} h ahead.", [figures.forecast_maps(record.grid, rows)]
    )


def _masked_sections(
    trained: TrainedModel, records: Mapping[str, Record], masked: Sequence[Verification]
) -> list[dict[str, Any]]:
    tables = []
    for task in dict.fromkeys(v.task for v in masked):
        table = relative_table([v for v in masked if v.task == task], [None])
        table[0][0] = f"RMSE, {task} hidden".replace("masked ", "")
        tables.append(table)
    slabs = masked_task(trained).window_slabs
    of_streams = {name: records[name] for name in trained.codecs}
    starts = next(iter(of_streams.values())).starts(slabs * slab_depth(trained))
    cases = reconstruct(trained, of_streams, int(starts[len(starts) // 2]), plain_mask(0.75, slabs))
    maps = []
    for name, case in cases.items():
        record = of_streams[name]
        c = mapped_channels(record.channels)[0]
        maps.append(
            figures.reconstruction_maps(
                case.located.grid,
                record.channels[c],
                record.units[c],
                case.truth[:, c],
                case.hidden[:, c],
                case.members.mean(axis=0)[:, c],
            )
        )
    text = "Single tokens hidden at random, fully; scored where they were hidden. The maps show one window with 75 % hidden."
    return [section("Masked reconstruction", text, maps, tables=tables)]


def _task_sections(
    trained: TrainedModel, records: Mapping[str, Record], verifications: Sequence[Verification]
) -> list[dict[str, Any]]:
    """A section for each stream that was asked: scores, and one window as it was shown, answered and true."""
    record, steps = next(iter(records.values())), window_steps(trained)
    starts = record.starts(steps)
    sources = sources_of(trained.codecs, {name: records[name] for name in trained.codecs})
    window = located(sources, drawn_places(model_windows(trained), int(starts[len(starts) // 2]), steps))
    cases, answers = ask({"model": trained}, window)
    sections = []
    for name, task in zip(scored_streams(trained, records), dict.fromkeys(v.task for v in verifications), strict=False):
        case = cases[name]
        scored = [v for v in verifications if v.task == task]
        lead_times = scored[0].labels("lead_time_h")
        drawn = [figures.skill_by_lead_time(scored)] if len(lead_times) > 1 else []
        guess = None
        if trained.codecs[name].stream.first_guess:
            guess = first_guess(name, window)
            drawn += _spectra(trained, sources, name, starts, steps)
        mean = np.where(case.asked, answers[name]["model"].mean(axis=0), case.truth)
        drawn += _task_maps(window[name], case, mean, guess, _mapped_times(trained, case))
        text = f"Area-weighted scores over {len(scored[0].positions)} windows where it was asked; the maps show one of them."
        table = relative_table(scored, lead_times)
        sections.append(section(f"Task: {task}", text + _heads_are_scored(trained), drawn, table=table))
    return sections


def _task_maps(
    stream: Located,
    case: Case,
    mean: Float[np.ndarray, "T V H W"],
    guess: Float[np.ndarray, "T V H W"] | None,
    times: Bool[np.ndarray, " T"],
) -> list[Figure]:
    """The mapped channels of a stream with a first guess, or the first of them."""
    record, maps = stream.record, []
    for c in mapped_channels(record.channels)[: 1 if guess is None else None]:
        maps.append(
            figures.reconstruction_maps(
                stream.grid,
                record.channels[c],
                record.units[c],
                case.truth[times][:, c],
                case.asked[times][:, c],
                mean[times][:, c],
                None if guess is None else guess[times][:, c],
            )
        )
    return maps


def _mapped_times(trained: TrainedModel, case: Case) -> Bool[np.ndarray, " T"]:
    """True for the times of a window that are drawn: those asked or, between single steps that are shown, from one to the next."""
    task, times = task_of(trained), np.arange(len(case.asked))
    is_visible = task.visible_steps(len(times))
    if is_visible.any() and not (is_visible[1:] & is_visible[:-1]).any():
        first_gap = task.gaps(len(times))[0]
        return (times >= first_gap.start - 1) & (times <= first_gap.stop)
    return np.asarray(case.asked.any(axis=(1, 2, 3)))


def _spectra(
    trained: TrainedModel, sources: Mapping[str, StreamSource], name: str, starts: np.ndarray, steps: int
) -> list[Figure]:
    """Of the truth, the model's mean, one of its heads and the first guess, a mean over some windows; none where gaps are in every row."""
    powers = []
    for start in _some(starts):
        window = located(sources, drawn_places(model_windows(trained), start, steps))
        cases, answers = ask({"model": trained}, window)
        members = answers[name]["model"]
        fields = {"truth": cases[name].truth, MEAN: members.mean(axis=0), HEAD: members[len(members) // 2]}
        fields["first guess"] = first_guess(name, window)
        powers.append(_power(fields, window[name].grid))
    return power_figures(_mean(powers), sources[name].record)


def _some(starts: np.ndarray) -> list[int]:
    """At most `SPECTRUM_WINDOWS` of them, spread evenly."""
    return np.unique(starts[np.linspace(0, len(starts) - 1, SPECTRUM_WINDOWS).astype(int)]).tolist()


def _power(fields: Mapping[str, Float[np.ndarray, "T V H W"]], grid: Grid) -> dict[str, Float[np.ndarray, "V K"]]:
    return {name: zonal_power(values, grid).mean(axis=0) for name, values in fields.items()}


def _mean(windows: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    means = {}
    for name in windows[0]:
        means[name] = np.mean([power[name] for power in windows], axis=0)
    return means


def power_figures(power: Mapping[str, Float[np.ndarray, "V K"]], record: Record) -> list[Figure]:
    """One for each mapped channel; none for a channel whose truth has gaps in every row."""
    drawn = []
    for c in mapped_channels(record.channels):
        of_channel = {name: values[c] for name, values in power.items()}
        if np.isfinite(of_channel["truth"]).all():
            drawn.append(figures.spectra(of_channel, record.channels[c], record.units[c]))
    return drawn


def mapped_channels(channels: Sequence[Channel]) -> list[int]:
    """Channels for maps: the first level of each of the first variables that differ most in kind, one a variable."""
    firsts = {c.variable: i for i, c in reversed(list(enumerate(channels)))}
    preferred = [firsts[v] for v in ("z", "t2m", "tprate") if v in firsts]
    others = [i for v, i in sorted(firsts.items(), key=lambda item: item[1]) if i not in preferred]
    return (preferred + others)[:MAPPED]


def _facts(facts: RunFacts, record: Record) -> list[tuple[str, str]]:
    recipe, grid = facts.trained.recipe, record.grid
    options = facts.trained.model.options
    rows = [
        ("data", f"{facts.store}, {grid.shape[0]} × {grid.shape[1]} points, every {record.step_h:g} h"),
        ("trained on", " to ".join(map(str, recipe.data.train))),
        ("verified on", f"{' to '.join(facts.period)}, which no training saw"),
        ("channels", ", ".join(map(str, record.channels))),
        (
            "model",
            f"{facts.trained.parameters:,} parameters, width {options.width}, "
            f"{options.encoder_layers} + {options.decoder_layers} layers, {options.head} head",
        ),
    ]
    if recipe.window.lattices > 1:
        rows.append(("asked on", f"{recipe.window.lattices} token lattices, whose answers are averaged"))
    wall_time = ", ".join(f"{what} {seconds:.0f} s" for what, seconds in facts.wall_time_s.items())
    return [*rows, ("wall time", wall_time)]

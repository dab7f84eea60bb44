"""The axes of statistics of fields, lead time and channel, and what their positions are called. Axes: L lead time, V channel."""

import math
from collections.abc import Sequence

from statecast.evaluation import LabelAxis
from statecast.fields.sources import Record
from statecast.fields.streams import Channel


def field_axes(record: Record, lead_time_h: Sequence[float | None]) -> tuple[LabelAxis, LabelAxis]:
    """The axes L and V of the statistics of a stream; a lead time is None where all times of a window count as one."""
    return lead_time_axis(lead_time_h), channel_axis(record.channels, record.units)


def lead_time_axis(lead_time_h: Sequence[float | None]) -> LabelAxis:
    hours = [math.nan if lead is None else lead for lead in lead_time_h]
    coords = {"lead_time": ("lead_time", hours, {"units": "hours"})}
    return LabelAxis("lead_time", {"lead_time_h": tuple(lead_time_h)}, coords)


def channel_axis(channels: Sequence[Channel], units: Sequence[str]) -> LabelAxis:
    """Records name the variable and its level; `scores.nc` and figures the channel, such as `t@500`, and its units."""
    variables = tuple(channel.variable for channel in channels)
    levels_hpa = tuple(channel.pressure_hpa for channel in channels)
    coords = {"channel": ("channel", list(map(str, channels))), "units": ("channel", list(units))}
    return LabelAxis("channel", {"variable": variables, "level_hpa": levels_hpa}, coords)

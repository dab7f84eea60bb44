"""Tasks: pure functions from a window of tokens to a question about hidden ones."""

from statecast.tasks.arrange import Arrange
from statecast.tasks.base import TaskError, TaskOptions
from statecast.tasks.cascade import Cascade
from statecast.tasks.denoise import Denoise
from statecast.tasks.detect import Detect
from statecast.tasks.forecast import Forecast
from statecast.tasks.interpolate import Interpolate
from statecast.tasks.masked import Masked
from statecast.tasks.next import Next
from statecast.tasks.refine import Refine
from statecast.tasks.translate import Translate

Task = Masked | Forecast | Interpolate | Refine | Translate | Denoise | Detect | Arrange | Next
"""The tasks that any domain may use. A domain adds its own."""

__all__ = [
    "Arrange",
    "Cascade",
    "Denoise",
    "Detect",
    "Forecast",
    "Interpolate",
    "Masked",
    "Next",
    "Refine",
    "Task",
    "TaskError",
    "TaskOptions",
    "Translate",
]

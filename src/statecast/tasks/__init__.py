"""Tasks: pure functions from a window of tokens to a question about hidden ones."""

from typing import Annotated

from pydantic import Field

from statecast.fields.fill import Fill
from statecast.tasks.forecast import Forecast
from statecast.tasks.interpolate import Interpolate
from statecast.tasks.masked import Masked
from statecast.tasks.refine import Refine
from statecast.tasks.translate import Translate

Task = Annotated[Masked | Forecast | Interpolate | Refine | Translate | Fill, Field(discriminator="kind")]

__all__ = ["Fill", "Forecast", "Interpolate", "Masked", "Refine", "Task", "Translate"]

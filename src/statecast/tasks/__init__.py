"""Tasks: pure functions from a window of tokens to a question about hidden ones."""

from typing import Annotated

from pydantic import Field

from statecast.tasks.forecast import Forecast
from statecast.tasks.masked import Masked

Task = Annotated[Masked | Forecast, Field(discriminator="kind")]

__all__ = ["Forecast", "Masked", "Task"]

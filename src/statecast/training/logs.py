"""Where losses are written. A run that goes on continues its logs from its last checkpoint."""

import csv
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from lightning.pytorch.loggers import CSVLogger, Logger, MLFlowLogger, TensorBoardLogger, WandbLogger

from statecast.training.options import TrainingOptions, is_first_process


class LoggerError(ValueError):
    """A logger whose package is not installed."""


def make_loggers(options: TrainingOptions, out: Path, first_step: int) -> list[Logger]:
    """The loggers of the recipe, under `out / "logs"`. Raises LoggerError if the package of one is missing.

    MLflow and Weights & Biases write to local folders; their own environment variables (MLFLOW_TRACKING_URI, WANDB_MODE=online) and
    commands (`wandb sync`) take a run to a server.
    """
    logs = out / "logs"
    run = out.name.removesuffix(".unfinished")
    make: Mapping[str, Callable[[], Logger]] = {
        "csv": lambda: _csv_from(logs, first_step),
        "tensorboard": lambda: TensorBoardLogger(
            logs, name="tensorboard", version="", purge_step=first_step if first_step else None
        ),
        "mlflow": lambda: MLFlowLogger("statecast", run_name=run, tracking_uri=_mlflow_uri(logs)),
        "wandb": lambda: WandbLogger(project="statecast", name=run, save_dir=logs, offline=True),
    }
    loggers = []
    for name in options.loggers:
        try:
            loggers.append(make[name]())
        except ModuleNotFoundError:
            raise LoggerError(
                f"training.loggers: {name} is not installed. Install it with `pip install 'statecast[{name}]'`, or leave it out."
            ) from None
    return loggers


def _mlflow_uri(logs: Path) -> str:
    logs.mkdir(parents=True, exist_ok=True)
    return os.environ.get("MLFLOW_TRACKING_URI", f"sqlite:///{(logs / 'mlflow.db').absolute()}")


def _csv_from(logs: Path, first_step: int) -> CSVLogger:
    """The CSV logger with the rows that an earlier part of the run wrote before `first_step`."""
    logger = CSVLogger(logs, name="csv", version="")
    if is_first_process():
        kept = read_metrics(logs.parent, before_step=first_step)
        (logs / "csv" / "metrics.csv").unlink(missing_ok=True)
        for row in kept:
            values = {k: int(v) if k == "epoch" else v for k, v in row.items() if k != "step"}
            logger.experiment.log_metrics(values, int(row["step"]))
        logger.save()
    return logger


def read_metrics(run: Path, before_step: float = float("inf")) -> list[dict[str, float]]:
    """The rows of a run's `logs/csv/metrics.csv`, without their empty cells; none if there is no such file."""
    path = run / "logs" / "csv" / "metrics.csv"
    if not path.is_file():
        return []
    rows = [{k: float(v) for k, v in row.items() if v} for row in csv.DictReader(path.read_text().splitlines())]
    return [row for row in rows if row["step"] < before_step]

"""Loggers of the losses. A resumed run continues its logs from its last checkpoint."""

import csv
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from lightning.pytorch.loggers import CSVLogger, Logger, MLFlowLogger, TensorBoardLogger, WandbLogger

from statecast.training.options import TrainingOptions, is_first_process


class LoggerError(ValueError):
    """The package of a logger is not installed."""


def make_loggers(options: TrainingOptions, out: Path, first_step: int) -> list[Logger]:
    """The loggers of the recipe, under `out / "logs"`. Raises LoggerError if the package of a logger is missing.

    MLflow and Weights & Biases write to local folders. Their own environment variables (MLFLOW_TRACKING_URI, WANDB_MODE=online) and
    commands (`wandb sync`) send a run to a server.
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
                f"training.loggers: {name} is not installed. Install it with `pip install 'statecast[{name}]'`, or remove it."
            ) from None
    return loggers


def _mlflow_uri(logs: Path) -> str:
    logs.mkdir(parents=True, exist_ok=True)
    return os.environ.get("MLFLOW_TRACKING_URI", f"sqlite:///{(logs / 'mlflow.db').absolute()}")


def _csv_from(logs: Path, first_step: int) -> CSVLogger:
    """The CSV logger, with the rows before `first_step` from an earlier part of the run."""
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
    """The rows of a run's `logs/csv/metrics.csv`, without empty cells; an empty list if there is no such file."""
    path = run / "logs" / "csv" / "metrics.csv"
    if not path.is_file():
        return []
    rows = []
    for cells in csv.DictReader(path.read_text(encoding="utf-8").splitlines()):
        row = {name: float(cell) for name, cell in cells.items() if cell}
        if row["step"] < before_step:
            rows.append(row)
    return rows

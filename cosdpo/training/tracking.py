"""Where the metrics of a run go: metrics.jsonl and TensorBoard always, MLflow and Weights & Biases when configured."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import unquote, urlsplit

import yaml
from torch.utils.tensorboard import SummaryWriter

from cosdpo.cli.yaml_file import to_yaml
from cosdpo.config import Config
from cosdpo.errors import InputError
from cosdpo.files import whole_file

METRICS = "metrics.jsonl"
LONGEST_LINE = 65_536


class RunLog:
    """Writes each line of metrics; opened by one worker, at the step the run goes on from."""

    def __init__(self, config: Config, start: int) -> None:
        """Lines after `start` are from a killed run that lost them with its worker: they are written anew."""
        path = config.output / METRICS
        kept = [line for line in read_metrics(config.output) if line["step"] <= start]
        with whole_file(path) as temporary:
            temporary.write_text("".join(json.dumps(line) + "\n" for line in kept))
        self.file = path.open("a")
        self.board = SummaryWriter(str(config.output / "tensorboard"), purge_step=start + 1)
        self.trackers = [start_tracker(config) for start_tracker in (_mlflow, _wandb)]

    def __call__(self, line: Mapping[str, float]) -> None:
        """Writes one line; `step` is its key."""
        self.file.write(json.dumps(line) + "\n")
        self.file.flush()
        step = int(line["step"])
        values = {k: v for k, v in line.items() if k != "step"}
        for name, value in values.items():
            self.board.add_scalar(name, value, step)
        for tracker in self.trackers:
            if tracker is not None:
                tracker(values, step)

    def __enter__(self) -> RunLog:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.file.close()
        self.board.close()


def read_metrics(folder: Path) -> list[dict[str, float]]:
    """The lines of metrics.jsonl in order; a last line cut short by a kill is left out."""
    path = folder / METRICS
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def last_metrics(folder: Path) -> dict[str, float] | None:
    """The newest whole line of metrics.jsonl, read from the end of the file."""
    path = folder / METRICS
    if not path.exists():
        return None
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - LONGEST_LINE))
        whole = file.read().split(b"\n")[:-1]
    return json.loads(whole[-1]) if whole and whole[-1] else None


Tracker = Callable[[dict[str, float], int], object]


def check_trackers(config: Config) -> None:
    """Raises InputError when a configured tracker's package is not installed."""
    for key, package in (("mlflow", "mlflow"), ("wandb", "wandb")):
        if getattr(config.tracking, key):
            _import(package)


def _import(package: str) -> Any:
    import importlib

    try:
        return importlib.import_module(package)
    except ImportError:
        raise InputError(f"tracking.{package} is set but {package} is not installed: pip install {package}") from None


def _mlflow(config: Config) -> Tracker | None:
    if not config.tracking.mlflow:
        return None
    mlflow = _import("mlflow")
    mlflow.set_tracking_uri(_without_credentials(config.tracking.mlflow))
    mlflow.start_run(run_name=config.output.name)
    mlflow.log_params({"method": config.method, "conditioning": config.conditioning, "seed": config.seed})
    return lambda values, step: mlflow.log_metrics({k.replace("/", "."): v for k, v in values.items()}, step=step)


def _without_credentials(address: str) -> str:
    """MLflow prints its address: credentials go the other way that it knows."""
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https") or parts.username is None:
        return address
    if parts.password is None:
        os.environ["MLFLOW_TRACKING_TOKEN"] = unquote(parts.username)
    else:
        os.environ["MLFLOW_TRACKING_USERNAME"] = unquote(parts.username)
        os.environ["MLFLOW_TRACKING_PASSWORD"] = unquote(parts.password)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def _wandb(config: Config) -> Tracker | None:
    if not config.tracking.wandb:
        return None
    resolved = yaml.safe_load(to_yaml(config))
    run = _import("wandb").init(project=config.tracking.wandb, name=config.output.name, config=resolved)
    return lambda values, step: run.log(values, step=step)

"""MLflow and Weights & Biases: what trainings write to metrics.jsonl, passed on by the job that runs them.

A worker may die at any time, and with it rows that it has not sent and runs that it has not ended. The job outlives its
workers, knows how every training ends, and has the terminal on which a warning is read.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

import yaml

from cosdpo.cli.yaml_file import to_yaml
from cosdpo.config import Config
from cosdpo.errors import InputError, masked
from cosdpo.files import write_whole
from cosdpo.training.tracking import METRICS, read_metrics

log = logging.getLogger("cosdpo")

TRACKED = "trackers.json"
"""In a run folder: per tracker its name of the run, and the last step that it has for good."""
EVERY = 1.0
"""Seconds between two looks for new rows."""
PATIENCE = 30.0
"""Seconds that the trackers of a job have for their last rows."""
Status = Literal["FINISHED", "FAILED", "KILLED"]


class Mlflow:
    """A run in MLflow, `run` by its name for it; all calls are by one thread."""

    durable = True
    """Whether a row is kept once `log` returns, rather than at the end."""

    def __init__(self, config: Config, run: str) -> None:
        """Starts a run, or goes on with `run`."""
        self.mlflow = _mlflow(config)
        self.run = self.mlflow.start_run(run_id=run or None, run_name=None if run else config.output.name).info.run_id
        if not run:
            self.mlflow.log_params({key: getattr(config, key) for key in ("method", "conditioning", "seed")})

    @staticmethod
    def check(config: Config) -> None:
        """Asks for an experiment, once and not for long."""
        with _environment(MLFLOW_HTTP_REQUEST_MAX_RETRIES="0", MLFLOW_HTTP_REQUEST_TIMEOUT="10"):
            _mlflow(config).search_experiments(max_results=1)

    def log(self, values: dict[str, float], step: int) -> None:
        """MLflow takes no slash in a name."""
        self.mlflow.log_metrics({name.replace("/", "."): value for name, value in values.items()}, step=step)

    def end(self, status: Status) -> None:
        """Under MLflow's own name of the status."""
        self.mlflow.end_run(status)


class WeightsAndBiases:
    """A run in Weights & Biases, whose files are in the run folder unless WANDB_DIR says otherwise."""

    durable = False

    def __init__(self, config: Config, run: str) -> None:
        """Starts a run, or goes on with `run`."""
        wandb = importlib.import_module("wandb")
        online = _online(wandb)
        self.wandb = wandb.init(
            project=config.tracking.wandb,
            name=config.output.name,
            config=yaml.safe_load(to_yaml(config)),
            dir=os.environ.get("WANDB_DIR") or str(config.output),
            id=run or None,
            resume="allow" if run and online else None,
            reinit="create_new",  # a comparison has several at once
            settings=wandb.Settings(console="off", silent=True),
        )
        self.run = self.wandb.id
        if online:
            log.info("Weights & Biases: %s", self.wandb.url)

    @staticmethod
    def check(config: Config) -> None:
        """Asks whether the key is good; there is nothing to ask offline."""
        wandb = importlib.import_module("wandb")
        if _online(wandb):
            wandb.login(verify=True)

    def log(self, values: dict[str, float], step: int) -> None:
        """Steps rise."""
        self.wandb.log(values, step=step)

    def end(self, status: Status) -> None:
        """Sends or writes what is left."""
        self.wandb.finish(exit_code={"FINISHED": 0, "FAILED": 1, "KILLED": 130}[status])


Kind = type[Mlflow] | type[WeightsAndBiases]
TRACKERS: dict[str, Kind] = {"mlflow": Mlflow, "wandb": WeightsAndBiases}
"""By the key of `tracking` that turns it on, which is its package's name as well."""


def check(config: Config) -> None:
    """Raises InputError when a configured tracker is not installed or cannot be used."""
    for key, kind in _wanted(config).items():
        try:
            kind.check(config)
        except ImportError:
            raise InputError(f"tracking.{key} is set but {key} is not installed: pip install {key}") from None
        except Exception as error:  # whatever a tracker raises, this is the moment to say so
            raise InputError(
                f"tracking.{key} {getattr(config.tracking, key)} cannot be used ({_first_line(error)}): mend it, or "
                f"leave tracking.{key} out"
            ) from None


class Trackers:
    """A context in which the runs of a job are followed; those that it leaves open were interrupted."""

    def __init__(self) -> None:
        self.followed: dict[str, _Followed] = {}
        self.open: set[str] = set()

    def follow(self, name: str, config: Config) -> None:
        """From now on what the training writes to config.output is passed on."""
        if _wanted(config) and name not in self.open:
            self.open.add(name)
            self.followed[name] = _Followed(config)

    def end(self, name: str, status: Status) -> None:
        """A training has ended; its last rows follow while others go on."""
        if name in self.open:
            self.open.remove(name)
            self.followed[name].end(status)

    def __enter__(self) -> Trackers:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for name in list(self.open):
            self.end(name, "KILLED")
        until = time.monotonic() + PATIENCE
        for followed in self.followed.values():
            followed.wait(until)


class _Followed:
    """One training's rows on their way to every tracker, in a thread: a slow tracker holds nothing up."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.path = config.output / TRACKED
        self.trackers: dict[str, Mlflow | WeightsAndBiases] = {}
        self.kept: dict[str, dict[str, Any]] = json.loads(self.path.read_text()) if self.path.exists() else {}
        self.passed = {key: kept["step"] for key, kept in self.kept.items()}
        self.warned: set[str] = set()
        self.rows: list[dict[str, float]] = []
        self.written: tuple[int, int] | None = None
        """Time and size of the file that the rows were read from."""
        self.status: Status | None = None
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def end(self, status: Status) -> None:
        self.status = status
        self.ended.set()

    def wait(self, until: float) -> None:
        self.thread.join(max(0.0, until - time.monotonic()))
        if self.thread.is_alive():
            log.warning("the trackers of %s did not take all rows: %s has them", self.config.output, METRICS)

    def _run(self) -> None:
        last = False
        while not last:
            last = self.ended.wait(EVERY)
            self._read()
            for key, kind in _wanted(self.config).items():
                try:
                    self._pass_on(key, kind, self.status if last else None)
                except Exception as error:  # a run goes on without its trackers, and they may come back
                    if key not in self.warned:
                        self.warned.add(key)
                        log.warning(
                            "tracking.%s fails (%s): the run goes on, and %s has all rows",
                            key, masked(_first_line(error)), self.config.output / METRICS,
                        )  # fmt: skip

    def _read(self) -> None:
        path = self.config.output / METRICS
        written = (path.stat().st_mtime_ns, path.stat().st_size) if path.exists() else None
        if written != self.written:
            self.rows, self.written = read_metrics(self.config.output), written

    def _pass_on(self, key: str, kind: Kind, status: Status | None) -> None:
        """Passes on the rows that the tracker has not got; it is ended where these are the last ones."""
        if key not in self.trackers:
            self.trackers[key] = kind(self.config, self.kept.get(key, {}).get("run", ""))
            self._keep(key, self.passed.get(key, 0))
        tracker, before = self.trackers[key], self.passed[key]
        for row in self.rows:
            if (step := int(row["step"])) > self.passed[key]:
                tracker.log({name: value for name, value in row.items() if name != "step"}, step)
                self.passed[key] = step
        if status:
            tracker.end(status)
        if status or (tracker.durable and self.passed[key] > before):
            self._keep(key, self.passed[key])

    def _keep(self, key: str, step: int) -> None:
        self.passed[key] = step
        self.kept[key] = {"run": self.trackers[key].run, "step": step}
        write_whole(self.path, json.dumps(self.kept))


def _wanted(config: Config) -> dict[str, Kind]:
    return {key: kind for key, kind in TRACKERS.items() if getattr(config.tracking, key)}


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _online(wandb: Any) -> bool:
    """Neither offline nor disabled, by WANDB_MODE or W&B's own settings."""
    return bool(wandb.setup().settings.mode == "online")


def _mlflow(config: Config) -> Any:
    mlflow = importlib.import_module("mlflow")
    mlflow.set_tracking_uri(_without_credentials(config.tracking.mlflow))
    return mlflow


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


@contextmanager
def _environment(**defaults: str) -> Iterator[None]:
    """Variables that a library reads, where they are not set."""
    own = {name: value for name, value in defaults.items() if name not in os.environ}
    os.environ.update(own)
    try:
        yield
    finally:
        for name in own:
            del os.environ[name]

"""Connecting to Ray, and refusing early what the cluster cannot run: an infeasible request would wait for ever."""

from __future__ import annotations

import logging
import os
import secrets
import socket
import tempfile
from pathlib import Path
from typing import Any

from cosdpo.cli.interruption import kept_signals
from cosdpo.config import Config
from cosdpo.errors import InputError

CONNECT_SECONDS = 5.0
"""How long a cluster's address is asked."""
START_ATTEMPTS = 3
"""Times that Ray is started: it gives its processes half a minute, which a busy machine exceeds now and then, and what
they read from disk is then in memory.
"""
LONGEST_TMPDIR = 39
"""Characters; what Ray adds to it (session, sockets, names) has to stay within a socket's 107."""


def check_devices(config: Config) -> None:
    """Before Ray starts: a job that would start its own Ray on this machine needs GPUs here if it asks for any.

    Raises:
        InputError: scaling.use_gpu without a GPU and without a cluster to submit to.
    """
    if not config.scaling.use_gpu or os.environ.get("RAY_ADDRESS"):
        return
    import torch

    workers = config.scaling.fewest
    if torch.cuda.device_count() < workers:
        raise InputError(
            f"{_key(config)} {workers} with scaling.use_gpu needs {workers} GPUs, this "
            f"machine has {torch.cuda.device_count()}: submit to a cluster with `ray job submit`, or run smaller with "
            "--scaling.use_gpu false --scaling.workers 1 and a small --model.base"
        )


def connect(config: Config) -> None:
    """Joins the cluster named by RAY_ADDRESS (set by `ray job submit`), or starts Ray on this machine alone.

    Raises:
        InputError: the cluster cannot be reached, or has fewer CPUs or GPUs than the run asks for.
    """
    ask_workers_often()
    import ray
    from ray.data import DataContext

    if not ray.is_initialized():
        # Workers' output stays in Ray's log folder: the progress bar and the report say what a person needs.
        quiet: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
        address = os.environ.get("RAY_ADDRESS") or "local"
        check_reachable(address)
        if address == "local":
            start_here(**quiet)
        else:
            _join(address, **quiet)
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context: Any = DataContext.get_current()
    context.enable_progress_bars = False
    context.execution_no_progress_timeout_s = -1  # a block of a large model's answers may take longer than half an hour
    check_resources(config, capacity())


def start_here(**options: Any) -> None:
    """Starts Ray on this machine alone, for as long as this process runs; `options` are those of ray.init.

    Its token stays in the environment of its processes. Ray would write one to ~/.ray/auth_token, for all to read, and
    from then on `ray start` would ask every client for it, where none of them is told that there is one.

    Raises:
        InputError: Ray's processes were not there within half a minute, in none of START_ATTEMPTS attempts.
    """
    import ray

    token = Path(os.environ.get("HOME", "")) / ".ray" / "auth_token"
    if token.is_file():
        token.chmod(0o600)
    elif not os.environ.keys() & {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"}:
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    for attempt in range(1, START_ATTEMPTS + 1):
        try:
            with kept_signals():
                ray.init(address="local", include_dashboard=False, **options)
            return
        except Exception as error:
            if type(error) is not Exception:  # Ray has no other name for this
                raise
            ray.shutdown()
            if attempt == START_ATTEMPTS:
                reason = str(error).splitlines()[0]
                raise InputError(
                    f"Ray could not be started here: {reason} Try again when this machine is less busy"
                ) from None


def _join(address: str, **options: Any) -> None:
    import ray

    try:
        with kept_signals():
            ray.init(address=address, **options)
    except (OSError, RuntimeError, ValueError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"the Ray at RAY_ADDRESS {address} cannot be joined: {reason}") from None


def check_reachable(address: str) -> None:
    """Raises InputError where nobody answers at RAY_ADDRESS, which Ray would ask for minutes, or where its name for
    temporary files is too long for the sockets in there.
    """
    place = os.environ.get("RAY_TMPDIR") or tempfile.gettempdir()
    if address == "local":
        if len(place) > LONGEST_TMPDIR:
            raise InputError(
                f"the folder for temporary files has a name of {len(place)} characters, Ray's sockets leave room for "
                f"{LONGEST_TMPDIR}: set RAY_TMPDIR to a shorter one, such as /tmp"
            )
        return
    if address == "auto":
        return
    if "://" in address:
        raise InputError(
            f"RAY_ADDRESS {address} is not the cluster's own address, such as 10.0.0.1:6379: submit the job by "
            "`ray job submit --address ADDRESS -- python ...`, or unset RAY_ADDRESS"
        )
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_SECONDS):
            return
    except (OSError, ValueError, OverflowError):
        raise InputError(
            f"no Ray answers at RAY_ADDRESS {address}: start it, mend the address, or unset RAY_ADDRESS to run on this "
            "machine alone"
        ) from None


def ask_workers_often() -> None:
    """Has Ray Train ask its workers every 0.2 s; its default of 2 s costs short runs a quarter of their time."""
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.2")


def capacity() -> dict[str, float]:
    """Resources that the connected cluster has, or, where an autoscaler says so, can grow to."""
    import ray
    from ray._private.state import state

    # Ray has no public name for this; Ray Train and Ray Data read it from here too.
    largest = state.get_max_resources_from_cluster_config() or {}
    now: dict[str, float] = ray.cluster_resources()
    return {kind: max(now.get(kind, 0), largest.get(kind, 0)) for kind in now.keys() | largest.keys()}


def check_resources(config: Config, available: dict[str, float]) -> None:
    """Raises InputError when `available` resources (see `capacity`) cannot hold the run's workers."""
    scaling, workers, key = config.scaling, config.scaling.fewest, _key(config)
    needs = {"CPU": workers * scaling.cpus_per_worker, "GPU": workers if scaling.use_gpu else 0}
    for kind, count in needs.items():
        if count > available.get(kind, 0):
            raise InputError(
                f"{key} {workers} needs {count:g} {kind}s, the cluster has {available.get(kind, 0):g}: lower {key}"
                + (" or scaling.cpus_per_worker" if kind == "CPU" else ", set scaling.use_gpu false or add GPU nodes")
            )


def _key(config: Config) -> str:
    """The key that says how many workers a run needs at least."""
    return "scaling.min_workers" if config.scaling.min_workers else "scaling.workers"


def fitting(what: str, keys: dict[str, tuple[str, float]]) -> int:
    """How many of equal shares of the connected cluster fit at once, at least 1.

    Args:
        what: what a message calls one of them: run, trial.
        keys: per kind of resource, CPU and GPU, the configuration's key and the share that it asks for.

    Raises:
        InputError: not even one fits; the message names the keys.
    """
    available = capacity()
    most = min(int(available.get(kind, 0) / share) for kind, (_, share) in keys.items() if share)
    if most < 1:
        (cpus, cpu), (gpus, gpu) = keys["CPU"], keys["GPU"]
        raise InputError(
            f"a {what} needs {cpu:g} CPUs and {gpu:g} GPUs, the cluster has {available.get('CPU', 0):g} and "
            f"{available.get('GPU', 0):g}: lower {cpus} or {gpus}"
        )
    return most

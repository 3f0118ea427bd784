"""Serves a checkpoint on this machine: starts Ray and Ray Serve, and stops just these at the end.

    python -m serve --checkpoint runs/quickstart/checkpoint --port 8000

Ctrl-C or SIGTERM lets the requests that run end first; a second one does not wait. Where Ray itself
dies, this ends with 1.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import socket
import threading
from collections.abc import Sequence
from types import FrameType

from cosdpo.cli.command_line import framed, read
from cosdpo.errors import InputError
from cosdpo.models.cards import CARD
from serve import checkpoint
from serve.http.bounded_head import CALLBACK, INSTALL
from serve.service_settings import ServiceSettings, check_address

USAGE = (
    "python -m serve --checkpoint DIR [--port N] [--host ADDRESS --keys FILE] [--config FILE.yaml] [--key VALUE ...]"
)
ENVIRONMENT = {
    CALLBACK: INSTALL,
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60",  # a busy machine takes its time
    "RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S": "1",  # a proxy that died is missed at once
    "RAY_SERVE_MAX_PER_REPLICA_RETRY_COUNT": "1",  # what cannot be loaded now cannot be loaded in a moment
}
"""Of Ray Serve's processes, unless the caller's says otherwise; Ray reads it when it is imported."""


def main(argv: Sequence[str]) -> None:
    """Serves until it is told to stop. Wrong input is one line on stderr and exit code 2."""
    framed(lambda: run(checked(read(ServiceSettings, argv, __doc__, usage=USAGE))))


def checked(settings: ServiceSettings) -> ServiceSettings:
    """The settings with a free port where 0 was asked for, after all that can be checked before Ray starts.

    Raises:
        InputError: no checkpoint or base, or broken ones, broken or missing keys, a busy port, too few cores.
    """
    check_address(settings.host, len(settings.hashes()))
    port = _free_port(settings.host, settings.port)
    cores = os.cpu_count() or 1
    if settings.replicas * settings.cpus > cores:
        raise InputError(
            f"replicas {settings.replicas} of cpus {settings.cpus:g} need more than this machine's {cores} cores; "
            "lower one of them"
        )
    checkpoint.check(settings.checkpoint, settings.base)
    return settings.changed({"port": port})


def run(settings: ServiceSettings) -> None:
    """Starts everything, waits for a signal, drains, stops.

    Raises:
        InputError: the model could not be started.
    """
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    from serve.local_service import LocalService

    print(f"loading {settings.checkpoint}", flush=True)
    with LocalService(settings) as service:
        service.load()
        stop = threading.Event()

        def asked(number: int, frame: FrameType | None) -> None:
            if stop.is_set():
                os._exit(128 + number)  # Ray's processes end with this one
            stop.set()

        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, asked)
        _greet(settings)
        while not stop.wait(1.0):
            pass
        print("stopping: no new requests; those that run may end", flush=True)
        if left := service.drain():
            print(f"{left} requests did not end in {settings.request_timeout_s:g} s", flush=True)


def _greet(settings: ServiceSettings) -> None:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    address = f"http://{host}:{settings.port}"
    card = json.loads((settings.checkpoint / CARD).read_bytes())
    key = " -H 'Authorization: Bearer KEY'" if settings.hashes() else ""
    curl = f"curl{key} {address}/v1/models"
    if checkpoint.task_of(settings.checkpoint) == "language":
        prompt = checkpoint.example_prompt(settings.checkpoint, card["prompt_template"]) or "Once upon a time"
        weights = dict.fromkeys(card["objectives"], 1)
        body = json.dumps({"prompt": prompt, "weights": weights, "max_new_tokens": 64})
        curl = f"curl{key} {address}/v1/generate -H 'Content-Type: application/json' -d {shlex.quote(body)}"
    name = checkpoint.identity(settings.checkpoint, settings.name)
    print(
        f"serving {name} at {address} (playground at /, documentation at /docs); Ctrl-C stops it\n  {curl}", flush=True
    )


def _free_port(host: str, port: int) -> int:
    """`port` if nobody listens there, or a free one for 0; raises InputError otherwise."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host.strip("[]"), port))
        except OSError as error:
            raise InputError(
                f"cannot listen on {host}:{port}: {error.strerror}; give another --port or --host"
            ) from None
        free: int = probe.getsockname()[1]
        return free

"""Ray and Ray Serve on this machine for one service: started, watched, drained, and stopped within bounds.

Nothing here waits for ever: what Ray has started ends with this process, however that ends.
"""

from __future__ import annotations

import io
import logging
import os
import re
import sys
import threading
import time
from contextlib import redirect_stdout
from typing import Any, Self

import ray
from ray import serve
from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException

from cosdpo.errors import InputError
from cosdpo.experiment.cluster import start_here
from serve.app import app
from serve.http.bounded_head import unsent
from serve.service_settings import ServiceSettings

VITAL = ("raylet", "gcs_server")
"""Ray's processes without which nothing is answered; others it starts again."""
WATCH_SECONDS = 1.0
STOP_SECONDS = 60.0
"""How long Ray may take to stop."""
SENT_SECONDS = 10.0
"""How long clients may take to read the rest of their answers."""
CAUSE = re.compile(r"^(?:[A-Za-z_]\w*\.)*[A-Z]\w*(?:Error|Exception): (?P<why>.+)$", re.MULTILINE)
"""The last line of a Python stack trace."""


class LocalService:
    """The service as a context: it stands within, and nothing of it does afterwards."""

    def __init__(self, settings: ServiceSettings) -> None:
        """Starts nothing yet."""
        self.settings = settings
        self.ingress: Any = None

    def __enter__(self) -> Self:
        """Starts Ray and Ray Serve.

        Raises:
            InputError: they could not be started, or the model needs more GPUs than there are.
        """
        start_here(log_to_driver=False, logging_level=logging.ERROR)
        logging.getLogger("ray.serve").setLevel(logging.ERROR)
        threading.Thread(target=_watch, args=(_node(),), daemon=True).start()
        wanted, there = self.settings.replicas * self.settings.gpus, ray.cluster_resources().get("GPU", 0.0)
        if wanted > there:
            raise InputError(
                f"gpus: the replicas need {wanted:g} GPUs, this machine has {there:g}; lower gpus or replicas"
            )
        try:
            serve.start(http_options={"host": self.settings.host, "port": self.settings.port})
        except (RayError, TimeoutError) as error:
            raise InputError(f"Ray Serve could not be started: {_first_line(error)}; {_logs()}") from None
        return self

    def load(self) -> None:
        """Loads the model; returns when it answers.

        Raises:
            InputError: it cannot be loaded; why, in one line.
        """
        try:
            self.ingress = serve.run(app(self.settings))
        except RuntimeError:
            raise InputError(f"the model could not be started: {_why()}; {_logs()}") from None

    def drain(self) -> int:
        """Takes no more requests and waits until the answers of those that run are sent; how many did not end.

        Raises:
            InputError: nobody is there to be asked.
        """
        patience = self.settings.request_timeout_s
        try:
            left = int(self.ingress.close.remote(patience).result(timeout_s=patience + SENT_SECONDS))
            end = time.monotonic() + SENT_SECONDS
            while time.monotonic() < end and any(map(_unsent, _proxies())):
                time.sleep(0.05)
        except (RayError, RayServeException, TimeoutError, ValueError) as error:
            raise InputError(f"requests that run could not be waited for: {_first_line(error)}") from None
        return left

    def __exit__(self, *error: object) -> None:
        """Stops what was started; what does not stop in time ends with this process."""
        late = threading.Timer(STOP_SECONDS, _end, ["Ray did not stop in time; its processes end with this one"])
        late.daemon = True
        late.start()
        with redirect_stdout(io.StringIO()):  # Ray tells of the actors that end here as failures
            serve.shutdown()
            ray.shutdown()
        late.cancel()


def _watch(node: Any) -> None:
    """Ends this process when Ray is dead: no call to it would return."""
    while ray.is_initialized():
        if dead := [name for name, _ in node.dead_processes() if name in VITAL]:
            _end(f"Ray's {dead[0]} died and nothing is answered any more; start the service again")
        time.sleep(WATCH_SECONDS)


def _end(why: str) -> None:
    print(f"error: {why}", file=sys.stderr, flush=True)
    os._exit(1)


def _node() -> Any:
    return ray._private.worker._global_node


def _logs() -> str:
    return f"Ray's logs: {_node().get_logs_dir_path()}/serve"


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def _proxies() -> list[Any]:
    named = [actor for actor in ray.util.list_named_actors(all_namespaces=True) if "SERVE_PROXY" in actor["name"]]
    return [ray.get_actor(actor["name"], namespace=actor["namespace"]) for actor in named]


def _unsent(proxy: Any) -> int:
    """Connections of a proxy whose answers are under way."""
    return int(ray.get(proxy.__ray_call__.remote(unsent), timeout=SENT_SECONDS))


def _why() -> str:
    """What the replicas that failed said."""
    states = [state for run in serve.status().applications.values() for state in run.deployments.values()]
    return cause("\n".join(state.message for state in states))


def cause(told: str) -> str:
    """The line of Ray's report that names the exception, without its kind; all of the report where none does."""
    causes = [match["why"] for match in CAUSE.finditer(told)]
    return causes[-1] if causes else " ".join(told.split()) or "nobody said why"

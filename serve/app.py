"""The Ray Serve application: an ingress that speaks HTTP, and replicas of the model behind it.

serve run serve.app:app checkpoint=runs/quickstart/checkpoint       development
serve deploy serve/config.yaml                                      a cluster
python -m serve --checkpoint runs/quickstart/checkpoint             both on this machine, the short way
"""

import asyncio
import os
from typing import Any

from ray import serve
from ray._private.authentication.authentication_utils import is_token_auth_enabled
from ray.serve import Application
from ray.serve.context import _get_global_client
from ray.serve.handle import DeploymentHandle
from starlette.types import ASGIApp

from cosdpo.errors import InputError
from serve import checkpoint
from serve.deployments import LanguageModel, RankingModel
from serve.http.access import is_local
from serve.http.api import build, with_cors
from serve.http.bounded_head import CALLBACK, INSTALL
from serve.remote import RemoteBackend
from serve.service_settings import ServiceSettings, check_address

HEADROOM = 64
"""Requests that a replica takes beyond those its engine does: questions after its health, and refusals, which are
quick. The engine's own queue is the one that fills."""
DRAIN_SECONDS = 5.0
"""How much longer than a request may take Ray Serve waits for a replica that it stops."""
RANKING_REQUESTS = 256
"""Requests that a ranker's replica takes at a time."""


@serve.deployment
@serve.ingress()
class Ingress:
    """Speaks HTTP: keys, limits, validation, events, metrics, playground."""

    def __init__(self, settings: ServiceSettings, hashes: list[str], model: DeploymentHandle[Any]) -> None:
        """Answers for `model`.

        Raises:
            InputError: Ray Serve listens for other machines and there are no keys, its proxies' heads have no bound, or
                Ray asks nobody for a token.
        """
        check_address(_listens_on(), len(hashes))
        check_proxies(_listens_on())
        check_token()
        _, self.gate = build(RemoteBackend(model), hashes, settings.limits, settings.request_timeout_s)
        self.asgi: ASGIApp = with_cors(self.gate, settings.cors_origins)

    def __serve_build_asgi_app__(self) -> ASGIApp:
        """What Ray Serve hands the requests to."""
        return self.asgi

    async def close(self, seconds: float) -> int:
        """Takes no more requests and waits until those that run have ended; how many have not.

        Args:
            seconds: how long to wait at most.
        """
        self.gate.closed = True
        end = asyncio.get_running_loop().time() + seconds
        while self.gate.running and asyncio.get_running_loop().time() < end:
            await asyncio.sleep(0.05)
        return self.gate.running


def app(args: ServiceSettings) -> Application:
    """The application that serves `args.checkpoint`.

    Raises:
        InputError: no checkpoint that can be served, broken keys, or a Ray that asks nobody for a token.
    """
    check_token()
    task = checkpoint.task_of(args.checkpoint)
    hashes = args.hashes()
    replacing = {
        "max_surge_percent": 100,  # a changed setting's replicas are up before the old ones go
        "graceful_shutdown_timeout_s": args.request_timeout_s + DRAIN_SECONDS,
        "graceful_shutdown_wait_loop_s": 0.5,
    }
    if task == "language":
        deployment: Any = serve.deployment(LanguageModel)
        at_once, takes = args.engine.max_running, args.engine.max_running + args.engine.max_waiting
    else:
        deployment = serve.deployment(RankingModel)
        at_once = takes = RANKING_REQUESTS
    scaled: dict[str, Any] = {"num_replicas": args.replicas}
    if args.max_replicas > args.replicas:
        scaled = {
            "autoscaling_config": {
                "min_replicas": args.replicas,
                "max_replicas": args.max_replicas,
                "target_ongoing_requests": at_once,
            }
        }
    place = {"checkpoint": str(args.checkpoint.resolve()), "base": args.base, "name": args.name}
    # The checkpoint is in user_config alone: a change of it reconfigures replicas instead of starting new ones.
    model = deployment.options(
        user_config=place,
        max_ongoing_requests=takes + HEADROOM,
        max_queued_requests=HEADROOM,
        ray_actor_options={"num_cpus": args.cpus, "num_gpus": args.gpus},
        health_check_period_s=5,
        **scaled,
        **replacing,
    ).bind(args)
    # The gate turns away what is too much, in the service's own words; Ray Serve's bound lies beyond it.
    ingress: Any = Ingress
    application: Application = ingress.options(
        max_ongoing_requests=8 * args.limits.requests,
        max_queued_requests=args.limits.requests,
        backpressure_config={"status_code": 429, "retry_after_s": 1},
        ray_actor_options={"num_cpus": 0},
        **replacing,
    ).bind(args, hashes, model)
    return application


def check_proxies(host: str) -> None:
    """Raises InputError where one endless header of another machine could hold Ray Serve's proxies."""
    if CALLBACK not in os.environ and not is_local(host):
        raise InputError(
            f"host {host} is open to other machines and Ray Serve's proxies have no bound on headers: set "
            f"{CALLBACK}={INSTALL} in the environment that starts Ray, on every node"
        )


def check_token() -> None:
    """Raises InputError where Ray asks nobody for a token.

    Whatever Ray Serve's proxies listen on, each replica opens a port on all interfaces, and unpickles what comes there.
    """
    if not is_token_auth_enabled():
        raise InputError(
            "Ray's token authentication is off, and whoever reaches this machine could run code by Ray's ports: start "
            "Ray with RAY_AUTH_MODE=token and a token from `ray get-auth-token --generate` (docs/deployment.md)"
        )


def _listens_on() -> str:
    """The address of Ray Serve's proxies."""
    client = _get_global_client()
    assert client is not None  # this runs in a replica
    return client.http_config.host or "127.0.0.1"

"""What Prometheus reads at /metrics: requests, tokens and times by route, and the state of every replica's engine.

Labels are routes, statuses and replicas. Weights are never a label: every trade-off would be a new time series.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest

disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each, which nobody asks for

SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120)
TOKEN_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1)


class Metrics:
    """The counters of one ingress."""

    def __init__(self) -> None:
        """All at zero, in a registry of their own."""
        self.registry = CollectorRegistry()

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"cosdpo_{name}", text, labels, registry=self.registry)

        def times(name: str, text: str, buckets: Sequence[float]) -> Histogram:
            return Histogram(f"cosdpo_{name}_seconds", text, ["route"], buckets=buckets, registry=self.registry)

        self.requests = counter("requests", "Requests answered", "route", "status")
        self.disconnects = counter("disconnects", "Requests whose client went away", "route")
        self.prompt_tokens = counter("prompt_tokens", "Prompt tokens of finished requests", "route")
        self.cached_tokens = counter("cached_tokens", "Prompt tokens found in a prefix cache", "route")
        self.completion_tokens = counter("completion_tokens", "Tokens generated", "route")
        self.base_tokens = counter("base_tokens", "Tokens that the base decoded as well", "route")
        self.seconds = times("request", "Time from a request to the end of its answer", SECONDS)
        self.first_token = times("time_to_first_token", "Time to the first token of a stream", SECONDS)
        self.per_token = times("time_per_token", "Mean time between later tokens of a stream", TOKEN_SECONDS)
        self.in_flight = Gauge("cosdpo_requests_in_flight", "Requests being answered", registry=self.registry)
        self.engine: dict[str, Gauge] = {}

    def show(self, replicas: Mapping[str, Mapping[str, float]]) -> bytes:
        """The page for Prometheus, with the given state of every replica."""
        for gauge in self.engine.values():
            gauge.clear()
        for replica, state in replicas.items():
            for name, value in state.items():
                if name not in self.engine:
                    title = name.replace("_", " ").capitalize()
                    self.engine[name] = Gauge(f"cosdpo_engine_{name}", title, ["replica"], registry=self.registry)
                self.engine[name].labels(replica).set(value)
        return generate_latest(self.registry)


class Stopwatch:
    """Times of one generation: to its first token, and between tokens."""

    def __init__(self, metrics: Metrics, route: str) -> None:
        """Starts now."""
        self.metrics, self.route = metrics, route
        self.start = time.perf_counter()
        self.first: float | None = None

    def token(self) -> None:
        """A piece of text has come."""
        if self.first is None:
            self.first = time.perf_counter()
            self.metrics.first_token.labels(self.route).observe(self.first - self.start)

    def end(self, prompt: int, cached: int, completion: int, base: int, streamed: bool) -> None:
        """The answer is whole, with these numbers of tokens."""
        counters = (self.metrics.prompt_tokens, self.metrics.cached_tokens)
        for counter, count in zip(counters, (prompt, cached), strict=True):
            counter.labels(self.route).inc(count)
        self.metrics.completion_tokens.labels(self.route).inc(completion)
        self.metrics.base_tokens.labels(self.route).inc(base)
        if streamed and self.first is not None and completion > 1:
            self.metrics.per_token.labels(self.route).observe((time.perf_counter() - self.first) / (completion - 1))

"""What Prometheus reads of a server: requests, how long they took, queues, the index, the model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from pocket_colbert.server.gate import Gate
from pocket_colbert.server.served import Contents

KIND = "text/plain; version=0.0.4; charset=utf-8"
OTHER = "other"
"""Stands for all routes that are none, and all methods that no route has: a client chooses these
words, and each would stay in memory."""
_METHODS = {"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"}
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Measured(Protocol):
    """What is measured when it is asked for."""

    def contents(self) -> Contents:
        """Return what is served, in numbers."""

    @property
    def model_runs(self) -> int:
        """How often the model has run."""


class Metrics:
    """Counts requests, and reads everything else when it is asked for."""

    def __init__(self, measured: Measured, gates: dict[str, Gate]) -> None:
        """Begin at zero.

        Args:
            measured: What is served.
            gates: What limits requests, by name.
        """
        self._registry = CollectorRegistry(auto_describe=False)
        self._requests = Counter(
            "pocket_colbert_requests", "Requests that were answered.",
            ("route", "method", "status"), registry=self._registry,
        )  # fmt: skip
        self._seconds = Histogram(
            "pocket_colbert_request_seconds", "Seconds from a request to the end of its answer.",
            ("route",), buckets=_SECONDS, registry=self._registry,
        )  # fmt: skip
        self._registry.register(_Now(measured, gates))

    def answered(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count a request.

        Args:
            route: The path of its route, `OTHER` for none.
            method: The method.
            status: The status of its answer.
            seconds: How long that took.
        """
        method = method if method in _METHODS else OTHER
        self._requests.labels(route, method, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def text(self) -> bytes:
        """Return everything as Prometheus reads it."""
        return generate_latest(self._registry)


class _Now:
    """Numbers that are known without counting."""

    def __init__(self, measured: Measured, gates: dict[str, Gate]) -> None:
        self._measured = measured
        self._gates = gates

    def describe(self) -> list[Metric]:
        """Say nothing yet: the names are those of `collect`."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Read all numbers."""
        running = GaugeMetricFamily(
            "pocket_colbert_requests_running", "Requests that are computed now.", labels=["gate"]
        )
        waiting = GaugeMetricFamily(
            "pocket_colbert_requests_waiting", "Requests that wait for others.", labels=["gate"]
        )
        for name, gate in self._gates.items():
            running.add_metric([name], gate.running)
            waiting.add_metric([name], gate.waiting)
        yield running
        yield waiting
        runs = CounterMetricFamily("pocket_colbert_model_runs", "Times that the model has run.")
        runs.add_metric([], self._measured.model_runs)
        yield runs
        contents = self._measured.contents()
        for name, value, text in (
            ("documents", contents.documents, "Documents that can be found."),
            ("passages", contents.passages, "Passages, deleted ones that still take space too."),
            ("token_vectors", contents.tokens, "Token vectors, likewise."),
            ("index_bytes", contents.bytes, "Bytes of the index on disk."),
        ):
            if value is not None:
                yield GaugeMetricFamily(f"pocket_colbert_{name}", text, value=value)

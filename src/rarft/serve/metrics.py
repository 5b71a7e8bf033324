"""What Prometheus is told at /metrics. Every server has a registry of its own."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.005, 0.01, 0.02, 0.04, 0.08, 0.15, 0.3, 0.6, 1.2, 2.5, 5, 10, 30, 60, 120, 300, 600)


class Metrics:
    """Counters and latencies of one server.

    Args:
        n_traces: how many traces there are now.
    """

    def __init__(self, n_traces: Callable[[], int]) -> None:
        registry = self._registry = CollectorRegistry()
        self.requests = Counter(
            "rarft_requests", "Requests answered, by endpoint and status", ["endpoint", "status"], registry=registry
        )
        self.errors = Counter("rarft_errors", "Errors told to clients, by kind", ["kind"], registry=registry)
        self.retrieval = Histogram(
            "rarft_retrieval_seconds", "Time from question to traces", buckets=SECONDS, registry=registry
        )
        self.upstream = Histogram(
            "rarft_upstream_seconds",
            "Time of a request to the upstream, to its end",
            buckets=SECONDS,
            registry=registry,
        )
        self.empty = Counter(
            "rarft_empty_retrievals", "Retrievals that left the bare prompt, by reason", ["reason"], registry=registry
        )
        self.tokens = Counter("rarft_tokens", "Tokens, as the upstream counts them", ["direction"], registry=registry)
        self.in_flight = Gauge("rarft_requests_in_flight", "Requests that wait for their answer", registry=registry)
        Gauge("rarft_traces", "Traces in the index", registry=registry).set_function(n_traces)

    def page(self) -> bytes:
        """In Prometheus's text format."""
        return generate_latest(self._registry)

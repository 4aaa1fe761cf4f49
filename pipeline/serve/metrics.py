"""What the server does, as Prometheus metrics. The names are a promise to dashboards; docs/operations.md lists them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from pipeline.serve.exports import Exports
from pipeline.serve.pool import Pool


class ServerCollector(Collector):
    """Asks at every scrape, so nothing is kept twice. `refused`: sign-ins that failed, so far."""

    def __init__(self, pool: Pool, exports: Exports, refused: Callable[[], int]) -> None:
        self._pool, self._exports, self._refused = pool, exports, refused

    def describe(self) -> list[Metric]:
        """Nothing, so that a registry does not scrape while it is set up."""
        return []

    def collect(self) -> Iterator[Metric]:
        pool = self._pool
        yield GaugeMetricFamily("fovea_serve_streams", "Pictures and clips under way.", pool.active)
        yield CounterMetricFamily("fovea_serve_begun", "Pictures and clips begun.", pool.begun)
        yield CounterMetricFamily("fovea_serve_busy", "Pictures and clips refused for want of room.", pool.refused)
        yield CounterMetricFamily("fovea_serve_worker_deaths", "Processes that died while decoding.", pool.deaths)
        yield CounterMetricFamily("fovea_serve_signin_refused", "Sign-ins that failed.", self._refused())
        exports = GaugeMetricFamily("fovea_serve_exports", "Exports that are known.", labels=["state"])
        states = Counter(job.state for job in self._exports.jobs())
        for state in ("queued", "running", "done", "failed", "cancelled"):
            exports.add_metric([state], states[state])
        yield exports


def exposition(collector: Collector) -> bytes:
    """As a scraper reads it."""
    registry = CollectorRegistry()
    registry.register(collector)
    return generate_latest(registry)

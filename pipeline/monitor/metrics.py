"""A site's state as Prometheus metrics. The names are a promise to dashboards; docs/operations.md lists them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from pipeline.footage import Counters
from pipeline.monitor.state import LATENCY_BOUNDS_S, CameraState, NodeState, SiteState
from pipeline.pace import LEVELS

_COUNTERS: tuple[tuple[str, str, Callable[[Counters], int]], ...] = (
    ("fovea_frames_in", "Frames that the camera gave.", lambda c: c.frames_in),
    ("fovea_frames_coded", "Frames that were coded and stored.", lambda c: c.coded),
    ("fovea_frames_dropped", "Frames left out before the codec.", lambda c: c.dropped),
    ("fovea_frames_thinned", "Of the dropped: left out evenly, for the node's budget.", lambda c: c.thinned),
    ("fovea_frames_balanced", "Of the coded: with balanced effort.", lambda c: c.balanced),
    ("fovea_frames_fast", "Of the coded: with the least effort.", lambda c: c.fast),
    ("fovea_frames_killed", "Frames that were under way when a worker died.", lambda c: c.killed),
    ("fovea_frames_lost", "Pictures that arrived damaged.", lambda c: c.lost),
    ("fovea_reconnects", "Openings after the first.", lambda c: c.reconnects),
    ("fovea_gaps", "Times without footage.", lambda c: c.gaps),
    ("fovea_restarts", "Worker groups begun anew for this camera.", lambda c: c.restarts),
)
_GAUGES: tuple[tuple[str, str, Callable[[CameraState], float]], ...] = (
    ("fovea_camera_up", "1 while the camera records.", lambda c: float(c.state == "recording")),
    ("fovea_fps_in", "Frames a second from the camera, lately.", lambda c: c.fps_in),
    ("fovea_fps_coded", "Frames a second coded, lately.", lambda c: c.fps_coded),
    ("fovea_bits_a_pixel", "Bits stored a pixel, since the start.", lambda c: c.bits_a_pixel),
    ("fovea_background_every", "The background is coded in every n-th frame; 1 is all.", lambda c: c.background_every),
    ("fovea_keep_share", "Of the frames, what the node's budget lets in; 1 is all.", lambda c: c.keep),
    ("fovea_effort", "Of the encoder: 0 best, 1 balanced, 2 fast.", lambda c: LEVELS.index(c.effort or LEVELS[0])),
    ("fovea_queue_age_seconds", "Age of the oldest frame that waits for the detector.", lambda c: c.queue_age_s),
)


class SiteCollector(Collector):
    """Asks for the state at every scrape, so nothing is kept twice."""

    def __init__(self, state: Callable[[], SiteState]) -> None:
        self._state = state

    def describe(self) -> list[Metric]:
        """Nothing, so that a registry does not scrape while it is set up."""
        return []

    def collect(self) -> Iterator[Metric]:
        state = self._state()
        yield from _camera_metrics(state)
        yield _latency(state)
        yield from _node_metrics(state)
        yield GaugeMetricFamily("fovea_memory_bytes", "Of the recorder and its children.", state.memory_bytes)
        yield GaugeMetricFamily("fovea_store_free_bytes", "Free on the archive's disk.", state.store.free_bytes)
        yield GaugeMetricFamily("fovea_store_used_bytes", "Taken by footage.", state.store.used_bytes)
        if state.store.oldest_wall_us is not None:
            yield GaugeMetricFamily(
                "fovea_store_oldest_seconds", "Unix time of the oldest footage.", state.store.oldest_wall_us / 1e6
            )


def _camera_metrics(state: SiteState) -> Iterator[Metric]:
    for name, text, count in _COUNTERS:
        counter = CounterMetricFamily(name, text, labels=["camera"])
        for camera in state.cameras:
            counter.add_metric([camera.camera], count(camera.counters))
        yield counter
    stored = CounterMetricFamily("fovea_stored_bytes", "Bytes stored by layer.", labels=["camera", "layer"])
    for camera in state.cameras:
        stored.add_metric([camera.camera, "foreground"], camera.counters.bytes_foreground)
        stored.add_metric([camera.camera, "background"], camera.counters.bytes_background)
    yield stored
    for name, text, value in _GAUGES:
        gauge = GaugeMetricFamily(name, text, labels=["camera"])
        for camera in state.cameras:
            gauge.add_metric([camera.camera], value(camera))
        yield gauge


def _node_metrics(state: SiteState) -> Iterator[Metric]:
    gauges: tuple[tuple[str, str, Callable[[NodeState], float | None]], ...] = (
        ("fovea_node_load_share", "Of its busiest lane's time, what its live cameras need.", lambda n: n.load),
        ("fovea_node_cpu_share", "CPU use, 0 to 1.", lambda n: n.cpu),
        ("fovea_node_memory_used_bytes", "Memory in use.", lambda n: n.memory_used_bytes),
        ("fovea_node_memory_bytes", "All its memory.", lambda n: n.memory_bytes),
    )
    for name, text, value in gauges:
        gauge = GaugeMetricFamily(name, text, labels=["node"])
        for node in state.nodes:
            found = value(node)
            if found is not None:
                gauge.add_metric([node.node], found)
        yield gauge
    busy = GaugeMetricFamily("fovea_gpu_share", "GPU use, 0 to 1.", labels=["node", "gpu"])
    memory = GaugeMetricFamily("fovea_gpu_memory_used_bytes", "GPU memory in use.", labels=["node", "gpu"])
    for node in state.nodes:
        for number, gpu in enumerate(node.gpus):
            busy.add_metric([node.node, str(number)], gpu.busy)
            memory.add_metric([node.node, str(number)], gpu.memory_used_bytes)
    yield from (busy, memory)


def _latency(state: SiteState) -> Metric:
    family = HistogramMetricFamily(
        "fovea_durable_latency_seconds", "From a live frame's arrival until it is durable.", labels=["camera"]
    )
    bounds = [*map(str, LATENCY_BOUNDS_S), "+Inf"]
    for camera in state.cameras:
        buckets = list(zip(bounds, map(float, camera.buckets), strict=True))
        family.add_metric([camera.camera], buckets, camera.latency_sum_s)
    return family

"""A running site seen from outside: its state as data, as Prometheus metrics and over HTTP. Read-only."""

from pipeline.monitor.server import serving
from pipeline.monitor.state import CameraState, Monitor, NodeState, SiteState, StoreState

__all__ = ["CameraState", "Monitor", "NodeState", "SiteState", "StoreState", "serving"]

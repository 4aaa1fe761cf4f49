"""A real RTSP server for tests: GStreamer's, in a process of the system's Python, which is where Debian's packages
put its bindings. Run directly it serves until it is killed; `RtspServer` starts and ends such a process.

Needs python3-gi, gir1.2-gst-rtsp-server-1.0 and GStreamer's plugins base, good and ugly.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from types import TracebackType

PYTHON = "/usr/bin/python3"
LAUNCH = (
    "( videotestsrc is-live=true pattern={pattern} ! video/x-raw,width={width},height={height},framerate={fps}/1 "
    "! x264enc tune=zerolatency speed-preset=ultrafast key-int-max={fps} bitrate=300 threads=1 "
    "! rtph264pay name=pay0 pt=96 config-interval=1 )"
)


def missing() -> str:
    """Why the server cannot run here; empty if it can."""
    code = (
        "import gi; gi.require_version('Gst', '1.0'); gi.require_version('GstRtspServer', '1.0')\n"
        "from gi.repository import Gst, GstRtspServer; Gst.init(None)\n"
        "names = 'videotestsrc', 'x264enc', 'rtph264pay'\n"
        "raise SystemExit(', '.join(n for n in names if not Gst.ElementFactory.find(n)) or 0)"
    )
    try:
        done = subprocess.run([PYTHON, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    except OSError as error:
        return f"no system Python with GStreamer's bindings ({error})"
    return "" if done.returncode == 0 else f"no GStreamer RTSP server: {(done.stderr.splitlines() or ['?'])[-1]}"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


class RtspServer:
    """Cameras at rtsp://127.0.0.1:PORT/0, /1, ... May be killed and started again at the same address."""

    def __init__(self, *, cameras: int = 1, width: int = 320, height: int = 240, fps: int = 5) -> None:
        self.port = free_port()
        self._arguments = [str(value) for value in (self.port, cameras, width, height, fps)]
        self._process: subprocess.Popen[bytes] | None = None

    def url(self, camera: int = 0) -> str:
        return f"rtsp://127.0.0.1:{self.port}/{camera}"

    def start(self, *, width: int | None = None, height: int | None = None) -> None:
        """Start it, with pictures of another size if asked; returns once it accepts connections."""
        if width is not None and height is not None:
            self._arguments[2:4] = [str(width), str(height)]
        self._process = subprocess.Popen([PYTHON, __file__, *self._arguments], stderr=subprocess.DEVNULL)
        for _ in range(600):
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=1):
                    return
            except OSError:
                time.sleep(0.05)
        raise RuntimeError("the RTSP server did not start")

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def __enter__(self) -> RtspServer:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()


def serve(port: int, cameras: int, width: int, height: int, fps: int) -> None:
    import gi

    gi.require_version("Gst", "1.0")
    gi.require_version("GstRtspServer", "1.0")
    from gi.repository import GLib, Gst, GstRtspServer

    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address(os.environ.get("RTSP_HOST", "127.0.0.1"))
    server.set_service(str(port))
    for camera in range(cameras):
        factory = GstRtspServer.RTSPMediaFactory()
        pattern = "ball" if camera % 2 == 0 else "smpte"
        factory.set_launch(LAUNCH.format(pattern=pattern, width=width, height=height, fps=fps))
        factory.set_shared(True)
        server.get_mount_points().add_factory(f"/{camera}", factory)
    server.attach(None)
    GLib.MainLoop().run()


if __name__ == "__main__":
    serve(*(int(argument) for argument in sys.argv[1:6]))

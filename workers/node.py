"""Ray's settings, and one node of a cluster as a process: nothing beyond loopback without a token.

Ray's ports run code for whoever reaches them, so a cluster asks every process for the token that all its nodes share
(RAY_AUTH_TOKEN, or a file named by RAY_AUTH_TOKEN_PATH). Must be importable before Ray is.
"""

from __future__ import annotations

import ipaddress
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from pipeline.errors import ConfigError, UsageError

QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_USAGE_STATS_PROMPT_ENABLED": "0",
    # The first error of a camera is raised; those of the batches behind it say nothing new.
    "RAY_IGNORE_UNHANDLED_ERRORS": "1",
    # A camera's thread that outlives the run must not start another Ray by calling the one that is gone.
    "RAY_ENABLE_AUTO_CONNECT": "0",
    # Ray would have workers yield to whatever else the machine does; cameras do not wait.
    "RAY_worker_niceness": "0",
    # Ray would keep the last 100,000 tasks for its own dashboard: 300 MB in the head, after minutes.
    "RAY_task_events_report_interval_ms": "0",
    # Ray would otherwise warn at each actor without a GPU that a later version will not hide GPUs from it.
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",
}
# This is Ray's switch for "stay on the loopback interface"; its name tells where it is the default.
LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_AUTH_MODE": "token"}
# A lost node is known after 4 s where its machine answers, after 12 s where nothing does.
HEALTH = {
    "RAY_health_check_initial_delay_ms": "5000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "2000",
    "RAY_health_check_failure_threshold": "4",
}
TOKEN_BYTES = 16  # fewer could be guessed


def require_token(what: str, environment: Mapping[str, str] = os.environ) -> None:
    """Raises ConfigError unless Ray is set to ask for a token, and has one."""
    path = environment.get("RAY_AUTH_TOKEN_PATH")
    try:
        token = environment.get("RAY_AUTH_TOKEN") or (Path(path).read_text().strip() if path else "")
    except OSError as error:
        raise ConfigError(f"RAY_AUTH_TOKEN_PATH: {path}: {error.strerror}") from error
    if environment.get("RAY_AUTH_MODE") != "token" or len(token) < TOKEN_BYTES:
        raise ConfigError(
            f"{what}: refused without a token, for Ray's ports run code for whoever reaches them; set "
            f"RAY_AUTH_MODE=token and RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH (at least {TOKEN_BYTES} characters)"
        )


def node_command(
    *, address: str, head: str | None, port: int, cpus: float | None, gpus: float | None, store_mb: int
) -> list[str]:
    """The command of one node at `address`, which joins the cluster at `head` (host:port) or is the head itself. Raises
    UsageError and ConfigError."""
    try:
        loopback = ipaddress.ip_address(address).is_loopback
    except ValueError as error:
        raise UsageError(f"--address {address}: not an IP address") from error
    if not loopback or head is not None:
        require_token(f"a node at {address}")
    command = [
        sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--disable-usage-stats",
        f"--node-ip-address={address}", f"--object-store-memory={store_mb << 20}",
    ]  # fmt: skip
    command += [f"--address={head}"] if head is not None else ["--head", f"--port={port}", "--include-dashboard=false"]
    command += [f"--num-cpus={cpus:g}"] if cpus is not None else []
    return command + ([f"--num-gpus={gpus:g}"] if gpus is not None else [])


def run_node(command: list[str]) -> None:
    """Become the node: does not return."""
    os.environ.update(QUIET | HEALTH)
    os.execv(command[0], command)

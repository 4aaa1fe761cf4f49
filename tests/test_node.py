from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.cli import call
from pipeline.errors import ConfigError, UsageError
from workers.node import node_command, require_token

TOKEN = "0123456789abcdef"


def command(monkeypatch: pytest.MonkeyPatch, *, address: str = "192.0.2.1", head: str | None = None) -> list[str]:
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", TOKEN)
    return node_command(address=address, head=head, port=6379, cpus=2, gpus=None, store_mb=100)


@pytest.mark.parametrize(
    "environment",
    [{}, {"RAY_AUTH_TOKEN": TOKEN}, {"RAY_AUTH_MODE": "token"}, {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "short"}],
)
def test_without_a_token_it_is_refused_in_one_line(environment: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="refused without a token") as caught:
        require_token("a node", environment)
    assert "\n" not in str(caught.value)


def test_a_token_may_stand_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "token"
    environment = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(path)}
    with pytest.raises(ConfigError, match="No such file"):
        require_token("a node", environment)
    path.write_text(TOKEN + "\n")
    require_token("a node", environment)


def test_a_node_joins_or_is_the_head(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "--head" in command(monkeypatch)
    joining = command(monkeypatch, head="192.0.2.1:6379")
    assert "--address=192.0.2.1:6379" in joining
    assert "--head" not in joining
    with pytest.raises(UsageError, match="not an IP address"):
        command(monkeypatch, address="here")


def test_the_command_refuses_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    assert call(["node", "--address", "192.0.2.1"]) == 2
    assert "refused without a token" in capsys.readouterr().err
    site = tmp_path / "site.yaml"
    site.write_text(
        f"store: {tmp_path / 'archive'}\ncameras: {{a: {{source: {{url: 'demo://street'}}}}}}\n"
        "ray: {address: '192.0.2.1:6379'}\n"
    )
    assert call(["run", str(site)]) == 2
    assert "refused without a token" in capsys.readouterr().err

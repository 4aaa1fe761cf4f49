from __future__ import annotations

from collections.abc import Iterator

import pytest
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher
from starlette.testclient import TestClient

from pipeline.serve.served import Served
from tests.serve.site import make_site, serving, sign_in


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Served, TestClient]]:
    with serving(make_site(tmp_path_factory.mktemp("site"))) as found:
        yield found


@pytest.fixture
def served(site: tuple[Served, TestClient]) -> Served:
    return site[0]


@pytest.fixture
def stranger(site: tuple[Served, TestClient]) -> TestClient:
    """A client that has not signed in."""
    site[1].cookies.clear()
    return site[1]


@pytest.fixture
def admin(stranger: TestClient) -> TestClient:
    sign_in(stranger)
    return stranger


@pytest.fixture
def anna(stranger: TestClient) -> TestClient:
    """A viewer who may see the gate alone."""
    sign_in(stranger, "anna")
    return stranger


@pytest.fixture(scope="session", autouse=True)
def _quick_passwords() -> Iterator[None]:
    """Argon2 as it is, with a thousandth of the work."""
    quick = PasswordHash((Argon2Hasher(time_cost=1, memory_cost=64, parallelism=1),))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pwdlib.PasswordHash.recommended", lambda: quick)
        yield

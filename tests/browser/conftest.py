from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from tests.browser.site import Complaints, Site, browsing, record, serving, sign_in


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Per module: while Playwright runs, its event loop would be in the way of other tests'."""
    with browsing() as found:
        if found is None:
            pytest.skip("no Chromium on this machine")
        yield found


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site file of an archive with three demo cameras; recorded once."""
    return record(tmp_path_factory.mktemp("site"))


@pytest.fixture(scope="module")
def site(browser: Browser, recorded: Path) -> Iterator[Site]:
    with serving(recorded) as found:
        yield found


@pytest.fixture
def page(browser: Browser, site: Site) -> Iterator[Page]:
    """The page, signed in as admin. Fails the test if its console complained."""
    with browser.new_context(viewport={"width": 1440, "height": 900}, locale="en-GB", timezone_id="UTC") as context:
        complaints = Complaints(context)
        page = context.new_page()
        sign_in(page, site)
        yield page
        assert complaints.said == []

"""Fixtures shared by the tests: the folder of films, a server, and a browser."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ptx_app.process import set_environment
from tests.support.serving import PATIENCE, open_again, running_browser, running_server

set_environment()  # before any test imports torch or albumentations


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of films, masks and cases, set by PTX_DATA. The repository may not contain them."""
    folder = os.environ.get("PTX_DATA")
    if not folder:
        pytest.skip("PTX_DATA is not set, so there are no films")
    return Path(folder)


@pytest.fixture(scope="session")
def address() -> Iterator[str]:
    """The address of the app on a real server."""
    with running_server() as server:
        yield server.address


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Headless Chromium. Not for all modules together: asyncio does not run beside it."""
    with running_browser() as chromium:
        yield chromium


@pytest.fixture(scope="module")
def tab(browser: Any) -> Iterator[Any]:
    """A tab of the browser, for `open_again`."""
    tab = browser.new_context().new_page()
    tab.set_default_timeout(PATIENCE)
    yield tab
    tab.context.close()


@pytest.fixture
def page(address: str, tab: Any) -> Iterator[Any]:
    """The app's page as another user finds it. No error may reach the browser's console."""
    problems: list[str] = []

    def note(error: Any) -> None:
        problems.append(str(error))

    tab.on("pageerror", note)
    yield open_again(tab, address)
    tab.remove_listener("pageerror", note)
    assert not problems

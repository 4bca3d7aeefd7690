"""Fixtures shared by the tests: the folder of films, a server, and a browser."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ptx_app.process import set_environment
from tests.support.serving import open_page, running_browser, running_server

set_environment()  # before any test imports torch or albumentations


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of films, masks and cases, set by PTX_DATA. The repository may not contain them."""
    folder = os.environ.get("PTX_DATA")
    if not folder:
        pytest.skip("PTX_DATA is not set, so there are no films")
    return Path(folder)


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """The address of the app on a real server."""
    with running_server() as server:
        yield server.address


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Headless Chromium."""
    with running_browser() as chromium:
        yield chromium


@pytest.fixture
def page(address: str, browser: Any) -> Iterator[Any]:
    """The app's page like another user's. No error may reach the browser's console."""
    page = open_page(browser, address)
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    yield page
    page.context.close()
    assert not problems

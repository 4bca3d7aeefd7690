"""Fixtures shared by the tests: the folder of films, a server, and a browser."""

import os
from collections.abc import Iterator
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import pytest
from streamlit.components.v2 import manifest_scanner

from ptx_app.model.manifest import OnnxFile
from ptx_app.model.openvino_network import OpenVinoNetwork
from ptx_app.model.openvino_runtime import openvino
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


@pytest.fixture(scope="session", autouse=True)
def compiled_once() -> Iterator[None]:
    """OpenVINO compiles the same network once: a program does so once, but tests load it hundreds of times."""
    load = OpenVinoNetwork.__init__

    @lru_cache(maxsize=4)
    def first(onnx: str, path: Path, _changed: int) -> OpenVinoNetwork:
        network = OpenVinoNetwork.__new__(OpenVinoNetwork)
        load(network, OnnxFile.model_validate_json(onnx), path)
        return network

    def again(network: OpenVinoNetwork, onnx: OnnxFile, path: Path) -> None:
        loaded = first(onnx.model_dump_json(), path, path.stat().st_mtime_ns)
        network.engine, network._model = loaded.engine, openvino().CompiledModel(loaded._model)  # runs on its own

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(OpenVinoNetwork, "__init__", again)
        yield


@pytest.fixture(scope="session", autouse=True)
def searched_once() -> Iterator[None]:
    """Streamlit looks for components in all installed packages once: a server does so once, but each AppTest too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(manifest_scanner, "scan_component_manifests", cache(manifest_scanner.scan_component_manifests))
        yield


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

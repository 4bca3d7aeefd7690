"""Who can reach the page: this computer only, unless the operator says otherwise."""

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from streamlit import config
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from ptx_app.model.manifest import ROOT
from ptx_app.ui.server import announcement, on_loopback
from tests.support.serving import running_server, until

_LOOPBACK = "0100007F"


def listening(port: int) -> set[str]:
    """The addresses, as the kernel writes them, at which something listens on a port."""
    tables = [table for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")) if table.exists()]
    if not tables:
        pytest.skip("this system has no /proc/net/tcp")
    rows = [line.split() for table in tables for line in table.read_text(encoding="ascii").splitlines()[1:]]
    return {row[1].rpartition(":")[0] for row in rows if row[3] == "0A" and int(row[1].rpartition(":")[2], 16) == port}


@pytest.fixture
def proxy() -> Iterator[tuple[dict[str, str], list[bytes]]]:
    """Variables that send every HTTP request of a process to this test, and what came."""
    came: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def listen() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    came.append(connection.recv(1000))

        threading.Thread(target=listen, daemon=True).start()
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        names = ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY")
        yield {**dict.fromkeys(names, address), "no_proxy": "127.0.0.1", "NO_PROXY": "127.0.0.1"}, came


def test_unless_told_only_this_computer_reaches_the_page_and_nobody_is_asked_for_an_address(proxy):
    variables, came = proxy
    with running_server(environment=variables, where=None) as server:
        port = int(server.address.rpartition(":")[2])
        assert listening(port) == {_LOOPBACK}
        until(lambda: "Only this computer can reach it." in server.said, 10)
    assert f"http://127.0.0.1:{port}" in server.said
    assert "Network URL" not in server.said
    assert "External URL" not in server.said
    assert came == []


def test_another_sites_connection_is_refused_and_nobody_is_asked_for_an_address(proxy):
    variables, came = proxy
    with running_server(environment=variables) as server:
        place = server.address.removeprefix("http://")
        for _ in range(2):
            with (
                pytest.raises(InvalidStatus) as raised,
                connect(f"ws://{place}/_stcore/stream", origin="https://e.org"),
            ):
                pass
            assert raised.value.response.status_code == 403
    assert came == []


@pytest.mark.parametrize("how", ["flag", "environment"])
def test_an_address_that_the_operator_sets_is_used(how):
    told = {"options": ["--server.address=127.0.0.2"]} if how == "flag" else {"environment": {"STREAMLIT_SERVER_ADDRESS": "127.0.0.2"}}  # fmt: skip  # noqa: E501
    with running_server(where=None, host="127.0.0.2", **told) as server:
        assert listening(int(server.address.rpartition(":")[2])) == {"0200007F"}
        until(lambda: server.address in server.said, 10)


@pytest.mark.parametrize(
    ("address", "only_here"),
    [("127.0.0.1", True), ("::1", True), ("localhost", True), ("127.8.9.1", True),
     ("0.0.0.0", False), ("::", False), ("192.168.1.4", False), ("films.example.org", False), ("", False),
     (None, False)],
)  # fmt: skip
def test_which_addresses_are_this_computers_own(address, only_here):
    assert on_loopback(address) == only_here


@pytest.fixture
def options() -> Iterator[None]:
    yield
    config.get_config_options(force_reparse=True, options_from_flags={})


def test_an_open_page_says_that_it_is_open(options):
    config.get_config_options(force_reparse=True, options_from_flags={"server.address": "0.0.0.0", "server.port": 8501})
    said = announcement()
    assert "http://localhost:8501" in said
    assert "no sign-in: whoever reaches it can use it" in said


@pytest.mark.parametrize(
    ("entry", "address"), [("app.py", "127.0.0.1"), ("hosts/community-cloud/streamlit_app.py", "0.0.0.0")]
)
def test_community_cloud_reaches_its_own_entry_point(options, monkeypatch, entry, address):
    monkeypatch.chdir(ROOT)  # as the host does
    monkeypatch.setattr(config, "_main_script_path", str(ROOT / entry))
    config.get_config_options(force_reparse=True, options_from_flags={})
    assert config.get_option("server.address") == address
    assert config.get_option("client.showErrorDetails") == "none"

"""hosts/proxy/nginx.conf in a real nginx, two servers behind it, and Chromium through it."""

import contextlib
import getpass
import http.client
import re
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit

import pytest

from ptx_app.model.manifest import ROOT
from ptx_app.ui.server import HEADERS
from tests.support.films import dicom_of
from tests.support.made_folder import film_and_mask
from tests.support.serving import (
    CHROMIUM,
    NO_CHROMIUM,
    Server,
    all_read,
    drop,
    running_browser,
    running_server,
    until,
)

NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
HOST = "films.example.org"
SETTINGS = (ROOT / "hosts/proxy/nginx.conf").read_text(encoding="utf-8")

pytestmark = [
    pytest.mark.skipif(not NGINX, reason="nginx is missing: apt-get install nginx-light"),
    pytest.mark.skipif(not shutil.which("openssl"), reason="openssl is missing"),
]
needs_browser = pytest.mark.skipif(not CHROMIUM, reason=NO_CHROMIUM)

_AROUND = """
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
{user}
events {{}}
http {{
    include /etc/nginx/mime.types;
    client_body_temp_path {folder}/bodies;
    proxy_temp_path {folder}/answers;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/ptx.conf;
}}
"""


@dataclass
class Proxy:
    """A running nginx: its ports, and its log."""

    port: int
    plain_port: int
    log: Path

    @property
    def address(self) -> str:
        return f"https://{HOST}:{self.port}"

    def ask(
        self, path: str, method: str = "GET", body: bytes | None = None, **headers: str
    ) -> tuple[int, list[tuple[str, str]]]:
        """Status and headers of an answer, the latter in lower case."""
        trusting = ssl.create_default_context()
        trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=30, context=trusting)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, {"Host": f"{HOST}:{self.port}"} | named)
        answer = connection.getresponse()
        answer.read()
        connection.close()
        return answer.status, [(name.lower(), value) for name, value in answer.getheaders()]

    def replica_of(self, place: str) -> str:
        """The replica that a visit with this cookie gets, by the log."""
        lines = len(self.lines())
        assert self.ask("/_stcore/health", Cookie=f"ptx_place={place}")[0] == 200
        until(lambda: len(self.lines()) > lines, 30)
        return self.lines()[-1].split()[-1]

    def lines(self) -> list[str]:
        return self.log.read_text(encoding="utf-8").splitlines()


@pytest.fixture(scope="module")
def replicas() -> Iterator[list[Server]]:
    behind = {"STREAMLIT_SERVER_ALLOWED_HOSTS": HOST, "PTX_PUBLIC_HOST": "false"}
    with running_server(environment=behind) as first, running_server(environment=behind) as second:
        yield [first, second]


@pytest.fixture(scope="module")
def proxy(replicas, tmp_path_factory) -> Iterator[Proxy]:
    folder = tmp_path_factory.mktemp("nginx")
    with running_proxy(folder, replicas) as running:
        yield running


@contextlib.contextmanager
def running_proxy(folder: Path, replicas: list[Server]) -> Iterator[Proxy]:
    port, plain_port = _free_ports(2)
    changes = {
        "127.0.0.1:8501": urlsplit(replicas[0].address).netloc,
        "127.0.0.1:8502": urlsplit(replicas[1].address).netloc,
        "listen 80;": f"listen 127.0.0.1:{plain_port};",
        "listen 443 ssl": f"listen 127.0.0.1:{port} ssl",
        "/etc/ssl/ptx/fullchain.pem": f"{folder}/certificate.pem",
        "/etc/ssl/ptx/key.pem": f"{folder}/key.pem",
        "/var/log/nginx/ptx.log": f"{folder}/ptx.log",
        "/var/log/nginx/ptx-error.log": f"{folder}/ptx-error.log",
    }
    text = SETTINGS
    for named, changed in changes.items():
        assert text.count(named) == 1, named
        text = text.replace(named, changed)
    (folder / "ptx.conf").write_text(text, encoding="utf-8")
    user = f"user {getpass.getuser()};" if getpass.getuser() == "root" else ""
    (folder / "nginx.conf").write_text(_AROUND.format(folder=folder, user=user), encoding="utf-8")
    subprocess.run(
        [
            "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
            "-days", "2", "-subj", f"/CN={HOST}", "-keyout", folder / "key.pem", "-out", folder / "certificate.pem",
        ],
        check=True, capture_output=True,
    )  # fmt: skip
    command = [str(NGINX), "-p", str(folder), "-e", str(folder / "error.log"), "-c", str(folder / "nginx.conf")]
    tested = subprocess.run([*command, "-t"], capture_output=True, text=True)
    assert tested.returncode == 0, tested.stderr
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until(lambda: _listens(port) or process.poll() is not None, 30)
        # What nginx would write of a film would be written here. Nobody can, root included.
        for name in ("bodies", "answers"):
            shutil.rmtree(folder / name)
        yield Proxy(port, plain_port, folder / "ptx.log")
    finally:
        process.terminate()
        process.wait(20)


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="module")
def browser():
    if not CHROMIUM:
        pytest.skip(NO_CHROMIUM)
    with running_browser(f"--host-resolver-rules=MAP {HOST} 127.0.0.1") as chromium:
        yield chromium


@pytest.fixture(scope="module")
def places(proxy, replicas) -> dict[str, str]:
    """A cookie's value for each replica."""
    found: dict[str, str] = {}
    for number in range(100):
        found.setdefault(proxy.replica_of(f"{number:032x}"), f"{number:032x}")
    assert set(found) == {urlsplit(replica.address).netloc for replica in replicas}, "one replica gets nobody"
    return found


def visit(browser, proxy: Proxy, place: str | None = None):
    """A page through the proxy, with a cookie that it had before, or none."""
    context = browser.new_context(ignore_https_errors=True, viewport={"width": 1280, "height": 800})
    if place:
        context.add_cookies([{"name": "ptx_place", "value": place, "url": proxy.address}])
    page = context.new_page()
    page.set_default_timeout(180_000)
    return page


def test_plain_http_leads_to_tls(proxy):
    connection = http.client.HTTPConnection("127.0.0.1", proxy.plain_port, timeout=30)
    connection.request("GET", "/?example=normal", headers={"Host": HOST})
    answer = connection.getresponse()
    assert (answer.status, answer.getheader("Location")) == (301, f"https://{HOST}/?example=normal")


@pytest.mark.parametrize("path", ["/", "/_stcore/health", "/no-such-address"])
def test_each_security_header_comes_once(proxy, path):
    _, headers = proxy.ask(path)
    wanted = HEADERS | {
        "Strict-Transport-Security": "max-age=63072000",
        "Content-Security-Policy": "frame-ancestors 'self'",  # the app's own lets Community Cloud frame it
    }
    for name, value in wanted.items():
        assert [given for known, given in headers if known == name.lower()] == [value]
    assert [value for name, value in headers if name == "server"] == ["nginx"]


def test_figures_stay_inside(proxy):
    assert proxy.ask("/_stcore/metrics")[0] == 403


def test_the_size_of_an_upload_is_bounded(proxy):
    limit = re.search(r"maxUploadSize = (\d+)", (ROOT / ".streamlit/config.toml").read_text(encoding="utf-8"))
    allowed = re.search(r"client_max_body_size (\d+)m;", SETTINGS)
    assert limit is not None
    assert allowed is not None
    assert int(limit[1]) < int(allowed[1]) < int(limit[1]) + 10
    status, _ = proxy.ask("/_stcore/upload_file/a/b", "PUT", Content_Length=str(int(allowed[1]) * 1024 * 1024 + 1))
    assert status == 413


def test_another_sites_requests_end_at_the_proxy(proxy):
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec_WebSocket_Version": "13"}
    upgrade |= {"Sec_WebSocket_Key": "AAAAAAAAAAAAAAAAAAAAAA=="}
    for origin, status in [(proxy.address, 101), ("https://elsewhere.example", 403), ("null", 403)]:
        assert _status(proxy, "/_stcore/stream", Origin=origin, **upgrade) == status
        assert proxy.lines()[-1].endswith(" -") is (status == 403), "the app was asked"


def test_another_name_of_the_server_gets_no_connection(proxy):
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec_WebSocket_Version": "13"}
    upgrade |= {"Sec_WebSocket_Key": "AAAAAAAAAAAAAAAAAAAAAA=="}
    assert _status(proxy, "/_stcore/stream", host="rebound.example", **upgrade) == 403


def _status(proxy: Proxy, path: str, host: str = HOST, **headers: str) -> int:
    """Of an answer that is not read to its end, because it has none."""
    trusting = ssl.create_default_context()
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    lines = len(proxy.lines())
    with (
        socket.create_connection(("127.0.0.1", proxy.port), 30) as plain,
        trusting.wrap_socket(plain, server_hostname=HOST) as connection,
    ):
        named = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}:{proxy.port}\r\n{named}\r\n".encode())
        status = int(connection.recv(100).split()[1])
    until(lambda: len(proxy.lines()) > lines, 60)  # an upgraded connection is logged once it is closed
    return status


def test_a_new_visit_gets_its_place_once(proxy):
    _, headers = proxy.ask("/")
    (cookie,) = [value for name, value in headers if name == "set-cookie" and value.startswith("ptx_place")]
    place = re.fullmatch(r"ptx_place=([0-9a-f]{32}); Path=/; Secure; HttpOnly; SameSite=Lax", cookie)
    assert place is not None
    _, headers = proxy.ask("/", Cookie=f"ptx_place={place[1]}")
    assert not [value for name, value in headers if "ptx_place" in value]
    _, headers = proxy.ask("/", Cookie="ptx_place=/../x")
    assert [value for name, value in headers if "ptx_place" in value], "only a place of ours is kept"


@needs_browser
def test_the_example_is_read_through_the_proxy(browser, proxy):
    page = visit(browser, proxy)
    page.goto(f"{proxy.address}/?example=pneumothorax")
    page.get_by_role("heading", name="Pneumothorax flagged").wait_for()
    page.context.close()


@pytest.mark.thorough
@needs_browser
def test_a_visit_stays_at_its_replica(browser, proxy, replicas, places):
    film, _ = film_and_mask(1, True, 1800)  # some megabytes: nginx would write so much to its disk
    for address, place in places.items():
        until(lambda: not any(replica.held()["sessions"] for replica in replicas), 60)
        page = visit(browser, proxy, place)
        connections = []
        page.on("websocket", lambda socket, kept=connections: kept.append(socket.url))
        before = len(proxy.lines())
        page.goto(proxy.address)
        page.get_by_test_id("stFileUploaderDropzone").wait_for()
        drop(page, ("film.dcm", dicom_of(film / 255)))
        all_read(page, 1)
        assert [urlsplit(url).scheme for url in connections] == ["wss"]
        for replica in replicas:
            assert replica.held()["sessions"] == replica.address.endswith(address)
        page.context.close()
        # A connection is logged once it has ended.
        until(lambda: any(" 101 " in line for line in proxy.lines()[before:]), 60)  # noqa: B023
        answered = {line.split()[-1] for line in proxy.lines()[before:]} - {"-"}
        assert answered == {address}
        assert any(" PUT " in line for line in proxy.lines()[before:]), "the film was sent"


def test_the_log_names_nobody(proxy):
    proxy.ask("/_stcore/upload_file/session-number/file-number", "GET")
    text = proxy.log.read_text(encoding="utf-8")
    assert "session-number" not in text
    assert "_stcore" not in text
    assert "127.0.0.1:" in text
    assert not re.search(r"127\.0\.0\.1(?!:)", text), "the client's address"


def test_no_log_has_a_sign_ins_code_or_an_address_even_if_the_replicas_are_gone(tmp_path):
    gone = [SimpleNamespace(address=f"http://127.0.0.1:{port}") for port in _free_ports(2)]
    with running_proxy(tmp_path, gone) as proxy:
        assert proxy.ask("/oauth2callback?code=a-code&state=a-state")[0] == 502
        assert proxy.ask("/_stcore/upload_file/session-number/1", "PUT", Content_Length=str(1 << 30))[0] == 413
        until(lambda: len(proxy.lines()) == 2, 30)
    logged = "".join(path.read_text(encoding="utf-8") for path in tmp_path.glob("*.log"))
    assert " 502 " in logged
    for private in ("a-code", "session-number", "client: "):
        assert private not in logged


@pytest.mark.thorough
@needs_browser
def test_visits_go_on_at_the_other_replica_when_one_is_stopped(browser, replicas, tmp_path):
    with running_server() as third, running_proxy(tmp_path, [replicas[0], third]) as proxy:
        film, _ = film_and_mask(2, True, 400)
        place = next(f"{n:032x}" for n in range(100) if third.address.endswith(proxy.replica_of(f"{n:032x}")))
        page = visit(browser, proxy, place)
        page.goto(proxy.address)
        page.get_by_test_id("stFileUploaderDropzone").wait_for()
        drop(page, ("film.dcm", dicom_of(film / 255)))
        all_read(page, 1)
        third.process.terminate()
        third.process.wait(60)
        # The open page connects again, to the other replica, which has none of its films but takes new ones.
        until(lambda: replicas[0].held()["sessions"] == 1, 60)
        drop(page, ("film.dcm", dicom_of(film / 255)))
        all_read(page, 1)
        page.goto(f"{proxy.address}/?example=pneumothorax")
        page.get_by_role("heading", name="Pneumothorax flagged").wait_for()
        assert replicas[0].address.endswith(proxy.lines()[-1].split()[-1])
        page.context.close()

"""A real HTTP server that misbehaves as it is told, for downloads and archives. It can replace Google Drive."""

import gzip
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter

Answer = Callable[[BaseHTTPRequestHandler], None]


class WeightsServer:
    """`answers` maps a path to its answer, or to a list of answers for successive requests. The last one repeats.

    It refuses connections until `listen` is called.
    """

    def __init__(self, url: str, listen: Callable[[], None]) -> None:
        self.url, self.listen = url, listen
        self.answers: dict[str, Answer | list[Answer]] = {}
        self.asked: list[str] = []

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        self.asked.append(handler.path)
        answers = self.answers.get(urlsplit(handler.path).path, page("not here", 404))
        if isinstance(answers, list):
            answers = answers.pop(0) if len(answers) > 1 else answers[0]
        answers(handler)


@contextmanager
def running_server(*, late: bool = False) -> Iterator[WeightsServer]:
    """A server on a free port. `late`: it listens only once its `listen` is called."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            with suppress(BrokenPipeError, ConnectionResetError):
                server.answer(self)
            self.close_connection = True

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.do_GET()

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler, bind_and_activate=False) as http:
        http.daemon_threads = True
        http.block_on_close = False
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})

        def listen() -> None:
            http.server_activate()
            thread.start()

        http.server_bind()
        server = WeightsServer(f"http://127.0.0.1:{http.server_port}", listen)
        if not late:
            listen()
        try:
            yield server
        finally:
            if thread.is_alive():
                http.shutdown()
                thread.join()


def play_google_drive(server: WeightsServer, monkeypatch: Any) -> None:
    """Redirect requests for Google's hosts to the server, inside requests, so that gdown's own code runs."""
    genuine = HTTPAdapter.send

    def send(self: HTTPAdapter, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        asked_for = str(request.url)
        parts = urlsplit(asked_for)
        if str(parts.hostname).endswith("google.com"):
            request.url = f"{server.url}{parts.path}" + (f"?{parts.query}" if parts.query else "")
        response = genuine(self, request, **options)
        response.url = asked_for
        return response

    monkeypatch.setattr(HTTPAdapter, "send", send)


def file(content: bytes, *, length: int | None = None, pause: float = 0.0, name: str | None = None) -> Answer:
    """A file. `length`: a wrong length to state; `pause`: in s, before the answer; `name`: as Google Drive sends it."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        time.sleep(pause)
        handler.send_response(200)
        handler.send_header("Content-Type", "application/octet-stream")
        handler.send_header("Content-Length", str(len(content) if length is None else length))
        if name:
            handler.send_header("Content-Disposition", f'attachment; filename="{name}"')
        handler.end_headers()
        handler.wfile.write(content)

    return answer


def page(html: str, status: int = 200, cookie: str | None = None) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        handler.send_header("Content-Type", "text/html; charset=utf-8")
        if cookie:
            handler.send_header("Set-Cookie", cookie)
        handler.end_headers()
        handler.wfile.write(html.encode())

    return answer


def stalled(content: bytes, seconds: float) -> Answer:
    """Half of the content, then nothing for a while."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content[: len(content) // 2])
        time.sleep(seconds)

    return answer


def dripping(content: bytes, pause: float) -> Answer:
    """The content one byte at a time, with a pause in s after each."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        for byte in content:
            handler.wfile.write(bytes([byte]))
            time.sleep(pause)

    return answer


def gzipped(content: bytes) -> Answer:
    """The content compressed, even if the client did not ask for it."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Encoding", "gzip")
        handler.end_headers()
        handler.wfile.write(gzip.compress(content))

    return answer


def endless(content: bytes, sent: list[int]) -> Answer:
    """The content repeatedly, until the client disconnects; `sent` collects the sizes."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        for _ in range(2000):
            handler.wfile.write(content)
            sent.append(len(content))

    return answer


def redirect(address: str, then: Answer | None = None) -> Answer:
    """A redirect to another address. The answer `then` follows the headers."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(302)
        handler.send_header("Location", address)
        if then is None:
            handler.end_headers()
        else:
            handler.send_response_only = lambda *_: None  # type: ignore[method-assign]  # `then` ends the headers
            then(handler)

    return answer


QUOTA_PAGE = (
    "<!DOCTYPE html><html><head><title>Google Drive - Quota exceeded</title></head><body>\n"
    '<p class="uc-error-caption">Sorry, you can\'t view or download this file at this time.</p>\n'
    '<p class="uc-error-subcaption">Too many users have viewed or downloaded this file recently. Please try accessing '
    "the file again later.</p>\n</body></html>"
)

SCAN_PAGE = (
    "<!DOCTYPE html><html><head><title>Google Drive - Virus scan warning</title></head><body>\n"
    '<form id="download-form" action="https://drive.usercontent.google.com/download" method="get">'
    '<input type="hidden" name="id" value="{id}"><input type="hidden" name="export" value="download">'
    '<input type="hidden" name="confirm" value="t"></form>\n</body></html>'
)

SIGN_IN_PAGE = "<!DOCTYPE html><html><body><h1>Sign in</h1> to continue to Google Drive</body></html>"

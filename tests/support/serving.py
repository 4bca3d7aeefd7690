"""A real server and a real browser, for tests and for the load test. Everything stays on 127.0.0.1."""

import base64
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ptx_app.model.manifest import ROOT

CHROMIUM = find_spec("playwright") and (
    os.environ.get("PTX_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
)
NO_CHROMIUM = "Chromium is missing: install it with playwright, or set PTX_CHROMIUM to its path"
PATIENCE = 180_000  # milliseconds, long enough for a busy machine; only a test that fails waits so long

QUIET = [
    f"--{name}"
    for name in (
        "no-sandbox",
        "disable-gpu",
        "no-first-run",
        "disable-background-networking",
        "disable-sync",
        "disable-component-update",
        "disable-quic",
    )
]
_DROP = """([zone, files]) => {
  const transfer = new DataTransfer();
  for (const [name, data] of files)
    transfer.items.add(new File([Uint8Array.from(atob(data), (c) => c.charCodeAt(0))], name));
  for (const type of ["dragenter", "dragover", "drop"])
    zone.dispatchEvent(new DragEvent(type, {dataTransfer: transfer, bubbles: true, cancelable: true}));
}"""


class Server:
    """A running server: its address, its process, and everything it has written to stdout and stderr so far."""

    def __init__(self, process: "subprocess.Popen[str]", port: int, host: str) -> None:
        self.process, self.address, self._said = process, f"http://{host}:{port}", []
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        self._said.extend(self.process.stdout)

    @property
    def said(self) -> str:
        return "".join(self._said)

    def get(self, path: str) -> str:
        with urllib.request.urlopen(f"{self.address}{path}", timeout=10) as answer:
            return str(answer.read().decode())

    def held(self) -> dict[str, int]:
        """Connected sessions, and bytes of uploaded files in memory, from the server's own metrics."""
        figures = {}
        for line in self.get("/_stcore/metrics").splitlines():
            if line.startswith("active_sessions "):
                figures["sessions"] = int(line.split()[-1])
            if "UploadedFileManager" in line:
                figures["uploaded"] = int(float(line.split()[-1]))
        return {"sessions": 0, "uploaded": 0} | figures


@contextmanager
def running_server(
    script: Path = ROOT / "app.py",
    *,
    options: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    before: Callable[[], None] | None = None,
    python: str | Path = sys.executable,
    where: str | None = "127.0.0.1",
    host: str = "127.0.0.1",
) -> Iterator[Server]:
    """Start `streamlit run` with the repository's settings on a free port. It stops when the block ends.

    Args:
        script: the page's entry point.
        options: further options of Streamlit.
        environment: variables to add to the current ones.
        before: called in the child process before the server starts.
        python: the interpreter of the environment to run in.
        where: the address to listen on; None to leave that to the settings.
        host: the address at which it then is.
    """
    with socket.socket() as free:
        free.bind((host, 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [
            str(python), "-m", "streamlit", "run", str(script), "--server.headless=true",
            f"--server.port={port}", *([f"--server.address={where}"] if where else []), *options,
        ],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT), **(environment or {})}, preexec_fn=before,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
    )  # fmt: skip
    server = Server(process, port, host)
    try:
        until(lambda: _answers(server), 60)
        yield server
    finally:
        process.terminate()
        process.wait(20)


def _answers(server: Server) -> bool:
    try:
        return server.get("/_stcore/health") == "ok"
    except OSError:
        return False


@contextmanager
def running_browser(*arguments: str) -> Iterator[Any]:
    """Headless Chromium as a Playwright Browser, with further arguments."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=[*QUIET, *arguments])
        try:
            yield chromium
        finally:
            chromium.close()


def open_page(browser: Any, address: str, **context: Any) -> Any:
    """Open a page in its own context, like another user's browser, and wait for the drop zone."""
    page = browser.new_context(**{"viewport": {"width": 1280, "height": 800}} | context).new_page()
    page.set_default_timeout(PATIENCE)
    page.goto(address)
    page.get_by_test_id("stFileUploaderDropzone").wait_for()
    return page


def open_again(tab: Any, address: str, width: int = 1280, height: int = 800) -> Any:
    """Open the page in a tab that had it open for another test, with nothing left of that. Returns the tab.

    A new tab is only for tests that need a browser of another kind, or several at once: it compiles all scripts again,
    which takes longer than most tests.
    """
    tab.goto(f"{address}/_stcore/health")  # where no script keeps anything
    tab.evaluate("() => { localStorage.clear(); sessionStorage.clear(); }")
    tab.context.clear_cookies()
    tab.mouse.move(0, 0)
    tab.set_viewport_size({"width": width, "height": height})
    tab.goto(address)
    tab.get_by_test_id("stFileUploaderDropzone").wait_for()
    return tab


def drop(page: Any, *files: tuple[str, bytes]) -> None:
    """Drop files, given as name and bytes, on the page's drop zone."""
    zone = page.get_by_test_id("stFileUploaderDropzone").filter(visible=True).element_handle()
    page.evaluate(_DROP, [zone, [[name, base64.b64encode(data).decode()] for name, data in files]])


def downloaded(page: Any, button: str) -> bytes:
    """What a button of the page downloads."""
    with page.expect_download() as caught:
        page.get_by_role("button", name=button, exact=True).click()
    return Path(caught.value.path()).read_bytes()


def films_of(page: Any) -> Any:
    """The films in the page's list, as buttons."""
    return page.get_by_role("group", name="Films of this visit").get_by_role("button")


def all_read(page: Any, count: int, seconds: float = 180) -> Any:
    """Wait until the list holds so many films and all are read; returns them."""
    films = films_of(page)
    # The list goes for a moment while Streamlit mounts it again, so films that wait cannot be counted by their absence.
    read = page.locator(".list > button:not(.waiting)")
    until(lambda: films.count() == count == read.count(), seconds)
    return films


def settled(page: Any) -> None:
    """Wait until the browser has drawn what was asked for."""
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => setTimeout(done, 60)))")


def until(holds: Callable[[], bool], seconds: float, every: float = 0.1) -> None:
    """Wait until the condition holds. Fails after `seconds`."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s")
        time.sleep(every)

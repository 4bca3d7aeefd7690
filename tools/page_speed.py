"""How quick the page is, and the memory of its server: `python -m tools.page_speed [--films 200]`.

A real server and a real browser, which draws by software, on this machine. Times are medians. Other work on the machine
makes them worse, so they are only as good as the load that is printed beside them.
`tools.make_speed` writes them into docs/speed.md.
"""

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from tests.support.films import dicom_of, simulated_film
from tests.support.serving import (
    CHROMIUM,
    NO_CHROMIUM,
    Server,
    all_read,
    drop,
    open_page,
    running_browser,
    running_server,
)
from tools.load import Memory

_REPEATS = 5
_BATCH = 20
_SETTINGS = ("Sensitive", "Balanced")
_LARGE = (3000, 2500)  # rows and columns of large films
_LARGE_FILMS = 3
_ALL_READ = f".list:not(:has(.waiting)) > button:nth-of-type({_BATCH})"
_DRAG_SECONDS = 4
_DROPPED = (("verdict", "verdict"), ("drawn", "film on the screen"))
# Seconds from the next event of a kind until each of what is awaited, a name and a selector, is in the page.
_TIME_FROM = """([event, awaited]) => addEventListener(event, () => {
  const begun = performance.now(), seconds = globalThis.ptxSeconds = {}, missing = new Map(Object.entries(awaited));
  const look = () => {
    const components = [...document.querySelectorAll("[data-testid=stBidiComponentIsolated]")];
    const roots = [document, ...components.map((each) => each.shadowRoot).filter(Boolean)];
    for (const [name, selector] of missing) {
      if (!roots.some((root) => root.querySelector(selector))) continue;
      seconds[name] = (performance.now() - begun) / 1000;
      missing.delete(name);
    }
    if (missing.size) requestAnimationFrame(look);
  };
  look();
}, { capture: true, once: true })"""
# The page stops a key that it knows before any listener added later, so an event of its own starts the clock.
_PRESS_J = """() => {
  dispatchEvent(new Event("ptx-key"));
  document.body.dispatchEvent(new KeyboardEvent("keydown", { key: "j", code: "KeyJ", bubbles: true }));
}"""
_QUIET_MS = 500  # after a click, until the server is taken to have said all
# From the moment at which the film has arrived in the browser to that at which it is drawn, in seconds.
_TIME_THE_FILM = """stage => {
  let arrived;
  addEventListener("ptx-film", () => { arrived = performance.now(); }, { once: true });
  globalThis.ptxFrames = 0;
  stage.querySelector(".film").addEventListener("CORNERSTONE_IMAGE_RENDERED", () => { globalThis.ptxFrames++; });
  new MutationObserver((_, observer) => {
    if (arrived === undefined || !stage.dataset.film) return;
    globalThis.ptxDrawn = (performance.now() - arrived) / 1000;
    observer.disconnect();
  }).observe(stage, { attributeFilter: ["data-film"] });
}"""


def film(number: int) -> bytes:
    """A DICOM film of 16 bits whose size tells it from the others."""
    return dicom_of(_greys(1040 + 2 * number, 1024))


def large_film(number: int) -> bytes:
    """A DICOM film of 12 bits whose size tells it from the others."""
    rows, columns = _LARGE
    levels = np.round(_greys(rows + 2 * number, columns) * 4095)
    return dicom_of(levels / np.float32(65535), BitsStored=12, HighBit=11)


def _greys(rows: int, columns: int) -> NDArray[np.float32]:
    return np.asarray(cv2.resize(simulated_film(), (columns, rows), interpolation=cv2.INTER_AREA), np.float32)


def stage(rows: int, columns: int) -> str:
    """The selector of the viewer with a film of that size on the screen."""
    return f'.stage[data-film][data-size="{columns} × {rows}"]'


def timed(page: Any, event: str, awaited: Mapping[str, str], act: Callable[[], object]) -> dict[str, float]:
    """Seconds from an event of the page, which `act` brings about, until each selector matches, by its name."""
    page.evaluate(_TIME_FROM, [event, awaited])
    act()
    page.wait_for_function("count => Object.keys(globalThis.ptxSeconds ?? {}).length === count", arg=len(awaited))
    return dict(page.evaluate("globalThis.ptxSeconds"))


def until_usable(browser: Any, begun: float, server: Server) -> tuple[Any, float]:
    """The page, and seconds from the server's start until films can be dropped."""
    page = open_page(browser, server.address)
    return page, time.monotonic() - begun


def from_drop(page: Any, number: int) -> dict[str, float]:
    """Seconds from the drop of a film on an empty page until its verdict is there, and until the film is drawn."""
    awaited = {"verdict": ".verdict", "drawn": stage(1040 + 2 * number, 1024)}
    return timed(page, "drop", awaited, lambda: drop(page, (f"{number}.dcm", film(number))))


class Traffic:
    """What goes over a page's connection to the server: when the first message went out, and what has come since."""

    def __init__(self, page: Any) -> None:
        self.begin()
        page.on("websocket", self._listen)

    def begin(self) -> None:
        """Forget what was."""
        self._sent, self._last, self.bytes = 0.0, 0.0, 0

    @property
    def seconds(self) -> float:
        """From the first message to the server until its last answer."""
        return self._last - self._sent

    def _listen(self, connection: Any) -> None:
        connection.on("framesent", self._out)
        connection.on("framereceived", self._in)

    def _out(self, _: object) -> None:
        self._sent = self._sent or time.monotonic()

    def _in(self, message: "str | bytes") -> None:
        self._last, self.bytes = time.monotonic(), self.bytes + len(message)


def reaction(page: Any, traffic: Traffic) -> tuple[float, float, int]:
    """After a click on an operating point: seconds until the score's threshold has moved, and the server's share: its
    seconds, and the bytes that it sends.
    """
    threshold = page.locator(".score b")
    seconds, server, sent = [], [], []
    for name in _SETTINGS * _REPEATS:
        traffic.begin()
        was, begun = threshold.get_attribute("style"), time.monotonic()
        page.get_by_text(name, exact=True).click()
        page.wait_for_function("was => document.querySelector('.score b')?.getAttribute('style') !== was", arg=was)
        seconds.append(time.monotonic() - begun)
        page.wait_for_timeout(_QUIET_MS)
        server.append(traffic.seconds)
        sent.append(traffic.bytes)
    return statistics.median(seconds), statistics.median(server), round(statistics.median(sent))


def viewer(page: Any) -> dict[str, str]:
    """How quick the viewer is with large films of 12 bits: to the screen, and while they are windowed and panned.

    One film must be on the screen, so that the viewer is there.
    """
    rows, columns = _LARGE
    page.locator(".stage[data-film]").evaluate(_TIME_THE_FILM)
    for number in range(_LARGE_FILMS):
        drop(page, (f"large-{number}.dcm", large_film(number)))
        all_read(page, 2 + number)
    from_key = []
    for number in range(_LARGE_FILMS):
        awaited = {"drawn": stage(rows + 2 * number, columns)}
        from_key.append(timed(page, "ptx-key", awaited, lambda: page.evaluate(_PRESS_J))["drawn"])
    drawn = page.evaluate("globalThis.ptxDrawn")
    return {
        f"a key to a film of {rows} × {columns} px on the screen, first visit": f"{statistics.median(from_key):.2f} s",
        "the same from its arrival in the browser": f"{drawn:.2f} s",
        "frames a second while it is windowed": f"{frames(page, 'Window'):.0f}",
        "frames a second while it is panned": f"{frames(page, 'Pan'):.0f}",
    }


def frames(page: Any, tool: str) -> float:
    """Frames a second while a tool is dragged over the film."""
    page.get_by_role("button", name=tool, exact=True).click()
    box = page.locator(".stage").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    first, begun, step = page.evaluate("globalThis.ptxFrames"), time.monotonic(), 0
    while time.monotonic() - begun < _DRAG_SECONDS:
        step += 1
        page.mouse.move(x + step % 60, y + step % 45)
    last, seconds = page.evaluate("globalThis.ptxFrames"), time.monotonic() - begun
    page.mouse.up()
    return float((last - first) / seconds)


def clear(page: Any) -> None:
    """Delete all films of the visit."""
    page.get_by_role("button", name="Clear all films").click()
    page.get_by_role("button", name="Delete all").click()
    page.get_by_text("No film at hand?").wait_for()


def measure(films: int) -> dict[str, str]:
    """The figures by what they are of."""
    begun = time.monotonic()
    with running_server() as server, running_browser() as browser:
        memory = Memory(server.process.pid)
        page, usable = until_usable(browser, begun, server)
        from_drop(page, 0)
        first, with_one = time.monotonic() - begun, memory.now()
        traffic = Traffic(page)
        page.reload()  # so that its connection is heard
        page.get_by_text("No film at hand?").wait_for()
        from_drop(page, 0)
        warm = []
        for number in range(1, _REPEATS + 1):
            clear(page)
            warm.append(from_drop(page, number))
        settings, server_settings, sent = reaction(page, traffic)
        drawing = viewer(page)
        batches = []
        for start in range(0, films, _BATCH):
            clear(page)
            files = [(f"{number}.dcm", film(number)) for number in range(start, start + _BATCH)]
            read = timed(page, "drop", {"all": _ALL_READ}, lambda: drop(page, *files))  # noqa: B023  (used at once)
            batches.append(_BATCH / read["all"] * 60)
        after = memory.now()
    held = [f"{each['server']} MiB ({each['readers']} MiB)" for each in (with_one, after)]
    return {
        "page usable after the server's start": f"{usable:.1f} s",
        "first verdict after the server's start": f"{first:.1f} s",
        **{f"drop to {what}, warm": f"{statistics.median(each[key] for each in warm):.2f} s" for key, what in _DROPPED},
        "click on an operating point to new verdict": f"{settings:.2f} s",
        "the server's share of it": f"{server_settings:.3f} s, {sent / 1000:.0f} kB",
        **drawing,
        f"films a minute, {_BATCH} dropped at once": f"{statistics.median(batches):.0f}" if batches else "–",
        "memory of the server with one film (its reading processes)": held[0],
        f"the same after {films} films": held[1],
    }


def main() -> int:
    """Print the figures."""
    parser = argparse.ArgumentParser(description="How quick the page is, and its server's memory.")
    parser.add_argument("--films", type=int, default=200, help="films to read before memory is measured again")
    arguments = parser.parse_args()
    if not CHROMIUM:
        parser.error(NO_CHROMIUM)
    load = os.getloadavg()[0]
    for what, figure in measure(arguments.films).items():
        sys.stdout.write(f"{what}: {figure}\n")
    sys.stdout.write(f"load average before: {load:.1f}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

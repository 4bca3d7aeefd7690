"""How quick the page is, and the memory of its server: `python -m tools.page_speed [--films 200]`.

A real server and a real browser on this machine. Times are medians. Other work on the machine makes them worse, so they
are only as good as the load that is printed beside them. `tools.make_speed` writes them into docs/speed.md.
"""

import argparse
import os
import statistics
import sys
import time
from typing import Any

import cv2
import numpy as np

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


def film(number: int, width: int = 1024) -> bytes:
    """A DICOM film whose size tells it from the others."""
    size = (width, 1040 + 2 * number)
    return dicom_of(np.asarray(cv2.resize(simulated_film(), size, interpolation=cv2.INTER_AREA), np.float32))


def shown(page: Any, number: int, width: int = 1024) -> None:
    """Wait until that film is on the screen with its verdict."""
    page.locator(f'.stage[data-film][data-size="{width} × {1040 + 2 * number}"]').wait_for()
    page.locator(".verdict").wait_for()


def until_usable(browser: Any, begun: float, server: Server) -> tuple[Any, float]:
    """The page, and seconds from the server's start until films can be dropped."""
    page = open_page(browser, server.address)
    return page, time.monotonic() - begun


def reaction(page: Any) -> float:
    """Seconds from a click on an operating point until the score's threshold has moved."""
    threshold = page.locator(".score b")
    seconds = []
    for name in _SETTINGS * _REPEATS:
        was, begun = threshold.get_attribute("style"), time.monotonic()
        page.get_by_text(name, exact=True).click()
        page.wait_for_function("was => document.querySelector('.score b')?.getAttribute('style') !== was", arg=was)
        seconds.append(time.monotonic() - begun)
    return statistics.median(seconds)


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
        drop(page, ("0.dcm", film(0)))
        shown(page, 0)
        first, with_one = time.monotonic() - begun, memory.now()
        warm = []
        for number in range(1, _REPEATS + 1):
            clear(page)
            data, dropped = film(number), time.monotonic()
            drop(page, (f"{number}.dcm", data))
            shown(page, number)
            warm.append(time.monotonic() - dropped)
        settings = reaction(page)
        batches = []
        for start in range(0, films, _BATCH):
            clear(page)
            dropped = time.monotonic()
            drop(page, *((f"{number}.dcm", film(number)) for number in range(start, start + _BATCH)))
            all_read(page, _BATCH)
            batches.append(_BATCH / (time.monotonic() - dropped) * 60)
        after = memory.now()
    return {
        "page usable after the server's start": f"{usable:.1f} s",
        "first verdict after the server's start": f"{first:.1f} s",
        "drop to verdict and film on the screen, warm": f"{statistics.median(warm):.2f} s",
        "click on an operating point to new verdict": f"{settings:.2f} s",
        f"films a minute, {_BATCH} dropped at once": f"{statistics.median(batches):.0f}" if batches else "–",
        "memory of the server with one film (readers)": f"{with_one['server']} MiB ({with_one['readers']} MiB)",
        f"the same after {films} films": f"{after['server']} MiB ({after['readers']} MiB)",
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

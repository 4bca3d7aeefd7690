"""How quick the page is, and the memory of its server: `python -m tools.page_speed [--films 200] [--output FILE]`.

A real server and a real browser on this machine. The tool writes the figures as Markdown; times are medians. Other work
on the machine makes them worse, so they are only as good as the load that is written beside them.
"""

import argparse
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ptx_app.model.manifest import load_manifest
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


def page_of(figures: dict[str, str], load: float) -> str:
    """The figures as Markdown."""
    weights = load_manifest().entry()
    lines = [
        "# How quick the page is",
        "",
        f"Written by `python -m tools.page_speed`. Weights: `{weights.name}`, sha256 `{weights.sha256[:16]}…`. "
        f"{os.cpu_count()} cores; load average before: {load:.1f}. Films of 1024 × about 1050 px, 16 bits, dropped in "
        "Chromium on the same machine, which also draws the film in software: the browser's share is in the times.",
        "",
        "| | |",
        "| --- | --- |",
        *(f"| {what[0].upper()}{what[1:]} | {figure} |" for what, figure in figures.items()),
    ]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser(description="How quick the page is, and its server's memory.")
    parser.add_argument("--films", type=int, default=200, help="films to read before memory is measured again")
    parser.add_argument("--output", type=Path, help="Markdown file to write (default: print)")
    arguments = parser.parse_args()
    if not CHROMIUM:
        parser.error(NO_CHROMIUM)
    load = os.getloadavg()[0]
    text = page_of(measure(arguments.films), load)
    sys.stdout.write(text)
    if arguments.output:
        arguments.output.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

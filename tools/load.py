"""Many users at once on one server: `python -m tools.load [--sessions 20] [--films 3] [--rounds 1] [--json FILE]`.

Each user is a browser page with its own context. It drops films of unique sizes, waits for the verdicts, opens every
film of its list and clears them. The tool prints how many users got all verdicts, how many saw another user's film,
how long it took, how much memory the server held, and how many saw their place in the queue. Further rounds with new
users on the same server show whether memory is returned.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from tests.support.films import dicom_of, simulated_film
from tests.support.serving import (
    CHROMIUM,
    NO_CHROMIUM,
    Server,
    films_of,
    open_page,
    running_browser,
    running_server,
    until,
)

_MOST_SESSIONS, _MOST_FILMS = 40, 5
_KEPT_SECONDS = 5
_PATIENCE = 60  # s that a picked film may take to come
_MIB = 1 << 20


@dataclass
class Reader:
    """One user: the page, the sizes (width, height) of its films, and the results."""

    page: Any
    sizes: list[tuple[int, int]]
    dropped_at: float = 0.0
    seconds: float | None = None
    places: set[str] = field(default_factory=set)
    wrong: int = 0
    late: int = 0


class Memory:
    """Resident memory of the server and its child processes, in MiB."""

    def __init__(self, process: int) -> None:
        self._process, self.peak = process, 0.0

    def now(self) -> dict[str, int]:
        """Current memory from /proc: of the server itself, and of the processes that read films for it."""
        server, *children = (_resident(process) for process in _family(self._process))
        self.peak = max(self.peak, (server + sum(children)) / _MIB)
        return {"server": round(server / _MIB), "readers": round(sum(children) / _MIB)}

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Record the peak while the block runs."""
        over = threading.Event()

        def watch() -> None:
            while not over.wait(0.2):
                self.now()

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        try:
            yield
        finally:
            over.set()
            watcher.join()


def _family(process: int) -> list[int]:
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue  # it has ended
    family = [process]
    for member in family:
        family += [child for child, parent in parents.items() if parent == member]
    return family


def _resident(process: int) -> int:
    try:
        pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def films_for(reader: int, films: int, source: np.ndarray, folder: Path) -> list[tuple[Path, tuple[int, int]]]:
    """Films of a user as files, each with a (width, height) that no other film of the run has."""
    made = []
    for number in range(films):
        size = (1000 + 2 * (reader * films + number), 1062 + number)
        path = folder / f"{reader}-{number}.dcm"
        path.write_bytes(dicom_of(np.asarray(cv2.resize(source, size, interpolation=cv2.INTER_AREA))))
        made.append((path, size))
    return made


def look(reader: Reader, started: float) -> None:
    """Record the place in the queue that the page shows, and whether every film of its list is read."""
    said = reader.page.locator(".list .waiting .standing").all_inner_texts()
    reader.places.update(text.strip() for text in said if "ahead" in text)
    if films_of(reader.page).count() == len(reader.sizes) and reader.page.locator(".list .waiting").count() == 0:
        reader.seconds = time.monotonic() - started


def look_through(reader: Reader) -> None:
    """Open every film of the list. Count films that come too late, and films that the reader never dropped."""
    films, own = films_of(reader.page), [f"{width} × {height}" for width, height in reader.sizes]
    for number, size in enumerate(own):
        films.nth(number).click()
        try:
            until(lambda: reader.page.locator(f'.stage[data-film][data-size="{size}"]').count() == 1, _PATIENCE)  # noqa: B023
        except AssertionError:
            reader.late += 1
        seen = reader.page.locator(".stage[data-film]")
        reader.wrong += seen.count() == 1 and seen.get_attribute("data-size") not in own


def warm_up(server: Server, browser: Any) -> None:
    """Analyse one example first, so that loading the network is not measured."""
    page = open_page(browser, server.address)
    page.get_by_role("button", name="Large pneumothorax").click()
    page.get_by_role("heading", name="Pneumothorax flagged").wait_for(timeout=120_000)
    page.context.close()
    until(lambda: server.held()["sessions"] == 0, 10)
    time.sleep(_KEPT_SECONDS)


def one_round(
    server: Server, browser: Any, dropped: list[list[tuple[Path, tuple[int, int]]]], seconds: float
) -> dict[str, Any]:
    """All users open the page, drop, look, clear and leave. Waits at most about `seconds` for the verdicts."""
    memory = Memory(server.process.pid)
    with memory.watched():
        readers = [Reader(open_page(browser, server.address), [size for _, size in files]) for files in dropped]
        started = time.monotonic()
        for reader, files in zip(readers, dropped, strict=True):
            reader.dropped_at = time.monotonic() - started
            reader.page.locator("input[type=file]").set_input_files([path for path, _ in files])
        while time.monotonic() - started < seconds and any(reader.seconds is None for reader in readers):
            for reader in readers:
                if reader.seconds is None:
                    look(reader, started)
        answered = [reader for reader in readers if reader.seconds is not None]
        for reader in answered:
            look_through(reader)
        holding = memory.now()
        for reader in answered:
            reader.page.get_by_role("button", name="Clear all films").click()
            reader.page.get_by_role("button", name="Delete all").click()
            reader.page.get_by_text("No film at hand?").wait_for(timeout=30_000)
        cleared = memory.now()
        for reader in readers:
            reader.page.context.close()
        until(lambda: server.held()["sessions"] == 0, 20)
        time.sleep(_KEPT_SECONDS)
    waits = sorted(reader.seconds - reader.dropped_at for reader in answered if reader.seconds is not None)
    return (
        {
            "answered": len(answered),
            "wrong_films": sum(reader.wrong for reader in readers),
            "late_films": sum(reader.late for reader in readers),
            "told_their_place": sum(bool(reader.places) for reader in readers),
            "seconds_to_last_verdict_median": round(statistics.median(waits), 1) if waits else None,
            "seconds_to_last_verdict_worst": round(waits[-1], 1) if waits else None,
            "memory_mib_peak": round(memory.peak),
        }
        | {
            f"memory_mib_{when}_{whose}": mib
            for when, held in (("seen", holding), ("cleared", cleared), ("after", memory.now()))
            for whose, mib in held.items()
        }
        | {
            "uploads_held_after": server.held()["uploaded"],
        }
    )


def measure(sessions: int, films: int, seconds: float, rounds: int = 1) -> dict[str, Any]:
    """Run everything on one server. Returns the figures by name, those of the rounds under "rounds"."""
    options = [f"--server.disconnectedSessionTTL={_KEPT_SECONDS}"]
    source = simulated_film()
    with (
        tempfile.TemporaryDirectory() as folder,
        running_server(options=options) as server,
        running_browser() as browser,
    ):
        dropped = [films_for(reader, films, source, Path(folder)) for reader in range(sessions)]
        warm_up(server, browser)
        before = Memory(server.process.pid).now()
        return {
            "sessions": sessions,
            "films_each": films,
            "film_megabytes": round(dropped[0][0][0].stat().st_size / 1e6, 1),
            "cores": os.cpu_count(),
            "memory_mib_before_server": before["server"],
            "memory_mib_before_readers": before["readers"],
            "rounds": [one_round(server, browser, dropped, seconds) for _ in range(rounds)],
            "load_average_at_end": round(os.getloadavg()[0], 1),
        }


def main() -> int:
    """Print the figures. Returns 1 if a user got no verdict or saw another user's film."""
    parser = argparse.ArgumentParser(description="Many users at once on one server on this machine.")
    parser.add_argument("--sessions", type=int, default=20, help=f"users at once, at most {_MOST_SESSIONS}")
    parser.add_argument("--films", type=int, default=3, help=f"films per user, at most {_MOST_FILMS}")
    parser.add_argument("--rounds", type=int, default=1, help="number of rounds")
    parser.add_argument("--seconds", type=float, default=300, help="time limit for the verdicts of a round")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    arguments = parser.parse_args()
    if not CHROMIUM:
        parser.error(NO_CHROMIUM)
    sessions, films = min(arguments.sessions, _MOST_SESSIONS), min(arguments.films, _MOST_FILMS)
    figures = measure(sessions, films, arguments.seconds, arguments.rounds)
    text = json.dumps(figures, indent=2)
    sys.stdout.write(f"{text}\n")
    if arguments.json:
        arguments.json.write_text(f"{text}\n", encoding="utf-8")
    well = all(one["answered"] == sessions and not one["wrong_films"] for one in figures["rounds"])
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())

"""The inbox killed at random: `python -m tools.inbox_kills [--films 1000] [--kills 10] [--document docs/inbox.md]`.

Films of 300 × 320 px, each with an instance UID of its own, wait in a folder; `ptx watch` reads them. It is killed with
SIGKILL after random numbers of films and started again. The tool prints how many films were done once, not at all and
more than once, and with --document writes the figures between the two marks in that file. It fails unless each film was
done once.
"""

import argparse
import hashlib
import io
import json
import random
import re
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import cv2
import pydicom
from pydicom.uid import generate_uid

from tests.support.films import ct_slice
from tests.support.watching import rows_in, small_film, watching
from tools.marked import write_measured

_MOST_FILMS, _MOST_KILLS = 100_000, 1000


def fill(folder: Path, count: int) -> set[str]:
    """Put films into the folder: of ten one that is no chest film, and one that is cut short. Returns their keys."""
    templates = [pydicom.dcmread(io.BytesIO(film)) for film in (small_film(), ct_slice())]
    keys = set()
    for number in range(count):
        dataset = templates[number % 10 == 9]
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        written = io.BytesIO()
        dataset.save_as(written)
        film = written.getvalue() if number % 10 != 8 else written.getvalue()[:20_000]
        (folder / f"{number:06}.dcm").write_bytes(film)
        keys.add(hashlib.sha256(film).hexdigest()[:32])
    return keys


def measure(films: int, kills: int, seed: int) -> dict[str, int | float]:
    """Run the inbox to its end, killed so many times. Returns the figures by name."""
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory() as home:
        folder, output = Path(home, "in"), Path(home, "out")
        folder.mkdir()
        keys = fill(folder, films)
        kill_after = sorted(chance.randrange(films) for _ in range(kills))
        started, logs = time.monotonic(), []
        for number in [*kill_after, films]:
            with watching(folder, output) as watch:
                while len(rows_in(output)) < number:
                    if watch.process.poll() is not None:
                        raise RuntimeError(watch.log)
                    time.sleep(0.1)
                time.sleep(chance.random() / 2)
                watch.end(signal.SIGTERM if number == films else signal.SIGKILL)
                logs.append(watch.log)
        seconds = time.monotonic() - started
        times = Counter(row["file"] for row in rows_in(output))
        status = Counter(row["status"] for row in rows_in(output))
        logged = Counter(re.findall(r"film ([0-9a-f]{32}): (?:ok|failed|rejected) ", "".join(logs)))
        unreadable = sum(
            cv2.imread(str(output / row["mask"])) is None for row in rows_in(output) if row["status"] == "ok"
        )
        return {
            "films": films,
            "kills": kills,
            "done once": sum(times[key] == 1 for key in keys),
            "lost": sum(times[key] == 0 for key in keys),
            "done twice or more": sum(count > 1 for count in times.values()),
            "rows of other films": len(set(times) - keys),
            "finished twice in the log": sum(count > 1 for count in logged.values()),
            "analysed": status["ok"],
            "rejected": status["rejected"],
            "failed": status["failed"],
            "masks that cannot be read": unreadable,
            "half files left": len(list(output.glob(".ptx-*"))),
            "seconds, with the starts after the kills": round(seconds, 1),
        }


def main() -> int:
    """Print the figures. Returns 1 unless each film was done once."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--films", type=int, default=1000)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--document", type=Path, help="write the figures between the marks in this file")
    arguments = parser.parse_args()
    if not (0 < arguments.films <= _MOST_FILMS and 0 <= arguments.kills <= _MOST_KILLS):
        parser.error("too many films or kills")
    figures = measure(arguments.films, arguments.kills, arguments.seed)
    print(json.dumps(figures, indent=2))
    if arguments.document:
        lines = ["| Figure | Measured |", "|---|---|", *(f"| {name} | {value} |" for name, value in figures.items())]
        write_measured(arguments.document, lines)
    wrong = ("lost", "done twice or more", "rows of other films", "finished twice in the log", "half files left")
    return 1 if figures["done once"] != arguments.films or any(figures[name] for name in wrong) else 0


if __name__ == "__main__":
    sys.exit(main())

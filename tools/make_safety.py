"""Writes docs/safety.md: what odd and hostile files came to, what fuzzing found, how many readers are served at once.

PTX_DATA=... python -m tools.make_safety        some fifteen minutes, two cores; needs requirements-dev.txt and Chromium
"""

import argparse
import csv
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from ptx_app.errors import FilmError, NotAFilmError
from ptx_app.film.check.frontal import check
from ptx_app.film.sandbox.reader import SandboxedReader
from ptx_app.model.manifest import load_manifest
from ptx_app.process import begin


def cases(folder: Path) -> tuple[str, str]:
    """What each file of the cases came to, as a table, and a sentence that sums it up."""
    with (folder / "cases.csv").open() as file:
        expected = {row["case"]: row["expected"].split(";")[0] for row in csv.DictReader(file)}
    rows, slowest, lost, counts = [], 0.0, 0, dict.fromkeys(("accepted", "refused", "failed"), 0)
    with SandboxedReader(workers=1) as reader:
        reader.read((folder / "chest_cr_siim_jpegbaseline.dcm").read_bytes())  # a warm worker, as the app has
        for name, wanted in sorted(expected.items()):
            started = time.perf_counter()
            try:
                film = reader.read((folder / name).read_bytes())
            except NotAFilmError as error:
                outcome, why = "refused", error.code
            except FilmError as error:
                outcome, why = "failed", error.code
                lost += error.code == "READER_LOST"
            else:
                rejections = check(film)
                outcome = "refused" if rejections else "accepted"
                why = ", ".join(warning.code for warning in rejections or film.warnings)
            seconds = time.perf_counter() - started
            slowest = max(slowest, seconds)
            counts[outcome] += 1
            rows.append(f"| `{name}` | {wanted} | {outcome} | {why} | {seconds:.2f} |")
    summary = (
        f"{len(rows)} files: {counts['accepted']} accepted, {counts['refused']} refused, {counts['failed']} failed "
        f"with one sentence; the slowest took {slowest:.2f} s. Readers lost: {lost}."
    )
    return "\n".join(["| file | the collection says | outcome | codes | s |", "|---|---|---|---|---|", *rows]), summary


def measured(tool: str, *options: str) -> dict[str, Any]:
    """Run a tool and read the figures that it writes."""
    flag = {"fuzz_film": "--output", "load": "--json"}[tool]
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "figures.json"
        command = [sys.executable, "-W", "ignore", "-m", f"tools.{tool}", *options, flag, str(target)]
        subprocess.run(command, stdout=subprocess.DEVNULL)
        figures: dict[str, Any] = json.loads(target.read_text(encoding="utf-8"))
    return figures


def listed(figures: dict[str, Any]) -> str:
    """Figures as a table, one a row."""
    rows = (f"| {name.replace('_', ' ')} | {value} |" for name, value in figures.items())
    return "\n".join(["| figure | value |", "|---|---|", *rows])


def round_by_round(rounds: list[dict[str, Any]]) -> str:
    """What the load came to in each round, as a table, one a row."""
    names = ("answered", "wrong_films", "seconds_to_last_verdict_worst", "memory_mib_peak", "memory_mib_after_server")
    rows = (
        f"| {number} | {' | '.join(str(figures[name]) for name in names)} |" for number, figures in enumerate(rounds, 1)
    )
    heading = " | ".join(name.replace("_", " ") for name in names)
    return "\n".join([f"| round | {heading} |", f"|{'---|' * (1 + len(names))}", *rows])


def main() -> None:
    """Measure everything and write the page."""
    begin()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=20_000, help="files to fuzz with")
    parser.add_argument("--sessions", type=int, default=20, help="readers at once")
    parser.add_argument("--rounds", type=int, default=10, help="rounds of four readers on one server")
    arguments = parser.parse_args()
    if "PTX_DATA" not in os.environ:
        parser.error("PTX_DATA must name the folder of films and cases.")
    weights = load_manifest().entry()
    table, summary = cases(Path(os.environ["PTX_DATA"]) / "dicom-cases")
    fuzz = measured("fuzz_film", "--files", str(arguments.files))
    outcomes = fuzz.pop("outcomes")
    load = measured("load", "--sessions", str(arguments.sessions))
    (once,) = load.pop("rounds")
    again = measured("load", "--sessions", "4", "--rounds", str(arguments.rounds))
    page = f"""# Safety, measured

Written by `python -m tools.make_safety` on {platform.machine()}, {os.cpu_count()} cores, with the weights
{weights.name} (sha256 `{weights.sha256[:16]}…`). What is promised, and which
tests hold it, stands in [SECURITY.md](../SECURITY.md); the check for chest films is measured in [check.md](check.md).

## Odd, broken and hostile files

{summary}

{table}

## Fuzzing

Whole files damaged at random, one to four times each, read as the app reads them: a child process, 10 s, 768 MiB.

{listed(fuzz)}

Outcomes: {", ".join(f"{code} {count}" for code, count in outcomes.items())}.

## Many readers at once

Browser pages that each drop films of sizes no other film has, look at what they are shown, and clear it.

{listed(load | once)}

### Memory goes back

{again["sessions"]} pages with {again["films_each"]} films each come and go, again and again, on one server that held
{again["memory_mib_before_server"]} MiB once it was warm. The last column is what it holds after each round.

{round_by_round(again["rounds"])}
"""
    Path("docs/safety.md").write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()

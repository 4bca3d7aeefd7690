"""Writes docs/safety.md: odd and hostile files, fuzzing, and many users at once.

PTX_DATA=... python -m tools.make_safety        about 15 minutes on two cores; needs requirements-dev.txt and Chromium
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
from ptx_app.process import begin, typed_command


def cases(folder: Path) -> tuple[str, str]:
    """The outcome of each case as a table, and a summary in one sentence."""
    with (folder / "cases.csv").open() as file:
        expected = {row["case"]: row["expected"].split(";")[0] for row in csv.DictReader(file)}
    rows, slowest, lost, counts = [], 0.0, 0, dict.fromkeys(("accepted", "rejected", "failed"), 0)
    with SandboxedReader(processes=1) as reader:
        reader.read((folder / "chest_cr_siim_jpegbaseline.dcm").read_bytes())  # warm up the child process
        for name, wanted in sorted(expected.items()):
            started = time.perf_counter()
            try:
                film = reader.read((folder / name).read_bytes())
            except NotAFilmError as error:
                outcome, why = "rejected", error.code
            except FilmError as error:
                outcome, why = "failed", error.code
                lost += error.code == "READER_LOST"
            else:
                rejections = check(film)
                outcome = "rejected" if rejections else "accepted"
                why = ", ".join(warning.code for warning in rejections or film.warnings)
            seconds = time.perf_counter() - started
            slowest = max(slowest, seconds)
            counts[outcome] += 1
            rows.append(f"| `{name}` | {wanted} | {outcome} | {why} | {seconds:.2f} |")
    summary = (
        f"{len(rows)} files: {counts['accepted']} accepted, {counts['rejected']} rejected, {counts['failed']} failed "
        f"with an error message. The slowest took {slowest:.2f} s. Readers lost: {lost}."
    )
    return "\n".join(["| file | expected | outcome | codes | s |", "|---|---|---|---|---|", *rows]), summary


def measured(tool: str, *options: str) -> dict[str, Any]:
    """Run a tool and return the figures that it writes."""
    flag = {"fuzz_film": "--output", "load": "--json"}[tool]
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "figures.json"
        command = [sys.executable, "-W", "ignore", "-m", f"tools.{tool}", *options, flag, str(target)]
        subprocess.run(command, stdout=subprocess.DEVNULL)
        figures: dict[str, Any] = json.loads(target.read_text(encoding="utf-8"))
    return figures


def listed(figures: dict[str, Any]) -> str:
    """Figures as a table, one per row; of a list, its length."""
    counted = {name: len(value) if isinstance(value, list) else value for name, value in figures.items()}
    rows = (f"| {name.replace('_', ' ')} | {value} |" for name, value in counted.items())
    return "\n".join(["| figure | value |", "|---|---|", *rows])


def round_by_round(rounds: list[dict[str, Any]]) -> str:
    """The results of each round of the load test as a table, one per row."""
    names = ("answered", "wrong_films", "seconds_to_last_verdict_worst", "memory_mib_peak", "memory_mib_after_server")
    rows = (
        f"| {number} | {' | '.join(str(figures[name]) for name in names)} |" for number, figures in enumerate(rounds, 1)
    )
    heading = " | ".join(name.replace("_", " ") for name in names)
    return "\n".join([f"| round | {heading} |", f"|{'---|' * (1 + len(names))}", *rows])


def main() -> None:
    """Measure everything and write the report."""
    begin()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=20_000, help="number of damaged files")
    parser.add_argument("--sessions", type=int, default=20, help="users at once")
    parser.add_argument("--rounds", type=int, default=10, help="rounds of four users on one server")
    arguments = parser.parse_args()
    if "PTX_DATA" not in os.environ:
        parser.error("Set PTX_DATA to the folder of films and cases.")
    weights = load_manifest().entry()
    table, summary = cases(Path(os.environ["PTX_DATA"]) / "dicom-cases")
    fuzz = measured("fuzz_film", "--files", str(arguments.files))
    outcomes = fuzz.pop("outcomes")
    load = measured("load", "--sessions", str(arguments.sessions))
    (once,) = load.pop("rounds")
    again = measured("load", "--sessions", "4", "--rounds", str(arguments.rounds))
    page = f"""# Safety measurements

Written by `{typed_command()}` on {platform.machine()}, {os.cpu_count()} cores, with the weights
{weights.name} (sha256 `{weights.sha256[:16]}…`). What is promised, and which
tests check it, is in [SECURITY.md](../SECURITY.md). Figures of the film check are in [check.md](check.md).

## Odd, broken and hostile files

{summary}

{table}

## Fuzzing

Intact files, each damaged at random one to four times, read as the app reads them: in the sandbox, with limits of 10 s
and 768 MiB.

{listed(fuzz)}

Outcomes: {", ".join(f"{code} {count}" for code, count in outcomes.items())}.

## Many users at once

Browser pages that each drop films of unique sizes, check what they are shown, and clear them. "Readers" are the
processes that read films for the server.

{listed(load | once)}

### Memory is returned

{again["sessions"]} pages with {again["films_each"]} films each open and close repeatedly, on one server that held
{again["memory_mib_before_server"]} MiB after warm-up. The last column is what it holds after each round.

{round_by_round(again["rounds"])}
"""
    Path("docs/safety.md").write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()

"""Writes docs/speed.md and its figure: how quick everything is, and how cost grows with films and readers.

python -m tools.make_speed        about 15 minutes on two quiet cores; needs requirements-dev.txt and Chromium
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from matplotlib.figure import Figure

from ptx_app.evaluation import speed
from ptx_app.evaluation.speed import Times
from ptx_app.film.sandbox.reader import SandboxedReader
from ptx_app.model.manifest import ROOT, Weights, load_manifest
from ptx_app.pipeline import Detector
from ptx_app.process import begin, typed_command
from ptx_app.weights.fetch import locate
from tests.support.films import dicom_of, simulated_film
from tests.support.serving import CHROMIUM, NO_CHROMIUM
from tools import load, page_speed
from tools.load import Memory

_SIDES = (512, 1024, 2048, 3000, 4000)
_FILMS = (1, 10, 100, 1000)
_SESSIONS = (1, 5, 20)
_FILMS_EACH = 3
_WITHIN = 600.0  # s that sessions may wait


@dataclass(frozen=True)
class Growth:
    """How cost grows.

    Attributes:
        sides: for each film side in px, the times from bytes to contour: of the app, and of the plain way.
        films: for each number of films in a folder, seconds of `ptx predict`, and the most memory of it and its readers
            in MiB.
        sessions: for each number of readers at once, what `tools.load` found.
    """

    sides: dict[int, dict[str, Times]]
    films: dict[int, tuple[float, float]]
    sessions: dict[int, dict[str, Any]]


def film(side: int, number: int = 0) -> bytes:
    """An uncompressed DICOM film, 16 bits, of `side` x `side` px. `number` makes its pixels differ from others'."""
    pixels = cv2.resize(simulated_film(), (side, side), interpolation=cv2.INTER_LINEAR)
    pixels[0, 0] = (number % 1000) / 1000
    return dicom_of(np.asarray(pixels, np.float32))


def by_side(weights: Weights, sides: Sequence[int], rounds: int) -> dict[int, dict[str, Times]]:
    """From bytes to contour for films of each side, in the app and in the plain way, by turns."""
    grown = {}
    with SandboxedReader(processes=1) as reader:
        detector = replace(Detector.load(lungs=True), read=reader.read)
        for side in sides:
            data = film(side)
            app, plain = speed.app_way(detector, data), speed.plain_way(weights, locate(weights), data)
            grown[side] = speed.timed_in_turns({"app": app, "plain torch": plain}, rounds)
    return grown


def by_films(counts: Sequence[int], side: int = 1024) -> dict[int, tuple[float, float]]:
    """Seconds and peak memory of `ptx predict` for folders of so many films, start included."""
    grown = {}
    for count in counts:
        with tempfile.TemporaryDirectory() as made:
            films, results = Path(made) / "films", Path(made) / "results"
            films.mkdir()
            for number in range(count):
                (films / f"{number}.dcm").write_bytes(film(side, number))
            command = [sys.executable, "-m", "ptx_app", "predict", str(films), "--output", str(results)]
            begun = time.monotonic()
            with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
                memory = Memory(process.pid)
                with memory.watched():
                    if process.wait():
                        raise SystemExit("ptx predict failed")
            grown[count] = (time.monotonic() - begun, memory.peak)
    return grown


def by_sessions(counts: Sequence[int]) -> dict[int, dict[str, Any]]:
    """What so many readers at once wait, and what the server's memory is then."""
    return {count: load.measure(count, _FILMS_EACH, _WITHIN)["rounds"][0] for count in counts}


def draw(growth: Growth, file: Path) -> None:
    """The three curves as a PNG."""
    figure = Figure(figsize=(11, 3.4), layout="constrained")
    side, films, sessions = figure.subplots(1, 3)
    for way in ("plain torch", "app"):
        medians = [times[way].median for times in growth.sides.values()]
        side.plot(list(growth.sides), medians, "o-", label=way)
    side.set(xlabel="side of the film (px)", ylabel="bytes to contour (s)", ylim=(0, None))
    side.legend(frameon=False)
    rates = [60 * count / seconds for count, (seconds, _) in growth.films.items()]
    films.plot(list(growth.films), rates, "o-")
    films.set(xscale="log", xlabel="films in a folder", ylabel="films a minute, start included", ylim=(0, None))
    waits = [each["seconds_to_last_verdict_median"] for each in growth.sessions.values()]
    sessions.plot(list(growth.sessions), waits, "o-")
    sessions.set(xlabel="readers at once", ylabel=f"last of {_FILMS_EACH} verdicts (s, median)", ylim=(0, None))
    figure.savefig(file, dpi=110)


def benchmark(rounds: int) -> dict[str, Any]:
    """The figures of `ptx benchmark`."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "figures.json"
        command = [sys.executable, "-m", "ptx_app", "benchmark", "--rounds", str(rounds), "--json", str(file)]
        subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        document: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return document


def page_of(weights: Weights, figures: Mapping[str, Any], page: Mapping[str, str], growth: Growth, busy: float) -> str:
    """The report as Markdown."""
    sides = (
        f"| {side} | {times['app'].median:.3f} | {times['plain torch'].median:.3f} "
        f"| {times['plain torch'].median / times['app'].median:.2f} |"
        for side, times in growth.sides.items()
    )
    films = (
        f"| {count} | {seconds:.1f} | {60 * count / seconds:.0f} | {memory:.0f} |"
        for count, (seconds, memory) in growth.films.items()
    )
    sessions = (
        f"| {count} | {each['answered']} | {each['wrong_films']} | {each['seconds_to_last_verdict_median']} "
        f"| {each['seconds_to_last_verdict_worst']} | {each['memory_mib_peak']} |"
        for count, each in growth.sessions.items()
    )
    passes = ", on a film and its mirror image" if weights.flip_averaging else ""
    return f"""# Speed and memory

Written by `{typed_command()}`; no figure is typed by hand. Weights: `{weights.name}`, sha256
`{weights.sha256[:16]}…`. {figures["machine"]}; load average before: {busy:.1f}. The ways of one table took turns in one
run, {figures["rounds"]} rounds, so trust the ratios more than the seconds. *Plain torch* is what a tutorial would show:
pydicom's own pixels and torch in fp32, with as many passes of the network.

## One film of 1024 px

| From bytes to contour | s (fastest to slowest) | times as fast as plain torch |
| --- | --- | --- |
{_ways(figures["bytes_to_contour"])}

| The network alone{passes} | s (fastest to slowest) | times as fast as plain torch |
| --- | --- | --- |
{_ways(figures["network"])}

| Step of the app | ms (fastest to slowest) |
| --- | --- |
{_steps(figures["steps"][0])}

| A new process | loaded (s) | first film (s) | memory (MB) |
| --- | --- | --- | --- |
{_processes(figures["new_process"])}

## The page

A real server and Chromium on the same machine, which also draws the films in software: the browser's share is in the
times. Films of 1024 × about 1050 px, 16 bits.

| | |
| --- | --- |
{_rows(page)}

## How cost grows

![Bytes to contour by side, films a minute by number of films, wait by number of readers](speed.png)

Films of 16 bits without compression. The network always gets {weights.input.side} px, so only reading, drawing and
outlining grow with the film.

| Side of the film (px) | app (s) | plain torch (s) | ratio |
| --- | --- | --- | --- |
{_lines(sides)}

`ptx predict` on a folder of films of 1024 px, start included:

| Films | s | films a minute | peak memory, reading processes included (MiB) |
| --- | --- | --- | --- |
{_lines(films)}

Readers who drop {_FILMS_EACH} films each at the same moment:

| Readers | got all verdicts | saw another's film | last verdict, median (s) | worst (s) | peak memory (MiB) |
| --- | --- | --- | --- | --- | --- |
{_lines(sessions)}
"""


def _lines(rows: Any) -> str:
    return "\n".join(rows)


def _ways(ways: Mapping[str, Mapping[str, float]]) -> str:
    plain = ways["plain torch"]["median"]
    return _lines(
        f"| {name} | {each['median']:.3f} ({each['fastest']:.3f} to {each['slowest']:.3f}) "
        f"| {plain / each['median']:.2f} |"
        for name, each in ways.items()
    )


def _steps(steps: Mapping[str, Mapping[str, float]]) -> str:
    return _lines(
        f"| {name} | {1000 * each['median']:.1f} ({1000 * each['fastest']:.1f} to {1000 * each['slowest']:.1f}) |"
        for name, each in steps.items()
    )


def _processes(processes: Mapping[str, Mapping[str, float]]) -> str:
    return _lines(
        f"| {name} | {each['loaded']:.1f} | {each['first_film']:.1f} | {each['memory']:.0f} |"
        for name, each in processes.items()
    )


def _rows(page: Mapping[str, str]) -> str:
    return _lines(f"| {what[0].upper()}{what[1:]} | {figure} |" for what, figure in page.items())


def main() -> int:
    """Measure everything, and write the report and its figure."""
    begin()
    parser = argparse.ArgumentParser(description="Write docs/speed.md.")
    parser.add_argument("--rounds", type=int, default=11, help="how often each way is timed")
    parser.add_argument("--films", type=int, default=200, help="films on the page before memory is measured again")
    parser.add_argument("--most", type=int, default=_FILMS[-1], help="most films in a folder")
    parser.add_argument("--output", type=Path, default=ROOT / "docs", help="folder to write speed.md and speed.png to")
    arguments = parser.parse_args()
    if not CHROMIUM:
        parser.error(NO_CHROMIUM)
    busy = os.getloadavg()[0]
    weights = load_manifest().entry()
    figures, page = benchmark(arguments.rounds), page_speed.measure(arguments.films)
    growth = Growth(
        by_side(weights, _SIDES, arguments.rounds),
        by_films([count for count in _FILMS if count <= arguments.most]),
        by_sessions(_SESSIONS),
    )
    draw(growth, arguments.output / "speed.png")
    (arguments.output / "speed.md").write_text(page_of(weights, figures, page, growth, busy), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Films a minute over a Dask cluster on this machine: `python -m tools.cluster_speed [--document docs/cluster.md]`.

`ptx predict` on a folder of DICOM films of 1024 px: in one process, with one worker, and with two. The ways take turns,
and the better of two runs counts. With --document the figures, and what follows from them for more machines, are
written between the two marks in that file.
"""

import argparse
import contextlib
import io
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
from distributed import LocalCluster

from ptx_app.__main__ import main as ptx
from ptx_app.process import begin
from tests.support.films import dicom_of, simulated_film
from tests.support.watching import rows_in
from tools.marked import write_measured

_SIDE = 1024
_MACHINES = (4, 8, 16)
_NETWORK = 1e9 / 8  # bytes a second of the network in the table


def fill(folder: Path, count: int) -> int:
    """Write films that differ a little. Returns the bytes of one."""
    film = cv2.resize(simulated_film(), (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    for number in range(count):
        data = dicom_of(np.asarray(film * (1 - number / (4 * count)), np.float32))
        (folder / f"{number:04}.dcm").write_bytes(data)
    return len(data)


def seconds(films: Path, count: int, workers: int) -> float:
    """Of one run with so many workers; 0 is without a cluster. The cluster is there before the time begins."""
    with tempfile.TemporaryDirectory() as output, contextlib.ExitStack() as stack:
        options: list[str] = []
        if workers:
            cluster = stack.enter_context(
                LocalCluster(n_workers=workers, threads_per_worker=2, host="127.0.0.1", dashboard_address="127.0.0.1:0")
            )
            options = ["--scheduler", cluster.scheduler_address]
        begun = time.monotonic()
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            ptx(["predict", str(films), "--output", output, *options])
        taken = time.monotonic() - begun
        if [row["status"] for row in rows_in(Path(output))].count("ok") != count:
            raise RuntimeError("not all films were analysed")
        return taken


def table(count: int, size: int, taken: dict[int, float]) -> list[str]:
    """The measured rows, then the rows on paper."""
    names = {0: "one process, no cluster", 1: "one worker", 2: "two workers on the same two cores"}
    rows = [f"| {names[workers]} | {each:.1f} | {60 * count / each:.0f} |" for workers, each in taken.items()]
    one, most = 60 * count / taken[1], 60 * _NETWORK / size
    for machines in _MACHINES:
        films = f"{min(machines * one, most):,.0f}"
        limited = f" ({machines * one:,.0f} without that limit)" if machines * one > most else ""
        rows.append(f"| on paper: {machines} workers, each on two cores of its own, at 1 Gbit/s | | {films}{limited} |")
    head = f"{count} DICOM films of {_SIDE} px, {size / 1e6:.1f} MB each."
    return [head, "", "| | s | films a minute |", "| --- | --- | --- |", *rows]


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--films", type=int, default=100)
    parser.add_argument("--document", type=Path, help="write the figures between the marks in this file")
    arguments = parser.parse_args()
    begin()
    with tempfile.TemporaryDirectory() as home:
        films = Path(home, "films")
        films.mkdir()
        size = fill(films, arguments.films)
        taken = dict.fromkeys((0, 1, 2), float("inf"))
        for _ in range(2):
            for workers, best in taken.items():
                taken[workers] = min(best, seconds(films, arguments.films, workers))
    lines = table(arguments.films, size, taken)
    print("\n".join(lines))
    if arguments.document:
        write_measured(arguments.document, lines)
    return 0


if __name__ == "__main__":
    sys.exit(main())

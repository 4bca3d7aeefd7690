"""A real `ptx watch` in a process of its own, and what it has written."""

import csv
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np

from ptx_app.model.manifest import ROOT
from tests.support.films import dicom_of, simulated_film
from tests.support.serving import until

PATIENCE = 180  # seconds, for a busy machine; only a test that fails waits so long


def small_film(**tags: object) -> bytes:
    """A chest film of 300 × 320 px as DICOM, with a SOP Instance UID of its own."""
    pixels = cv2.resize(simulated_film(), (300, 320), interpolation=cv2.INTER_AREA)
    return dicom_of(np.asarray(pixels, np.float32), **tags)


class Watch:
    """The process, its folders, and its log so far."""

    def __init__(self, folder: Path, output: Path, *options: str, program: Sequence[str] = ("ptx_app",)) -> None:
        self.folder, self.output, self._lines = folder, output, []
        words = ["watch", str(folder), "--output", str(output), "--settle", "0", *options]
        self.process = subprocess.Popen(
            [sys.executable, "-m", *program, *words],
            cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
        )  # fmt: skip
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        self._lines.extend(self.process.stdout)

    @property
    def log(self) -> str:
        return "".join(self._lines)

    def rows(self) -> list[dict[str, str]]:
        return rows_in(self.output)

    def wait_for_rows(self, number: int) -> None:
        until(lambda: len(self.rows()) >= number, PATIENCE)

    def port(self, what: str) -> int:
        """A port that the log names: the first number after these words."""
        pattern = re.compile(rf"{what}\D*(\d+)")
        until(lambda: pattern.search(self.log) is not None, PATIENCE)
        found = pattern.search(self.log)
        assert found
        return int(found[1])

    def end(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal, wait for the end and return the exit status."""
        self.process.send_signal(how)
        status = self.process.wait(PATIENCE)
        self._listener.join(PATIENCE)
        return status


@contextmanager
def watching(folder: Path, output: Path, *options: str, program: Sequence[str] = ("ptx_app",)) -> Iterator[Watch]:
    """Watch the folder while the block runs. `program`: Python's module that does so, and its own words."""
    watch = Watch(folder, output, *options, program=program)
    try:
        yield watch
    finally:
        if watch.process.poll() is None:
            watch.process.kill()
            watch.process.wait()


def rows_in(output: Path) -> list[dict[str, str]]:
    """The table's complete rows; empty if there is no table yet."""
    table = output / "results.csv"
    if not table.exists():
        return []
    text = table.read_text(encoding="utf-8", errors="replace")
    return list(csv.DictReader(text[: text.rfind("\n") + 1].splitlines()))

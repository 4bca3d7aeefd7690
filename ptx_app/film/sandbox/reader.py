"""Reads untrusted files in child processes with memory and time limits.

If a file makes a decoder crash, hang or use too much memory, only its child process is lost, never the app. Children
start when they are first needed and are reused. A lost one is replaced for the next film.
"""

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, TypeVar, cast

from ptx_app.errors import FilmError
from ptx_app.fair_queue import FairQueue
from ptx_app.film.radiograph import Radiograph
from ptx_app.film.sandbox.child import (
    FILM,
    MOST_FACTS,
    MOST_LEVELS,
    MOST_PIXELS,
    MOST_REQUEST,
    MOST_SHADES,
    READY,
    SOURCE,
    receive,
    send,
    understood,
    understood_source,
)
from ptx_app.film.source import SourceReference

Understood = TypeVar("Understood", Radiograph, SourceReference | None)
_ROOT = str(Path(__file__).resolve().parents[3])
_CHILD = ("-m", "ptx_app.film.sandbox.child")
_START_SECONDS = 120.0  # long, because loading the child's modules can be slow on a busy machine
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
_SECRETS = {"PTX_AUDIT_KEY"}  # not for a process that parses strangers' files


class SandboxedReader:
    """A pool of reading processes. Many threads may use it at once; they wait if none is free."""

    def __init__(self, processes: int = 2, seconds: float = 10.0, memory_bytes: int = 768 << 20) -> None:
        """Create the pool. No process is started yet.

        Args:
            processes: number of files to read at the same time.
            seconds: time limit per file, from when its process is ready.
            memory_bytes: memory limit per file, on top of the child's own memory (on Linux only).
        """
        self._seconds, self._memory_bytes = seconds, memory_bytes
        self._fair_queue = FairQueue(processes)
        self._idle: queue.LifoQueue[subprocess.Popen[bytes] | None] = queue.LifoQueue()
        for _ in range(processes):
            self._idle.put(None)

    def read(self, data: bytes, on_wait: Callable[[int], None] = lambda _: None) -> Radiograph:
        """Read a film from the bytes of a file, like `read_film` and with its errors. First come, first served.

        Args:
            data: the file's bytes.
            on_wait: called repeatedly while all processes are busy, with the number of films ahead of this one.

        Raises:
            FilmError: as `read_film`; also TOO_SLOW or READER_LOST if a limit or a crash ended the reading, and
                READER_NOT_STARTED if no process could be started.
        """
        with self._fair_queue.turn(on_wait):
            return self._read(FILM, data, understood)

    def read_source(self, data: bytes, on_wait: Callable[[int], None] = lambda _: None) -> SourceReference | None:
        """Read what a film's own header says about the patient, like `ptx_app.film.reading.read_source`.

        Only for exports for which the user asked. Arguments and errors as in `read`.
        """
        with self._fair_queue.turn(on_wait):
            return self._read(SOURCE, data, understood_source)

    def _read(self, wanted: bytes, data: bytes, understood: Callable[..., Understood]) -> Understood:
        process, answered = self._idle.get(), None
        try:
            if process is None or process.poll() is not None:
                process = self._start()
            outcome = self._ask(process, wanted, data, understood)
            answered = process
        finally:
            # A process that has not answered in full must not be reused: its late answer would go to the next film.
            try:
                if answered is None:
                    _ended(process)
            finally:
                self._idle.put(answered)
        if isinstance(outcome, FilmError):
            raise outcome
        return outcome

    def _start(self) -> subprocess.Popen[bytes]:
        """Start a process and wait until it is ready for a file."""
        process = subprocess.Popen(  # noqa: S603  (our own module)
            [sys.executable, *_CHILD, str(self._memory_bytes), str(self._seconds)],
            cwd=_ROOT,
            env={name: value for name, value in os.environ.items() if name not in _SECRETS} | _ONE_THREAD,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # decoder messages may quote the header
        )
        watch = threading.Timer(_START_SECONDS, process.kill)
        watch.start()
        try:
            ready = cast(BinaryIO, process.stdout).read(len(READY)) == READY
        except BaseException:
            _ended(process)
            raise
        finally:
            watch.cancel()
        if not ready:
            _ended(process)
            raise FilmError("READER_NOT_STARTED", "The film reader could not be started. Open the film again.")
        return process

    def _ask(
        self,
        process: subprocess.Popen[bytes],
        wanted: bytes,
        data: bytes,
        understood: Callable[..., Understood],
    ) -> Understood | FilmError:
        """What was wanted, or the error that the process reports.

        Raises:
            FilmError: TOO_SLOW or READER_LOST if there was no valid answer.
        """
        late = threading.Event()

        def stop() -> None:
            late.set()
            process.kill()

        watch = threading.Timer(self._seconds, stop)
        watch.start()
        try:
            # Of a file that is too large, one byte more than the limit is enough for the right error.
            send(cast(BinaryIO, process.stdin), wanted, memoryview(data)[:MOST_REQUEST])
            answer = cast(BinaryIO, process.stdout)
            facts = json.loads(receive(answer, MOST_FACTS))
            return understood(facts, *(receive(answer, most) for most in (MOST_PIXELS, MOST_LEVELS, MOST_SHADES)))
        except FilmError as refusal:
            return refusal
        except (EOFError, OSError, ValueError, TypeError, KeyError, RecursionError) as error:
            if late.is_set():
                raise FilmError(
                    "TOO_SLOW", f"Reading this file took longer than {self._seconds:g} seconds. Export the film again."
                ) from error
            raise FilmError(
                "READER_LOST", "The film reader failed on this file. It may be damaged. Export the film again."
            ) from error
        finally:
            watch.cancel()

    def close(self) -> None:
        """End all idle child processes. Busy ones are not stopped."""
        idle = []
        with contextlib.suppress(queue.Empty):
            while True:
                idle.append(self._idle.get_nowait())
        for process in idle:
            _ended(process)
            self._idle.put(None)

    def __enter__(self) -> "SandboxedReader":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _ended(process: subprocess.Popen[bytes] | None) -> None:
    if process is None:
        return
    process.kill()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            try:
                pipe.close()
            except OSError:  # data was still to be written, but the process is gone
                continue
    process.wait()

"""Reads files of strangers in child processes, under a limit of memory and of time.

A file that makes a decoder crash, hang or take all memory costs its child process, never the app. Workers are started
when they are first needed and stay warm; a lost one is replaced for the next film.
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
from typing import BinaryIO, cast

from ptx_app.errors import FilmError
from ptx_app.fair_queue import FairQueue
from ptx_app.film.radiograph import Radiograph
from ptx_app.film.sandbox.worker import MOST_FACTS, MOST_PIXELS, MOST_REQUEST, READY, receive, send, understood

_ROOT = str(Path(__file__).resolve().parents[3])
_WORKER = ("-m", "ptx_app.film.sandbox.worker")
_START_SECONDS = 120.0  # a busy machine may take long to load what the worker needs; no film waits for that in vain
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


class SandboxedReader:
    """A pool of reading processes. May be used by many threads at once; those that find no worker free wait."""

    def __init__(self, workers: int = 2, seconds: float = 10.0, memory_bytes: int = 768 << 20) -> None:
        """Nothing is started yet.

        Args:
            workers: how many files are read at the same time.
            seconds: how long one file may take, from when its process is ready for it.
            memory_bytes: what one file may take beside the worker itself (on Linux).
        """
        self._seconds, self._memory_bytes = seconds, memory_bytes
        self._fair_queue = FairQueue(workers)
        self._idle: queue.LifoQueue[subprocess.Popen[bytes] | None] = queue.LifoQueue()
        for _ in range(workers):
            self._idle.put(None)

    def read(self, data: bytes, on_wait: Callable[[int], None] = lambda _: None) -> Radiograph:
        """Read a film from the bytes of a file, as `read_film` does, with its errors; first come, first served.

        Args:
            data: the file's bytes.
            on_wait: told again and again, while all workers are busy, how many films are to be done before this one.

        Raises:
            FilmError: also TOO_SLOW and READER_LOST, where the limits or a crash ended the reading, and
                READER_NOT_STARTED, where no process could be had.
        """
        with self._fair_queue.turn(on_wait):
            return self._read(data)

    def _read(self, data: bytes) -> Radiograph:
        process, answered = self._idle.get(), None
        try:
            if process is None or process.poll() is not None:
                process = self._start()
            outcome = self._ask(process, data)
            answered = process
        finally:
            # One that has not answered in full may yet do so, and the next film would be taken for this one.
            try:
                if answered is None:
                    _ended(process)
            finally:
                self._idle.put(answered)
        if isinstance(outcome, FilmError):
            raise outcome
        return outcome

    def _start(self) -> subprocess.Popen[bytes]:
        """A process that is ready for a file."""
        process = subprocess.Popen(  # noqa: S603  (our own module)
            [sys.executable, *_WORKER, str(self._memory_bytes), str(self._seconds)],
            cwd=_ROOT,
            env=os.environ | _ONE_THREAD,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # a decoder's complaint may quote the header
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
            raise FilmError("READER_NOT_STARTED", "The reader of films could not be started. Open the film again.")
        return process

    def _ask(self, process: subprocess.Popen[bytes], data: bytes) -> Radiograph | FilmError:
        """The film, or why the process says that it is none.

        Raises:
            FilmError: TOO_SLOW or READER_LOST, where there was no answer.
        """
        late = threading.Event()

        def stop() -> None:
            late.set()
            process.kill()

        watch = threading.Timer(self._seconds, stop)
        watch.start()
        try:
            # One byte more than may be read is enough to be told so.
            send(cast(BinaryIO, process.stdin), memoryview(data)[:MOST_REQUEST])
            answer = cast(BinaryIO, process.stdout)
            facts = json.loads(receive(answer, MOST_FACTS))
            return understood(facts, receive(answer, MOST_PIXELS))
        except FilmError as refusal:
            return refusal
        except (EOFError, OSError, ValueError, TypeError, KeyError, RecursionError) as error:
            if late.is_set():
                raise FilmError(
                    "TOO_SLOW", f"Reading this file took longer than {self._seconds:g} seconds. It was not read."
                ) from error
            raise FilmError(
                "READER_LOST", "This file made the reader fail, so it is damaged or hostile. It was not read."
            ) from error
        finally:
            watch.cancel()

    def close(self) -> None:
        """End the workers that are idle; those at work end with their film."""
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
            except OSError:  # what was still to be written has nowhere to go
                continue
    process.wait()

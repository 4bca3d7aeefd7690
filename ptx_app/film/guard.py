"""Reading in child processes, so that no file can take the app's memory, time or life.

A few children are kept warm, so that a good film pays for little more than its way through a pipe. They are started as
programs of their own, never forked: the app has threads, and its main module is Streamlit's.
"""

import contextlib
import json
import os
import subprocess
import sys
import threading
from dataclasses import asdict
from pathlib import Path
from queue import LifoQueue
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from ptx_app.errors import FilmError, NotAFilmError
from ptx_app.film.limits import Limits
from ptx_app.film.radiograph import PixelSpacing, Radiograph, Remark, View

_PACKAGE_FOLDER = Path(__file__).parents[2]
_LONGEST_REPLY = 1 << 16
# The network's host has few cores and every library wants them all; one film is not worth a thread pool's memory.
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "OPENCV_FOR_THREADS_NUM": "1"}


class GuardedReader:
    """Reads films in children with bounded memory and time. Safe to call from many threads; those above `workers` wait.

    Args:
        workers: children at most. Each is started when first needed and takes about 80 MB while idle.
        seconds: after this time on one film a child is killed.
        memory_bytes: what a child may allocate. The largest film within the default limits needs about half of it.
        limits: what is too large to be read at all.
    """

    def __init__(
        self,
        workers: int = 2,
        seconds: float = 10.0,
        memory_bytes: int = 1 << 30,
        limits: Limits = Limits(),  # noqa: B008  frozen
    ) -> None:
        self._seconds = seconds
        self._limits = limits
        self._settings = json.dumps({"memory_bytes": memory_bytes, **asdict(limits)})
        # Last in, first out: a quiet server keeps one child warm and never starts the others.
        self._idle: LifoQueue[_Child | None] = LifoQueue()
        self._workers = workers
        for _ in range(workers):
            self._idle.put(None)

    def read(self, data: bytes) -> Radiograph:
        """Read a film as `read_film` does.

        Raises:
            NotAFilmError: see `read_film`.
            FilmError: see `read_film`; also READER_TIMED_OUT, READER_OUT_OF_MEMORY and READER_DIED.
        """
        if len(data) > self._limits.file_bytes:
            from ptx_app.film.reading import read_film

            return read_film(data, self._limits)  # raises at once; such a file need not go through a pipe
        child = self._idle.get()
        try:
            if child is None or not child.alive:
                child = _Child(self._settings)
            return child.read(data, self._seconds, self._limits)
        finally:
            self._idle.put(child if child and child.alive else None)

    def warm(self) -> None:
        """Start one child, so that the first film need not wait for it."""
        child = self._idle.get()
        self._idle.put(child if child and child.alive else _Child(self._settings))

    def close(self) -> None:
        """End the children, once those at work are done. The reader can be used again afterwards."""
        for child in [self._idle.get() for _ in range(self._workers)]:
            if child:
                child.end()
            self._idle.put(None)


class _Child:
    def __init__(self, settings: str) -> None:
        path = os.pathsep.join(filter(None, [str(_PACKAGE_FOLDER), os.environ.get("PYTHONPATH")]))
        self._process = subprocess.Popen(  # noqa: S603  our own interpreter and module
            [sys.executable, "-B", "-m", "ptx_app.film.worker", settings],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # a dying library's last words may quote the file
            env={**os.environ, **_ONE_THREAD, "PYTHONPATH": path},
        )
        self._requests: IO[bytes] = self._process.stdin  # type: ignore[assignment]  both are pipes
        self._replies: IO[bytes] = self._process.stdout  # type: ignore[assignment]

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._requests, self._replies):
            with contextlib.suppress(OSError):  # what was not yet written cannot be
                pipe.close()

    def read(self, data: bytes, seconds: float, limits: Limits) -> Radiograph:
        timed_out = threading.Event()

        def stop() -> None:
            timed_out.set()
            self._process.kill()

        alarm = threading.Timer(seconds, stop)
        alarm.daemon = True
        alarm.start()
        try:
            reply, pixels = self._exchange(data, limits)
        except (OSError, EOFError, ValueError, KeyError, TypeError):  # a broken pipe, or a reply that makes no sense
            self.end()
            if timed_out.is_set():
                raise FilmError(
                    "READER_TIMED_OUT",
                    f"Reading this file was stopped after {seconds:g} seconds. Export the film anew.",
                ) from None
            raise FilmError(
                "READER_DIED", "Reading this file failed badly; it is damaged or hostile. Export the film anew."
            ) from None
        except BaseException:
            self.end()  # half a reply may stand in the pipe, and the next film must not get it
            raise
        finally:
            alarm.cancel()
        return _answered(reply, pixels)

    def _exchange(self, data: bytes, limits: Limits) -> tuple[dict[str, Any], NDArray[np.float32] | None]:
        self._requests.write(len(data).to_bytes(8, "little"))
        self._requests.write(data)
        self._requests.flush()
        length = int.from_bytes(_exactly(self._replies, 4), "little")
        if length > _LONGEST_REPLY:
            raise ValueError
        reply = json.loads(_exactly(self._replies, length))
        if "film" not in reply:
            return reply, None
        rows, columns = reply["film"]["shape"]
        if not 0 < rows * columns <= limits.pixels:
            raise ValueError
        pixels = np.empty((rows, columns), dtype=np.float32)
        _fill(self._replies, pixels.data.cast("B"))
        return reply, pixels


def _exactly(stream: IO[bytes], count: int) -> bytearray:
    text = bytearray(count)
    _fill(stream, memoryview(text))
    return text


def _fill(stream: IO[bytes], target: memoryview) -> None:
    done = 0
    while done < len(target):
        count: int = stream.readinto(target[done:])  # type: ignore[attr-defined]
        if not count:
            raise EOFError
        done += count


def _answered(reply: dict[str, Any], pixels: NDArray[np.float32] | None) -> Radiograph:
    if pixels is not None:
        film = reply["film"]
        return Radiograph(
            pixels=pixels,
            view=View(film["view"]),
            spacing=PixelSpacing(**film["spacing"]) if film["spacing"] else None,
            tags=film["tags"],
            source_format=film["source_format"],
            remarks=tuple(Remark(**remark) for remark in film["remarks"]),
            objections=tuple(Remark(**objection) for objection in film["objections"]),
        )
    if "refused" in reply:
        raise NotAFilmError(*reply["refused"])
    if "failed" in reply:
        raise FilmError(*reply["failed"])
    raise FilmError(
        "READER_OUT_OF_MEMORY", "Reading this file took more memory than a film needs. It was stopped. Export it anew."
    )


_READER = GuardedReader()


def read_guarded(data: bytes) -> Radiograph:
    """Read a film with the process's one reader; see `GuardedReader.read`."""
    return _READER.read(data)

"""The child process that reads films. `SandboxedReader` starts it and talks to it over pipes.

When all modules are loaded, it sends READY. For each file it receives two parts: FILM or SOURCE, for what to read of
it, and its bytes. It answers with four: the facts as JSON, the pixels, their levels, and the shades of the levels. The
last three are empty for SOURCE, and if the file could not be read. Each part follows its length in eight bytes. Nothing
is pickled or written anywhere else.
"""

import json
import math
import os
import signal
import struct
import sys
from dataclasses import astuple, fields
from typing import Any, BinaryIO

import numpy as np

from ptx_app.errors import FilmError, NotAFilmError
from ptx_app.film import read_film
from ptx_app.film.limits import Limits
from ptx_app.film.modality import ModalityValues
from ptx_app.film.radiograph import Box, FilmNote, PixelSpacing, Radiograph, View
from ptx_app.film.reading import read_source
from ptx_app.film.source import SourceReference, facts_of, source_of
from ptx_app.process import begin

READY = b"\x06"
FILM, SOURCE = b"film", b"source"
LENGTH = struct.Struct("!Q")
# The longest part that each side accepts, so that a wrong length from a damaged process does not allocate memory.
MOST_REQUEST = Limits().file_bytes + 1
MOST_FACTS = 1 << 20
MOST_PIXELS = Limits().pixels * 4
MOST_LEVELS = Limits().pixels * 2
MOST_SHADES = 65536 * 4
_GRACE = 2.0
_NOTHING = (memoryview(b""),) * 3
_ARRAYS = ("levels", "shades")  # the first fields of ModalityValues
_ERRORS = {kind.__name__: kind for kind in (FilmError, NotAFilmError)}


def too_much_memory() -> FilmError:
    """The error for a file that needs too much memory to read."""
    return FilmError("TOO_MUCH_MEMORY", "This file needs too much memory to read. Export the film again, smaller.")


def limit_memory(more_bytes: int) -> None:
    """Limit this process to `more_bytes` more memory than it has now, if the system supports it."""
    try:
        import resource

        with open("/proc/self/status", encoding="ascii") as status:  # noqa: PTH123  (not a file of ours)
            taken = next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmData"))
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        wanted = taken + more_bytes
        resource.setrlimit(resource.RLIMIT_DATA, (wanted if hard < 0 else min(wanted, hard), hard))
    except (ImportError, OSError, StopIteration):
        return  # not Linux: only the time limit and the checks before decoding apply


def keep_off_the_disk() -> None:
    """Prevent this process from writing files, and core files after a crash, on Linux and macOS."""
    try:
        import resource
    except ImportError:
        return
    for limit in (resource.RLIMIT_FSIZE, resource.RLIMIT_CORE):
        resource.setrlimit(limit, (0, 0))


def answer(wanted: bytes, data: bytes) -> tuple[dict[str, Any], tuple[memoryview, ...]]:
    """Read a file: FILM or SOURCE. Returns the facts, ready for JSON, and the bytes of pixels, levels and shades."""
    try:
        if wanted == SOURCE:
            return {"source": facts_of(read_source(data))}, _NOTHING
        film = read_film(data)
    except MemoryError:
        return _refusal(too_much_memory()), _NOTHING
    except FilmError as error:
        return _refusal(error), _NOTHING
    assert film.modality is not None  # noqa: S101  (every reader sets it)
    modality = film.modality
    facts = {
        "shape": film.pixels.shape,
        "view": film.view,
        "spacing": film.spacing and list(astuple(film.spacing)),
        "tags": dict(film.tags),
        "source_format": film.source_format,
        "warnings": [[warning.code, warning.message] for warning in film.warnings],
        "field": film.field and [film.field.top, film.field.left, film.field.bottom, film.field.right],
        "rejections": [[warning.code, warning.message] for warning in film.rejections],
        "modality": {field.name: getattr(modality, field.name) for field in fields(modality)[len(_ARRAYS) :]},
    }
    arrays = (film.pixels, *(getattr(modality, name) for name in _ARRAYS))
    return facts, tuple(np.ascontiguousarray(array).data.cast("B") for array in arrays)


def _refusal(error: FilmError) -> dict[str, Any]:
    return {"error": type(error).__name__, "code": error.code, "message": error.message}


def understood(facts: dict[str, Any], pixels: bytearray, levels: bytearray, shades: bytearray) -> Radiograph:
    """The Radiograph that `answer` put into a message. Raises the error if it contains one."""
    _raise_refusal(facts)
    spacing, field = facts["spacing"], facts["field"]
    modality = ModalityValues(
        np.frombuffer(levels, np.uint16).reshape(facts["shape"]), np.frombuffer(shades, np.float32), **facts["modality"]
    )
    return Radiograph(
        pixels=np.frombuffer(pixels, np.float32).reshape(facts["shape"]),
        view=View(facts["view"]),
        spacing=PixelSpacing(*spacing) if spacing else None,
        tags=facts["tags"],
        source_format=facts["source_format"],
        warnings=tuple(FilmNote(*warning) for warning in facts["warnings"]),
        rejections=tuple(FilmNote(*warning) for warning in facts["rejections"]),
        field=Box(*field) if field else None,
        modality=modality,
    )


def understood_source(facts: dict[str, Any], *_arrays: bytearray) -> SourceReference | None:
    """The reference that `answer` put into a message. Raises the error if it contains one."""
    _raise_refusal(facts)
    return source_of(facts["source"])


def _raise_refusal(facts: dict[str, Any]) -> None:
    if "error" in facts:
        raise _ERRORS[facts["error"]](facts["code"], facts["message"])


def send(pipe: BinaryIO, *parts: bytes | memoryview) -> None:
    """Write each part after its length."""
    for part in parts:
        pipe.write(LENGTH.pack(len(part)))
        pipe.write(part)
    pipe.flush()


def receive(pipe: BinaryIO, most: int) -> bytearray:
    """Read one part. Raises EOFError if the other end is gone or announces more than `most` bytes."""
    (length,) = LENGTH.unpack(_exactly(pipe, LENGTH.size))
    if length > most:
        raise EOFError
    return _exactly(pipe, length)


def _exactly(pipe: BinaryIO, length: int) -> bytearray:
    data = bytearray(length)
    view, filled = memoryview(data), 0
    while filled < length:
        count = pipe.readinto(view[filled:])  # type: ignore[attr-defined]
        if not count:
            raise EOFError
        filled += count
    return data


def limit_time(seconds: float) -> None:
    """Make this process end itself after that many seconds, if the system supports it. 0 cancels this.

    Normally the parent process ends it earlier. This is for the case that the parent died.
    """
    if hasattr(signal, "alarm"):
        signal.alarm(math.ceil(seconds))


def main(more_bytes: int, seconds: float) -> None:
    """Answer until the other end is gone. Each file may take about `seconds`."""
    import imagecodecs  # noqa: F401  (loaded here, before the memory limit is set and before a film waits)

    import ptx_app.film.dicom.reader
    import ptx_app.film.dicom.source
    import ptx_app.film.picture  # noqa: F401

    begin()
    keep_off_the_disk()
    limit_memory(more_bytes)
    # Output of decoders must not get mixed into the answers.
    incoming, outgoing = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    outgoing.write(READY)
    outgoing.flush()
    while True:
        try:
            wanted = receive(incoming, len(SOURCE))
            data = receive(incoming, MOST_REQUEST)
        except EOFError:
            return
        limit_time(seconds + _GRACE)
        facts, arrays = answer(bytes(wanted), bytes(data))
        limit_time(0)
        send(outgoing, json.dumps(facts).encode(), *arrays)


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))

"""The child process that reads films, started by `SandboxedReader` and spoken to over its pipes.

First READY out, once all is loaded. Then one message in: eight bytes of length, the file. One message out: eight bytes
of length, JSON, and behind it the pixels where the file was read. Nothing is pickled, and nothing is written anywhere
else.
"""

import json
import math
import os
import signal
import struct
import sys
from typing import Any, BinaryIO

import numpy as np

from ptx_app.errors import FilmError, NotAFilmError
from ptx_app.film import read_film
from ptx_app.film.limits import Limits
from ptx_app.film.radiograph import Box, FilmNote, PixelSpacing, Radiograph, View
from ptx_app.process import begin

READY = b"\x06"
LENGTH = struct.Struct("!Q")
# The longest part each side takes: a length that a damaged process sends is no reason to set memory aside.
MOST_REQUEST = Limits().file_bytes + 1
MOST_FACTS = 1 << 20
MOST_PIXELS = Limits().pixels * 4
_GRACE = 2.0
_ERRORS = {kind.__name__: kind for kind in (FilmError, NotAFilmError)}


def too_much_memory() -> FilmError:
    """The error for a file whose reading needs more memory than any film does."""
    return FilmError("TOO_MUCH_MEMORY", "Reading this file takes more memory than any film needs. It was not read.")


def limit_memory(more_bytes: int) -> None:
    """Let this process take so many bytes more than it has now, where the system can be asked to see to that."""
    try:
        import resource

        with open("/proc/self/status", encoding="ascii") as status:  # noqa: PTH123  (no file of ours)
            taken = next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmData"))
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        wanted = taken + more_bytes
        resource.setrlimit(resource.RLIMIT_DATA, (wanted if hard < 0 else min(wanted, hard), hard))
    except (ImportError, OSError, StopIteration):
        return  # not Linux: the time limit and the checks before decoding remain


def keep_off_the_disk() -> None:
    """Let this process write into no file, nor leave its memory in one where a decoder crashes, on Linux and macOS."""
    try:
        import resource
    except ImportError:
        return
    for limit in (resource.RLIMIT_FSIZE, resource.RLIMIT_CORE):
        resource.setrlimit(limit, (0, 0))


def answer(data: bytes) -> tuple[dict[str, Any], bytes | memoryview]:
    """Read a file; the facts as JSON can hold them, and the pixels' bytes."""
    try:
        film = read_film(data)
    except MemoryError:
        return _refusal(too_much_memory()), b""
    except FilmError as error:
        return _refusal(error), b""
    facts = {
        "shape": film.pixels.shape,
        "view": film.view,
        "spacing": film.spacing and [film.spacing.row_mm, film.spacing.column_mm, film.spacing.believable],
        "tags": dict(film.tags),
        "source_format": film.source_format,
        "warnings": [[warning.code, warning.message] for warning in film.warnings],
        "field": film.field and [film.field.top, film.field.left, film.field.bottom, film.field.right],
        "rejections": [[warning.code, warning.message] for warning in film.rejections],
    }
    return facts, np.ascontiguousarray(film.pixels).data.cast("B")


def _refusal(error: FilmError) -> dict[str, Any]:
    return {"error": type(error).__name__, "code": error.code, "message": error.message}


def understood(facts: dict[str, Any], pixels: bytearray) -> Radiograph:
    """The Radiograph, or the error raised, that `answer` put into a message."""
    if "error" in facts:
        raise _ERRORS[facts["error"]](facts["code"], facts["message"])
    spacing, field = facts["spacing"], facts["field"]
    return Radiograph(
        pixels=np.frombuffer(pixels, np.float32).reshape(facts["shape"]),
        view=View(facts["view"]),
        spacing=PixelSpacing(*spacing) if spacing else None,
        tags=facts["tags"],
        source_format=facts["source_format"],
        warnings=tuple(FilmNote(*warning) for warning in facts["warnings"]),
        rejections=tuple(FilmNote(*warning) for warning in facts["rejections"]),
        field=Box(*field) if field else None,
    )


def send(pipe: BinaryIO, *parts: bytes | memoryview) -> None:
    """Write each part behind its length."""
    for part in parts:
        pipe.write(LENGTH.pack(len(part)))
        pipe.write(part)
    pipe.flush()


def receive(pipe: BinaryIO, most: int) -> bytearray:
    """Read one part. Raises EOFError where the other end is gone or announces more than `most` bytes."""
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
    """End this process by itself that much later, where the system can; 0 takes it back.

    The other end ends it sooner; this is for when that end died first.
    """
    if hasattr(signal, "alarm"):
        signal.alarm(math.ceil(seconds))


def main(more_bytes: int, seconds: float) -> None:
    """Answer until the other end is gone, each file within about so many seconds."""
    import imagecodecs  # noqa: F401  (what a film may need is loaded before the limit stands and before one waits)

    import ptx_app.film.dicom.reader
    import ptx_app.film.picture  # noqa: F401

    begin()
    keep_off_the_disk()
    limit_memory(more_bytes)
    # What a decoder prints must not come between the answers.
    incoming, outgoing = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    outgoing.write(READY)
    outgoing.flush()
    while True:
        try:
            data = receive(incoming, MOST_REQUEST)
        except EOFError:
            return
        limit_time(seconds + _GRACE)
        facts, pixels = answer(bytes(data))
        limit_time(0)
        send(outgoing, json.dumps(facts).encode(), pixels)


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))

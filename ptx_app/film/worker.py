"""The child process that reads films: `python -m ptx_app.film.worker`, started by `guard`, spoken to over its pipes.

One message in: eight bytes of length, the file. One message out: eight bytes of length, JSON, and behind it the pixels
where the file was read. Nothing is pickled, and nothing is written anywhere else.
"""

import json
import struct
import sys
from typing import Any, BinaryIO

import numpy as np

from ptx_app.errors import FilmError, NotAFilmError
from ptx_app.film import read_film
from ptx_app.film.radiograph import PixelSpacing, Radiograph, Remark, View

LENGTH = struct.Struct("!Q")
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
        "remarks": [[remark.code, remark.message] for remark in film.remarks],
        "objections": [[remark.code, remark.message] for remark in film.objections],
    }
    return facts, np.ascontiguousarray(film.pixels).data.cast("B")


def _refusal(error: FilmError) -> dict[str, Any]:
    return {"error": type(error).__name__, "code": error.code, "message": error.message}


def understood(facts: dict[str, Any], pixels: bytearray) -> Radiograph:
    """The Radiograph, or the error raised, that `answer` put into a message."""
    if "error" in facts:
        raise _ERRORS[facts["error"]](facts["code"], facts["message"])
    spacing = facts["spacing"]
    return Radiograph(
        pixels=np.frombuffer(pixels, np.float32).reshape(facts["shape"]),
        view=View(facts["view"]),
        spacing=PixelSpacing(*spacing) if spacing else None,
        tags=facts["tags"],
        source_format=facts["source_format"],
        remarks=tuple(Remark(*remark) for remark in facts["remarks"]),
        objections=tuple(Remark(*remark) for remark in facts["objections"]),
    )


def send(pipe: BinaryIO, *parts: bytes | memoryview) -> None:
    """Write each part behind its length."""
    for part in parts:
        pipe.write(LENGTH.pack(len(part)))
        pipe.write(part)
    pipe.flush()


def receive(pipe: BinaryIO) -> bytearray:
    """Read one part. Raises EOFError where the other end is gone."""
    (length,) = LENGTH.unpack(_exactly(pipe, LENGTH.size))
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


def main(more_bytes: int) -> None:
    """Answer until the other end is gone."""
    import imagecodecs  # noqa: F401  (what a film may need is loaded before the limit stands and before one waits)

    import ptx_app.film.dicom
    import ptx_app.film.picture  # noqa: F401

    limit_memory(more_bytes)
    incoming, outgoing = sys.stdin.buffer, sys.stdout.buffer
    while True:
        try:
            data = receive(incoming)
        except EOFError:
            return
        facts, pixels = answer(bytes(data))
        send(outgoing, json.dumps(facts).encode(), pixels)


if __name__ == "__main__":
    main(int(sys.argv[1]))

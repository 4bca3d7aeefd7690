"""The reader's child process: reads one film after the other from standard input, under limits it sets on itself.

Started by `guard` as `python -m ptx_app.film.worker LIMITS`. A request is the file's length (8 bytes, little endian)
and its bytes; a reply is the length of a JSON text (4 bytes), that text, and the pixels of the film where there is one.
Nothing is pickled: a decoder that was taken over can send home numbers and short texts, not objects.
"""

import contextlib
import json
import os
import sys
from dataclasses import asdict
from typing import Any, BinaryIO

import numpy as np

from ptx_app.errors import FilmError, NotAFilmError
from ptx_app.film.limits import Limits
from ptx_app.film.radiograph import Radiograph
from ptx_app.film.reading import read_film


def confine(memory_bytes: int) -> None:
    """Bound this process: memory, no file written, no core dump. Windows has no such limits; there time alone bounds."""
    if sys.platform == "win32":
        return
    import resource

    # RLIMIT_DATA counts what is written to, RLIMIT_AS also what libraries merely reserve.
    for name, bound in (("RLIMIT_DATA", memory_bytes), ("RLIMIT_FSIZE", 0), ("RLIMIT_CORE", 0)):
        with contextlib.suppress(OSError, ValueError):  # macOS refuses some of them
            resource.setrlimit(getattr(resource, name), (bound, bound))


def described(film: Radiograph) -> dict[str, Any]:
    """Everything of a film but its pixels, as JSON has it."""
    return {
        "shape": film.pixels.shape,
        "view": film.view.value,
        "spacing": asdict(film.spacing) if film.spacing else None,
        "tags": dict(film.tags),
        "source_format": film.source_format,
        "remarks": [asdict(remark) for remark in film.remarks],
        "objections": [asdict(objection) for objection in film.objections],
    }


def serve(requests: BinaryIO, replies: BinaryIO, limits: Limits) -> None:
    """Answer requests until the stream ends, or memory ran out: what a failed allocation left behind is unknown."""
    while len(length := requests.read(8)) == 8:
        film: Radiograph | None = None
        try:
            film = read_film(requests.read(int.from_bytes(length, "little")), limits)
            reply: dict[str, Any] = {"film": described(film)}
        except FilmError as error:
            kind = "refused" if isinstance(error, NotAFilmError) else "failed"
            reply = {kind: [error.code, error.message]}
        except MemoryError:
            reply = {"out_of_memory": []}
        text = json.dumps(reply).encode()
        replies.write(len(text).to_bytes(4, "little") + text)
        if film is not None:
            replies.write(np.ascontiguousarray(film.pixels).data.cast("B"))
        replies.flush()
        if "out_of_memory" in reply:
            return


def main() -> None:
    """Take the real standard output for replies, and point everyone else's at nothing."""
    settings = json.loads(sys.argv[1])
    confine(settings.pop("memory_bytes"))
    # Loaded now and not with the first film.
    import ptx_app.film.dicom
    import ptx_app.film.picture  # noqa: F401

    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    serve(sys.stdin.buffer, replies, Limits(**settings))


if __name__ == "__main__":
    main()

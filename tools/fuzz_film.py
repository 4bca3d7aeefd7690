"""Damages films in thousands of ways and reads them as the app does: python -m tools.fuzz_film --files 20000

Each file is an intact one (the cases in PTX_DATA if it is set, and films made here) with a few random damages, all
determined by the seed. It looks for readers that crash, hang, take too much memory, or return invalid pixels. Prints
the figures, and writes them as JSON with --output.
"""

import argparse
import collections
import io
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

import cv2
import numpy as np
import pydicom
from pydicom import uid

from ptx_app.errors import FilmError
from ptx_app.film.sandbox.reader import SandboxedReader
from ptx_app.process import begin
from tests.support.films import ct_slice, dicom_of

SECONDS = 10.0
MEMORY_BYTES = 768 << 20
_LARGEST = 600_000  # bytes of a file to start from: in small files, damage more often hits what matters


def whole_files() -> list[bytes]:
    """The intact files to damage."""
    grey = np.random.default_rng(0).random((200, 160), dtype=np.float32)
    film = dicom_of(grey)
    compressed = pydicom.dcmread(io.BytesIO(film))
    compressed.compress(uid.RLELossless)
    rle = io.BytesIO()
    compressed.save_as(rle)
    picture = (grey * 255).astype(np.uint8)
    encoded = [cv2.imencode(kind, picture)[1].tobytes() for kind in (".png", ".jpg")]
    files = [film, rle.getvalue(), *encoded, cv2.imencode(".png", picture.astype(np.uint16) * 257)[1].tobytes()]
    if "PTX_DATA" in os.environ:
        cases = sorted((Path(os.environ["PTX_DATA"]) / "dicom-cases").iterdir())
        files += [case.read_bytes() for case in cases if 0 < case.stat().st_size <= _LARGEST]
    else:
        files.append(ct_slice())
    return files


def damaged(files: list[bytes], chance: Random) -> bytes:
    """One of the files, damaged once to four times."""
    data = bytearray(chance.choice(files))
    for _ in range(chance.randint(1, 4)):
        chance.choice(DAMAGES)(data, chance, files)
    return bytes(data)


def _place(data: bytearray, chance: Random) -> int:
    """A position in the file. The header is hit more often than its size would suggest."""
    end = max(1, min(len(data), 2500) if chance.random() < 0.7 else len(data))
    return chance.randrange(end)


def flip_bits(data: bytearray, chance: Random, _files: list[bytes]) -> None:
    """Flip single bits."""
    for _ in range(chance.randint(1, 20)):
        if data:
            data[_place(data, chance)] ^= 1 << chance.randrange(8)


def write_extremes(data: bytearray, chance: Random, _files: list[bytes]) -> None:
    """Write extreme values of lengths and counts."""
    where = _place(data, chance)
    value = chance.choice((b"\xff\xff", b"\xff\xff\xff\xff", b"\0\0\0\0", b"\xff\xff\xff\x7f", b"\x01\0", b"\0\x80"))
    data[where : where + len(value)] = value


def cut(data: bytearray, chance: Random, _files: list[bytes]) -> None:
    """Cut off the end."""
    del data[_place(data, chance) :]


def take_out(data: bytearray, chance: Random, _files: list[bytes]) -> None:
    """Remove a piece."""
    where = _place(data, chance)
    del data[where : where + chance.randint(1, 300)]


def repeat(data: bytearray, chance: Random, _files: list[bytes]) -> None:
    """Repeat a piece many times."""
    where = _place(data, chance)
    piece = bytes(data[where : where + chance.randint(1, 64)])
    data[where:where] = piece * chance.randint(1, 200)


def splice(data: bytearray, chance: Random, files: list[bytes]) -> None:
    """Insert a piece of another file."""
    other = chance.choice(files)
    start, where = chance.randrange(len(other)), _place(data, chance)
    piece = other[start : start + chance.randint(4, 2000)]
    data[where : where + len(piece)] = piece


DAMAGES: tuple[Callable[[bytearray, Random, list[bytes]], None], ...] = (
    flip_bits, write_extremes, cut, take_out, repeat, splice,
)  # fmt: skip


def fuzz(count: int, seed: int) -> dict[str, object]:
    """Read `count` damaged files and return the figures."""
    files, outcomes = whole_files(), collections.Counter[str]()
    bad_pixels, slowest, lost = 0, 0.0, []
    started = time.monotonic()
    with SandboxedReader(processes=1, seconds=SECONDS, memory_bytes=MEMORY_BYTES) as reader:
        for number in range(count):
            data = damaged(files, Random(f"{seed}/{number}"))
            begun = time.monotonic()
            try:
                pixels = reader.read(data).pixels
            except FilmError as error:
                outcomes[error.code] += 1
                if error.code in {"READER_LOST", "TOO_SLOW", "TOO_MUCH_MEMORY"}:
                    lost.append([number, error.code])
            else:
                outcomes["read"] += 1
                bad_pixels += not (np.isfinite(pixels).all() and pixels.min() >= 0 and pixels.max() <= 1)
            slowest = max(slowest, time.monotonic() - begun)
            if number % 1000 == 999:
                sys.stderr.write(f"{number + 1} of {count}\n")
    return {
        "files": count,
        "seed": seed,
        "whole_files": len(files),
        "minutes": round((time.monotonic() - started) / 60, 1),
        "slowest_seconds": round(slowest, 2),
        "readers_lost": lost,
        "pixels_out_of_range": bad_pixels,
        "outcomes": dict(outcomes.most_common()),
    }


def main() -> int:
    """Returns 0 if no reader was lost and no pixels were out of range."""
    begin()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    figures = fuzz(arguments.files, arguments.seed)
    text = json.dumps(figures, indent=2) + "\n"
    sys.stdout.write(text)
    if arguments.output:
        arguments.output.write_text(text, encoding="utf-8")
    return 1 if figures["readers_lost"] or figures["pixels_out_of_range"] else 0


if __name__ == "__main__":
    sys.exit(main())

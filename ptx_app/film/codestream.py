"""Facts that a JPEG, JPEG-LS or JPEG 2000 stream states about itself, read before it is decoded.

Most decoders fill a truncated stream with grey without an error, and use the stream's own dimensions even if the DICOM
header states others.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptx_app.errors import FilmError

# Within a scan, FF is followed by a stuffed byte below 80 or a restart marker D0 to D7. Anything else ends the scan.
_SCAN_END = re.compile(rb"\xff[\x80-\xcf\xd8-\xfe]")
_RESTART = re.compile(rb"\xff+([\xd0-\xd7])")
_FRAME_MARKERS = frozenset({*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC})
_HUFFMAN_FRAMES = frozenset({0xC0, 0xC1, 0xC2, 0xC3})
# A progressive film has about ten scans. Each scan costs a pass over the whole picture.
_MOST_SCANS = 64
# A decoder reads these bytes as picture data if a scan is cut short. No byte is FF, and the bits are not a common code.
_BEYOND = bytes.fromhex("d36e952bc8b14d72") * 4
_SOC = b"\xff\x4f\xff\x51"


@dataclass(frozen=True)
class StreamFacts:
    """Size of the picture in a stream: px, bits per sample, samples per pixel.

    `scans`: start and end of each scan's entropy-coded data, if it is Huffman coded; else empty.
    `signed`: whether samples are signed, or None if the format does not say.
    """

    rows: int
    columns: int
    bits: int
    samples: int
    scans: tuple[tuple[int, int], ...] = ()
    signed: bool | None = None


def truncated() -> FilmError:
    """The error for a picture that is cut short."""
    return FilmError("TRUNCATED", "The picture in this file is incomplete. Copy or export the film again.")


def broken() -> FilmError:
    """The error for a picture that cannot be decoded."""
    return FilmError(
        "PIXELS_BROKEN", "The picture in this file is damaged and cannot be decoded. Export the film again."
    )


def jpeg_facts(stream: bytes) -> StreamFacts:
    """Facts of a JPEG or JPEG-LS stream (ITU-T T.81 annex B, T.87), read marker by marker to its end.

    Raises:
        FilmError: not such a stream, no end marker, restart markers missing, or too many scans.
    """
    if stream[:2] != b"\xff\xd8":
        raise broken()
    facts: StreamFacts | None = None
    huffman = False
    scans: list[tuple[int, int]] = []
    at = 2
    while True:
        while stream[at : at + 2] == b"\xff\xff":
            at += 1
        if at + 2 > len(stream):
            raise truncated()
        if stream[at] != 0xFF:
            raise broken()
        marker = stream[at + 1]
        if marker == 0xD9:
            break
        length = int.from_bytes(stream[at + 2 : at + 4], "big")
        if at + 2 + length > len(stream):
            raise truncated()
        if length < 2:
            raise broken()
        if marker in _FRAME_MARKERS:
            if facts is not None or length < 8:
                raise broken()
            bits, rows, columns, samples = _jpeg_frame(stream[at + 4 : at + 10])
            facts = StreamFacts(rows, columns, bits, samples)
            huffman = marker in _HUFFMAN_FRAMES
        at += 2 + length
        if marker == 0xDA:
            end = _SCAN_END.search(stream, at)
            if end is None:
                raise truncated()
            if len(scans) == _MOST_SCANS:
                raise broken()
            scans.append((at, end.start()))
            restarts = _RESTART.finditer(stream, *scans[-1])
            if any(restart[1][0] != 0xD0 + number % 8 for number, restart in enumerate(restarts)):
                raise truncated()
            at = end.start()
    if facts is None:
        raise broken()
    return replace(facts, scans=tuple(scans)) if huffman else facts


def _jpeg_frame(segment: bytes) -> tuple[int, int, int, int]:
    return segment[0], int.from_bytes(segment[1:3], "big"), int.from_bytes(segment[3:5], "big"), segment[5]


def check_scans(stream: bytes, facts: StreamFacts, pixels: NDArray[Any], decode: Callable[[bytes], Any]) -> None:
    """Check that no scan lacks data; decoders give a warning at most.

    If a scan is complete, its pixels do not depend on the bytes after it. If it is cut short, the decoder goes on into
    those bytes. So the stream is decoded a second time with extra bytes after each piece, and must give the same
    pixels.

    Args:
        stream: a JPEG stream.
        facts: its facts from `jpeg_facts`.
        pixels: the stream, decoded.
        decode: the function that decoded it.

    Raises:
        FilmError: data are missing.
    """
    if facts.scans and not np.array_equal(pixels, decode(_prolonged(stream, facts.scans))):
        raise truncated()


def _prolonged(stream: bytes, scans: tuple[tuple[int, int], ...]) -> bytes:
    pieces: list[bytes] = []
    last = 0
    for start, end in scans:
        data = stream[start:end].rstrip(b"\xff")
        restarts = len(_RESTART.findall(data))
        # If a scan was cut at a restart, the decoder waits for the next marker. After a complete scan it skips it.
        restart = bytes([0xFF, 0xD0 + restarts % 8])
        pieces += stream[last:start], _RESTART.sub(lambda mark: _BEYOND + mark[0], data), _BEYOND, restart, _BEYOND
        last = end
    return b"".join(pieces) + stream[last:]


def jpeg2000_facts(stream: bytes) -> StreamFacts:
    """Facts of a JPEG 2000 or HTJ2K codestream, bare or in JP2 boxes (ITU-T T.800 annex A).

    Raises:
        FilmError: not such a stream, or no end marker.
    """
    start = stream.find(_SOC, 0, 4096)
    if start < 0 or len(stream) < start + 44:
        raise broken()
    x1, y1, x0, y0, tile_x, tile_y = (
        int.from_bytes(stream[at : at + 4], "big") for at in range(start + 8, start + 32, 4)
    )
    samples = int.from_bytes(stream[start + 40 : start + 42], "big")
    rows, columns, bits = y1 - y0, x1 - x0, (stream[start + 42] & 0x7F) + 1
    # Tile numbers have 16 bits. A picture with millions of tiles is meant to exhaust the decoder.
    if min(rows, columns, tile_x, tile_y) < 1 or -(-x1 // tile_x) * -(-y1 // tile_y) > 65535:
        raise broken()
    at = start + 2
    while stream[at : at + 2] != b"\xff\x90":  # the main header's segments, up to the first tile part
        if stream[at : at + 1] != b"\xff":
            raise truncated() if at >= len(stream) else broken()
        at += 2 + int.from_bytes(stream[at + 2 : at + 4], "big")
    while stream[at : at + 2] == b"\xff\x90":
        length = int.from_bytes(stream[at + 6 : at + 10], "big")
        if length == 0:  # the last tile part, up to the end marker
            at = len(stream.rstrip(b"\0")) - 2
            break
        if length < 14:
            raise broken()
        at += length
    if stream[at : at + 2] != b"\xff\xd9":
        raise truncated()
    return StreamFacts(rows, columns, bits, samples, signed=stream[start + 42] >= 0x80)

"""How large a film may be. Everything here is checked before a pixel is decoded."""

from dataclasses import dataclass

_MIB = 1 << 20


@dataclass(frozen=True)
class Limits:
    """Bounds on one file.

    The largest detectors give about 4300 × 3500 px at 16 bit: 30 MB. The bounds leave room for twice that.

    Attributes:
        file_bytes: length of the file as it came.
        inflated_bytes: length of a deflated data set once unpacked.
        pixels: rows × columns.
        side: rows or columns, each.
        smallest_side: below this many rows or columns no film is worth reading.
        frames: above this a stated number of frames is taken for damage, not for a film series.
    """

    file_bytes: int = 128 * _MIB
    inflated_bytes: int = 128 * _MIB
    pixels: int = 36_000_000
    side: int = 16_384
    smallest_side: int = 64
    frames: int = 4096

"""Limits on the size of a film. All are checked before any pixel is decoded."""

from dataclasses import dataclass

_MIB = 1 << 20


@dataclass(frozen=True)
class Limits:
    """Limits on one file.

    The largest detectors give about 4300 × 3500 px at 16 bit, which is 30 MB. The limits allow at least twice that.

    Attributes:
        file_bytes: most bytes of a file.
        inflated_bytes: most bytes of a deflated data set once unpacked.
        pixels: most rows × columns.
        side: most rows, and most columns.
        smallest_side: fewest rows, and fewest columns.
        frames: a larger number of frames means that the file is damaged, not that it is a series.
    """

    file_bytes: int = 128 * _MIB
    inflated_bytes: int = 128 * _MIB
    pixels: int = 36_000_000
    side: int = 16_384
    smallest_side: int = 64
    frames: int = 4096

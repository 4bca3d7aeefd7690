"""Finds the film in its picture, inside plates and frames or beside the panels of a screenshot."""

import numpy as np
from numpy.typing import NDArray

from ptx_app.film.radiograph import Box

# Greys this close, as a share of the picture's range, count as equal. It allows for JPEG noise near edges.
_SAME = 4 / 255
# A margin's line has one grey in nearly all of its pixels, or in most of them if there are letters on it. In the second
# case the film must begin abruptly, with few pixels of that grey: belly and air beside a patient are uniform too.
_EVEN, _MOSTLY, _FEW = 0.97, 0.75, 0.3
_SUDDENLY = 1 / 50  # of the side
# Black margins up to this width occur in the training films, so the network knows them. Of the 1,392 films we have, the
# held-out films keep at least 0.75 of their width and 0.59 of their height. If less remains, black margins are cut off.
_BLACK = 0.02
_LEAST_WIDTH, _LEAST_HEIGHT = 0.72, 0.55
# None of these films has a margin of another grey wider than 0.023 of its side.
_NARROW = 0.05
_STRIPS = 4  # most margins next to each other on one side, such as a frame, a bar and a plate
_SMALLEST = 16  # px


def find_field(pixels: NDArray[np.float32]) -> Box | None:
    """The film's box in its picture, or None if the film fills the picture, apart from margins that films usually have.

    Args:
        pixels: (H, W) float32 in [0, 1], 1 = white.
    """
    step = max(1, max(pixels.shape) // 1024)
    low, high = np.percentile(pixels[::step, ::step], (1, 99))
    tolerance = max(_SAME * float(high - low), 1e-4)
    whole = box = Box(0, 0, *pixels.shape)
    while (inner := _without_margins(pixels, box, tolerance)) != box:
        box = inner
    return None if box == whole else box


def _without_margins(pixels: NDArray[np.float32], box: Box, tolerance: float) -> Box:
    film = box.of(pixels)
    height, width = film.shape
    # Checks every line, but only 500 to 1,000 pixels of each.
    lying, standing = film[:, :: max(1, width // 512)], film[:: max(1, height // 512)].T
    sides = [_margin(lines, tolerance) for lines in (lying, lying[::-1], standing, standing[::-1])]
    top, bottom, left, right = (margin for margin, _ in sides)
    kept_height, kept_width = 1 - (top + bottom) / height, 1 - (left + right) / width
    black_too = kept_width < _LEAST_WIDTH or kept_height < _LEAST_HEIGHT
    cut = [margin if black_too or not black else 0 for margin, black in sides]
    inner = Box(box.top + cut[0], box.left + cut[2], box.bottom - cut[1], box.right - cut[3])
    return inner if min(inner.height, inner.width) >= _SMALLEST else box


def _margin(lines: NDArray[np.float32], tolerance: float) -> tuple[int, bool]:
    """How many lines, counted from the first, are margin; and whether the margin's widest strip is black.

    A narrow strip, such as a frame's line, counts only if a wide strip follows.
    """
    at, end, widest, black = 0, 0, 0, True
    for _ in range(_STRIPS):
        width, grey = _strip(lines[at:], tolerance)
        at += width
        if width > _NARROW * len(lines):
            end = at
            widest, black = max((widest, black), (width, grey <= _BLACK))
        if width == 0 or at == len(lines):
            break
    return end, black


def _strip(lines: NDArray[np.float32], tolerance: float) -> tuple[int, float]:
    """How many lines, counted from the first, have the first line's grey; and that grey."""
    grey = float(np.median(lines[0]))
    share = (np.abs(lines - grey) <= tolerance).mean(axis=1)
    even, mostly = (_leading(share >= least) for least in (_EVEN, _MOSTLY))
    behind = share[mostly : mostly + max(2, round(_SUDDENLY * len(lines)))]
    return (mostly if behind.size and behind.min() <= _FEW else even), grey


def _leading(true: NDArray[np.bool_]) -> int:
    """How many values are true before the first false one."""
    return int(true.argmin()) if not true.all() else len(true)

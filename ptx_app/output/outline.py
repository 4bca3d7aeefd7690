"""A mask's outlines along the edges of its pixels."""

import cv2
import numpy as np
from numpy.typing import NDArray


def outlines(mask: NDArray[np.bool_], most_points: int) -> list[NDArray[np.float32]]:
    """Closed outlines of all regions and holes, as (N, 2) float32 of column and row in px.

    The picture's top left corner is (0, 0) and its bottom right corner (W, H), as in presentation states (PS3.3
    C.10.5). Straight runs have points only at their ends.

    Args:
        mask: (H, W) bool.
        most_points: outlines with more points are split; the pieces share their ends.
    """
    if not mask.any():
        return []
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    top, left = int(rows[0]), int(columns[0])
    part = mask[top : int(rows[-1]) + 1, left : int(columns[-1]) + 1].astype(np.uint8)
    # At twice the size, the pixels that OpenCV follows lie at either side of each edge: 2c and 2c + 1 for column c.
    doubled = cv2.resize(part, (part.shape[1] * 2, part.shape[0] * 2), interpolation=cv2.INTER_NEAREST)
    found, _ = cv2.findContours(doubled, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    pieces = []
    for contour in found:
        edges = (contour[:, 0, :] + 1) // 2 + (left, top)
        closed = _corners(np.vstack([edges, edges[:1]]))
        pieces += [closed[at : at + most_points] for at in range(0, len(closed) - 1, most_points - 1)]
    return [piece.astype(np.float32) for piece in pieces]


def _corners(path: NDArray[np.int64]) -> NDArray[np.int64]:
    """The path without repeated points and without points in the middle of a straight run."""
    path = path[np.r_[True, np.any(np.diff(path, axis=0) != 0, axis=1)]]
    steps = np.diff(path, axis=0)
    turns = np.any(steps[1:] != steps[:-1], axis=1)
    return path[np.r_[True, turns, True]]

"""Draws a pneumothorax into a film without one, for the example film. It is not used for any measurement.

It draws the signs that a radiologist looks for: a crescent of air along the chest wall, darker than lung and without
lung markings, and at its edge the thin bright line of the visceral pleura. Ribs remain visible through the crescent.
"""

import cv2
import numpy as np
from numpy.typing import NDArray


def simulate_pneumothorax(
    pixels: NDArray[np.float32],
    chest_wall: NDArray[np.float32],
    pleura: NDArray[np.float32],
    darkening: float = 0.16,
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Draw air between the chest wall and a collapsed lung.

    Args:
        pixels: (H, W) float32 in [0, 1], 1 = white = dense.
        chest_wall: (N, 2) points (x, y) of the inner chest wall, as shares of width and height.
        pleura: (M, 2) points of the collapsed lung's edge, in the same direction from the same end.
        darkening: how much darker the air is than the film, in [0, 1].

    Returns:
        The film (H, W) float32 in [0, 1], and the air's mask (H, W) bool.
    """
    height, width = pixels.shape
    unit = max(height, width) / 1000
    scale = np.array([width, height], dtype=np.float32)
    wall, line = (_smooth(points) * scale for points in (chest_wall, pleura))

    air = np.zeros((height, width), dtype=np.uint8)
    cv2.fillPoly(air, [np.concatenate([wall, line[::-1]]).astype(np.int32)], 1)
    edge = np.zeros((height, width), dtype=np.float32)
    cv2.polylines(edge, [line.astype(np.int32)], False, 1.0, max(1, round(1.6 * unit)), cv2.LINE_AA)

    soft = cv2.GaussianBlur(air.astype(np.float32), (0, 0), 1.2 * unit)
    without_markings = _remove_markings(pixels, unit)
    film = pixels * (1 - soft) + (without_markings - darkening * without_markings) * soft
    film += 0.055 * cv2.GaussianBlur(edge, (0, 0), 0.7 * unit)
    return np.clip(film, 0, 1).astype(np.float32), air.astype(np.bool_)


def _remove_markings(pixels: NDArray[np.float32], unit: float) -> NDArray[np.float32]:
    """Remove vessels, which are thin bright strands, by an opening narrower than a rib. Then restore the fine grain."""
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * round(4 * unit) + 1,) * 2)
    opened = cv2.GaussianBlur(cv2.morphologyEx(pixels, cv2.MORPH_OPEN, kernel), (0, 0), 2.5 * unit)
    grain = pixels - cv2.GaussianBlur(pixels, (0, 0), 0.8 * unit)
    return np.asarray(opened + grain, dtype=np.float32)


def _smooth(points: NDArray[np.float32], steps: int = 24) -> NDArray[np.float32]:
    """A Catmull-Rom curve through the points (N, 2)."""
    padded = np.concatenate([points[:1], points, points[-1:]]).astype(np.float64)
    t = np.linspace(0, 1, steps, endpoint=False)[:, None]
    pieces = [
        0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
        for a, b, c, d in zip(padded, padded[1:], padded[2:], padded[3:], strict=False)
    ]
    return np.concatenate([*pieces, points[-1:]]).astype(np.float32)

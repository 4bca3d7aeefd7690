"""The display shutter: the part of the picture that the header wants to show (PS3.3 C.7.6.11)."""

import cv2
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from ptx_app.film.dicom.header import integer, numbers, texts

_LEAST_OPEN = 0.05  # share of the picture; a shutter with a smaller opening is taken for an error


def hidden_by_shutter(dataset: Dataset, rows: int, columns: int) -> NDArray[np.bool_] | None:
    """(rows, columns), True for pixels that the header's shutters hide; None if there is no valid shutter."""
    opened = np.ones((rows, columns), np.uint8)
    for shape in (word.upper() for word in texts(dataset, "ShutterShape")):
        if shape in _SHAPES:
            opened &= _SHAPES[shape](dataset, rows, columns)
    share = float(opened.mean())
    return opened == 0 if _LEAST_OPEN <= share < 1 else None


def _rectangle(dataset: Dataset, rows: int, columns: int) -> NDArray[np.uint8]:
    upper, lower = _edges(dataset, "ShutterUpperHorizontalEdge", "ShutterLowerHorizontalEdge", rows)
    left, right = _edges(dataset, "ShutterLeftVerticalEdge", "ShutterRightVerticalEdge", columns)
    opened = np.zeros((rows, columns), np.uint8)
    opened[upper:lower, left:right] = 1
    return opened


def _edges(dataset: Dataset, first: str, last: str, lines: int) -> tuple[int, int]:
    """First open line, and the line after the last open one.

    The header counts from 1, and its edges are part of the shutter, except at the picture's own edges.
    """
    begin, end = integer(dataset, first), integer(dataset, last)
    return (
        0 if begin is None or begin <= 1 else begin,
        lines if end is None or end >= lines else max(end - 1, 0),
    )


def _circle(dataset: Dataset, rows: int, columns: int) -> NDArray[np.uint8]:
    centre, radius = numbers(dataset, "CenterOfCircularShutter"), integer(dataset, "RadiusOfCircularShutter")
    if len(centre) != 2 or radius is None or None in centre:
        return np.ones((rows, columns), np.uint8)
    row, column = (float(value or 0) - 1 for value in centre)
    down, right = np.ogrid[:rows, :columns]
    return np.asarray((down - row) ** 2 + (right - column) ** 2 <= radius**2, np.uint8)


def _polygon(dataset: Dataset, rows: int, columns: int) -> NDArray[np.uint8]:
    values = numbers(dataset, "VerticesOfThePolygonalShutter")
    if len(values) < 6 or len(values) % 2 or None in values:
        return np.ones((rows, columns), np.uint8)
    points = (
        np.asarray(values, np.float64).reshape(-1, 2)[:, ::-1] - 1
    )  # the header has row before column, counted from 1
    opened = np.zeros((rows, columns), np.uint8)
    cv2.fillPoly(opened, [np.clip(points, -32768, 32767).astype(np.int32)], 1)
    return opened


_SHAPES = {"RECTANGULAR": _rectangle, "CIRCULAR": _circle, "POLYGONAL": _polygon}

"""The parts of a prepared folder as bytes: pictures, masks, and the index with its rows."""

import csv
import io
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from ptx_app.data.index import INDEX_COLUMNS, MaskKind
from ptx_app.data.store import STORED_SIDE
from ptx_app.film.radiograph import View, grey_picture

_QUALITY = 90  # of WebP

IndexRow = dict[str, str]


def index_row(name: str, *, positive: bool, masked: bool, kind: MaskKind, view: View) -> IndexRow:
    """A film's row of index.csv, without split and patient. `masked`: whether it has a mask's file."""
    values = {
        "image_id": name,
        "label": str(int(positive)),
        "mask_kind": str(kind),
        "view": str(view),
        "image": f"images/{name}.webp",
        "mask": f"masks/{name}.png" if masked else "",
    }
    return dict.fromkeys(INDEX_COLUMNS, "") | values


def index_table(rows: Sequence[IndexRow], columns: Sequence[str] = INDEX_COLUMNS) -> bytes:
    """A CSV table with a header."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def stored_film(pixels: NDArray[np.float32]) -> bytes:
    """A film (H, W) float32 in [0, 1], stretched to 512 × 512 px, as WebP."""
    small = cv2.resize(pixels, (STORED_SIDE, STORED_SIDE), interpolation=cv2.INTER_AREA)
    options = [cv2.IMWRITE_WEBP_QUALITY, _QUALITY]
    return cv2.imencode(".webp", grey_picture(np.asarray(small, np.float32)), options)[1].tobytes()


def stored_mask(mask: NDArray[np.bool_]) -> bytes:
    """A mask (H, W) at its own size, as a PNG of 1 bit."""
    picture = mask.astype(np.uint8) * np.uint8(255)
    return cv2.imencode(".png", picture, [cv2.IMWRITE_PNG_BILEVEL, 1])[1].tobytes()

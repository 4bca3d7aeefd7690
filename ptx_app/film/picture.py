"""Reads a PNG or JPEG picture as a film."""

from collections.abc import Callable
from io import BytesIO
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ptx_app.errors import FilmError, NotAFilmError
from ptx_app.film.codestream import broken, check_scans, jpeg_facts, truncated
from ptx_app.film.colour import grey_of, is_coloured
from ptx_app.film.limits import Limits
from ptx_app.film.modality import Scale
from ptx_app.film.radiograph import FilmNote, Radiograph
from ptx_app.film.shades import full_range, render

_COLOUR = FilmNote("COLOUR_PICTURE", "This picture is in colour. Only its brightness is used.")

# For each EXIF orientation (Exif 2.32, 4.6.4 A), the function that brings the picture upright.
_UPRIGHT: dict[int, Callable[[NDArray[Any]], NDArray[Any]]] = {
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: np.transpose,
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).T,
    8: np.rot90,
}


def read_picture(data: bytes, limits: Limits) -> Radiograph:
    """Read a PNG or JPEG picture: 8 or 16 bit, palette, alpha over black; rotated upright by its EXIF orientation.

    Raises:
        NotAFilmError: too small for a film.
        FilmError: damaged, cut short, or larger than the limits.
    """
    kind = "PNG" if data.startswith(b"\x89PNG") else "JPEG"
    try:
        channels, coloured = _decode(data, kind, limits)
    except (FilmError, MemoryError):
        raise
    except Image.DecompressionBombError:
        raise FilmError("TOO_LARGE", "This picture has too many pixels. Export the film again, smaller.") from None
    except Exception:  # Pillow raises OSError, SyntaxError, ValueError, struct.error and more on damaged files
        raise broken() from None
    bits = channels.dtype.itemsize * 8
    values = np.arange(1 << bits, dtype=np.float64)
    picture = render(channels, full_range(values), Scale(values))
    rows, columns = channels.shape
    return Radiograph(
        pixels=picture.pixels,
        modality=picture.modality,
        tags={"Size": f"{columns} × {rows} px", "Grey levels": f"{bits} bit"},
        source_format=f"{kind}, {bits} bit",
        warnings=(*([_COLOUR] if coloured else []), *picture.warnings),
        rejections=picture.rejections,
        field=picture.field,
    )


def _decode(data: bytes, kind: str, limits: Limits) -> tuple[NDArray[np.uint8] | NDArray[np.uint16], bool]:
    """The grey picture (H, W), and whether it was in colour."""
    with Image.open(BytesIO(data), formats=[kind]) as image:
        columns, rows = image.size
        if rows * columns > limits.pixels or max(rows, columns) > limits.side:
            raise FilmError("TOO_LARGE", f"This picture is too large: {columns} × {rows} px. Export the film smaller.")
        if min(rows, columns) < limits.smallest_side:
            raise NotAFilmError(
                "TOO_SMALL", f"This picture is too small: {columns} × {rows} px. Export the film at full size."
            )
        facts = jpeg_facts(data) if kind == "JPEG" else None
        try:
            image.load()
        except OSError:
            raise truncated() from None
        if facts:
            check_scans(data, facts, np.asarray(image), _jpeg)
        turn = image.getexif().get(0x0112, 1)
        if kind == "PNG" and data[24] == 16:
            array = _png_16(data)
        else:
            has_alpha = image.has_transparency_data
            mode = "RGBA" if has_alpha else "L" if image.mode in ("1", "L") else "RGB"
            array = np.asarray(image.convert(mode))
    grey, coloured = _flatten(np.asarray(array))
    return np.ascontiguousarray(_UPRIGHT.get(turn, np.asarray)(grey)), coloured


def _png_16(data: bytes) -> NDArray[Any]:
    """Decode 16-bit grey, RGB or RGBA with OpenCV, as Pillow keeps 16 bits in grey pictures only."""
    array = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if array is None:
        raise broken()
    return array if array.ndim == 2 else array[..., [2, 1, 0, 3][: array.shape[2]]]


def _jpeg(data: bytes) -> NDArray[Any]:
    with Image.open(BytesIO(data), formats=["JPEG"]) as image:
        return np.asarray(image)


def _flatten(array: NDArray[Any]) -> tuple[NDArray[Any], bool]:
    """Grey, RGB or RGBA as grey of the same bit depth, over black; and whether it is coloured."""
    if array.ndim == 2:
        return array, False
    rgb, grey = array[..., :3], grey_of(array[..., :3])
    if array.shape[2] == 4:
        grey = np.rint(grey * (array[..., 3] / np.iinfo(array.dtype).max)).astype(array.dtype)
    return np.ascontiguousarray(grey), is_coloured(rgb)

"""A PNG or JPEG picture as a film."""

from collections.abc import Callable
from io import BytesIO
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ptx_app.errors import FilmError, NotAFilmError
from ptx_app.film.codestream import broken, check_scans, jpeg_facts, truncated
from ptx_app.film.grey import full_range, percentile_range
from ptx_app.film.limits import Limits
from ptx_app.film.radiograph import FilmNote, Radiograph

_COLOUR = FilmNote("COLOUR_PICTURE", "This picture is in colour; its brightness alone was read.")
_STRETCHED = FilmNote(
    "GREY_RANGE_STRETCHED", "This 16-bit picture uses few of its greys. They were stretched from black to white."
)
_BLANK = FilmNote("BLANK_PICTURE", "The picture is blank: every pixel has the same grey.")

# A pixel is coloured where its channels are this far apart (of 255), a picture where this share of its pixels is.
_COLOURED_APART = 24
_COLOURED_SHARE = 0.01
# A 16-bit picture whose brightest pixel leaves two bits unused holds the raw 12 or 14 bits of a detector.
_FEW_GREYS = 1 << 14
# EXIF orientation (Exif 2.32, 4.6.4 A) to what brings the picture upright.
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
    """Read a PNG or JPEG picture, told apart by content: 8 or 16 bit, palette, alpha over black, turned as EXIF says.

    Raises:
        NotAFilmError: too small for a film.
        FilmError: broken, cut short, or larger than the limits.
    """
    kind = "PNG" if data.startswith(b"\x89PNG") else "JPEG"
    try:
        channels, coloured = _decode(data, kind, limits)
    except (FilmError, MemoryError):
        raise
    except Image.DecompressionBombError:
        raise FilmError("TOO_LARGE", "This picture has more pixels than any film. It was not read.") from None
    except Exception:  # Pillow raises OSError, SyntaxError, ValueError, struct.error and more on damaged files
        raise broken() from None
    warnings = [_COLOUR] if coloured else []
    rejections = [_BLANK] if channels.min() == channels.max() else []
    bits = channels.dtype.itemsize * 8
    levels = np.arange(1 << bits, dtype=np.float64)
    shades = full_range(levels)
    if bits == 16 and channels.max() < _FEW_GREYS:
        counts = cv2.calcHist([channels], [0], None, [65536], [0, 65536]).ravel().astype(np.float64)
        shades = percentile_range(levels, counts)
        warnings.append(_STRETCHED)
    rows, columns = channels.shape
    return Radiograph(
        pixels=cv2.LUT(channels, shades.astype(np.float32)[None]).astype(np.float32, copy=False),
        tags={"Size": f"{columns} × {rows} px", "Grey levels": f"{bits} bit"},
        source_format=f"{kind}, {bits} bit",
        warnings=tuple(warnings),
        rejections=tuple(rejections),
    )


def _decode(data: bytes, kind: str, limits: Limits) -> tuple[NDArray[np.uint8] | NDArray[np.uint16], bool]:
    """(H, W) grey, and whether the picture has colours."""
    with Image.open(BytesIO(data), formats=[kind]) as image:
        columns, rows = image.size
        if rows * columns > limits.pixels or max(rows, columns) > limits.side:
            raise FilmError("TOO_LARGE", f"This picture has {columns} × {rows} px, more than is read here.")
        if min(rows, columns) < limits.smallest_side:
            raise NotAFilmError("TOO_SMALL", f"This picture is {columns} × {rows} px, too small for a chest film.")
        facts = jpeg_facts(data) if kind == "JPEG" else None
        try:
            image.load()
        except OSError:
            raise truncated() from None
        if facts:
            check_scans(data, facts, np.asarray(image), _jpeg)
        turn = image.getexif().get(0x0112, 1)
        if kind == "PNG" and data[24] == 16:
            array = cv2.imdecode(
                np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED
            )  # Pillow keeps 16 bits in grey only
            if array is None:
                raise broken()
        else:
            has_alpha = image.has_transparency_data
            mode = "RGBA" if has_alpha else "L" if image.mode in ("1", "L") else "RGB"
            array = np.asarray(image.convert(mode))
            if array.ndim == 3:
                array = cv2.cvtColor(array, cv2.COLOR_RGBA2BGRA if has_alpha else cv2.COLOR_RGB2BGR)
    grey, coloured = _flatten(np.asarray(array))
    return np.ascontiguousarray(_UPRIGHT.get(turn, np.asarray)(grey)), coloured


def _jpeg(data: bytes) -> NDArray[Any]:
    with Image.open(BytesIO(data), formats=["JPEG"]) as image:
        return np.asarray(image)


def _flatten(array: NDArray[Any]) -> tuple[NDArray[Any], bool]:
    """Grey, BGR or BGRA to grey of the same depth, what is transparent black; and whether it has colours."""
    if array.ndim == 2:
        return array, False
    colour = array[..., :3]
    apart = np.ptp(colour, axis=2)
    most = np.iinfo(array.dtype).max
    coloured = bool((apart > most // 255 * _COLOURED_APART).mean() > _COLOURED_SHARE)
    grey = colour[..., 0] if not apart.any() else np.asarray(cv2.cvtColor(colour, cv2.COLOR_BGR2GRAY))
    if array.shape[2] == 4:
        grey = np.rint(grey * (array[..., 3] / most)).astype(array.dtype)
    return np.ascontiguousarray(grey), coloured

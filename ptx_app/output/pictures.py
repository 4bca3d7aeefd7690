"""Films and findings as pictures."""

import struct
import zlib

import cv2
import numpy as np
from numpy.typing import NDArray

from ptx_app.film.radiograph import grey_picture
from ptx_app.inference.decide import Finding

_PNG = [cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE]
THUMBNAIL_PX = 160
FINDING_COLOUR = (255, 176, 0)
"""RGB of the finding's colour: an amber that stands out on grey, also for colour-blind users."""
_HALO_DIVISOR = 5  # black at an opacity of 0.8


def thumbnail(pixels: NDArray[np.float32]) -> bytes:
    """A JPEG of a film (H, W) float32 in [0, 1], at most THUMBNAIL_PX on its longer side."""
    return encoded(shrunk(grey_picture(pixels), THUMBNAIL_PX), ".jpg")


def mask_picture(finding: Finding) -> NDArray[np.uint8]:
    """The mask as (H, W) uint8, 0 or 255, at the film's own size."""
    return finding.mask.astype(np.uint8) * np.uint8(255)


def contour(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The mask's outline, (H, W) bool. It runs outside the mask's edge; its width depends on the film's size."""
    return _widened(mask) & ~mask


def _widened(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The mask, wider by a line on all sides."""
    width = line_width(mask.shape)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * width + 1,) * 2)
    return cv2.dilate(mask.astype(np.uint8), kernel).astype(np.bool_)


def overlay_picture(grey: NDArray[np.uint8], finding: Finding, fill: float = 0.0) -> NDArray[np.uint8]:
    """The film with the finding's contour and fill over it.

    Around the contour runs a dark line of the same width, as in the viewer: on white, amber alone cannot be seen.

    Args:
        grey: (H, W) uint8.
        finding: its mask has the film's size.
        fill: opacity of the fill in [0, 1].

    Returns:
        (H, W, 3) uint8 RGB.
    """
    picture = np.asarray(cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB), dtype=np.uint8)
    if fill:
        # Only the pixels inside: float copies of a whole large film take more than a gigabyte.
        colour = np.asarray(FINDING_COLOUR, dtype=np.float32)
        within = picture[finding.mask].astype(np.float32) * (1 - fill) + colour * fill
        picture[finding.mask] = np.asarray(within + 0.5, dtype=np.uint8)
    with_line = _widened(finding.mask)
    halo = _widened(with_line) & ~with_line
    picture[halo] //= _HALO_DIVISOR
    picture[with_line & ~finding.mask] = FINDING_COLOUR
    return picture


def line_width(shape: tuple[int, ...]) -> int:
    """Contour width in px that looks the same for any film size (H, W)."""
    return max(1, round(max(shape[:2]) / 450))


def shrunk(picture: NDArray[np.uint8], longest: int) -> NDArray[np.uint8]:
    """The picture with its longer side at most `longest` px, by area averaging; unchanged where it is smaller."""
    height, width = picture.shape[:2]
    scale = longest / max(height, width)
    if scale >= 1:
        return picture
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def encoded(picture: NDArray[np.uint8], kind: str = ".png", comment: str = "") -> bytes:
    """A picture (H, W), (H, W, 3) RGB or (H, W, 4) RGBA as the bytes of a PNG (".png") or a JPEG (".jpg", quality 95).

    PNG uses run-length coding: a third of the usual time, and smaller files for films. The comment is written as PNG
    text "Comment" or as JPEG comment, in Latin-1, which is what PNG text is in.
    """
    if picture.ndim == 3:
        code = cv2.COLOR_RGBA2BGRA if picture.shape[2] == 4 else cv2.COLOR_RGB2BGR
        picture = np.asarray(cv2.cvtColor(picture, code), dtype=np.uint8)
    options = [cv2.IMWRITE_JPEG_QUALITY, 95] if kind == ".jpg" else _PNG
    made = bytes(cv2.imencode(kind, picture, options)[1])
    return _commented(made, kind, comment.encode("latin-1", "replace")) if comment else made


def _commented(made: bytes, kind: str, comment: bytes) -> bytes:
    """OpenCV writes no comments, so one is put in behind the header: IHDR of a PNG, JFIF's segment of a JPEG."""
    if kind == ".jpg":
        header = 4 + int.from_bytes(made[4:6])
        return made[:header] + b"\xff\xfe" + struct.pack(">H", len(comment) + 2) + comment + made[header:]
    header = 8 + 25
    chunk = b"tEXtComment\0" + comment
    return (
        made[:header] + struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) + made[header:]
    )

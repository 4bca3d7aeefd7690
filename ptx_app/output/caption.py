"""Lines below a picture that leaves the program: what was found, with what, and that it is no diagnosis.

A picture is copied into slides and messages, where its file's comment does not follow it.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from ptx_app import __version__
from ptx_app.inference.decide import Finding, Grade
from ptx_app.output.pictures import overlay_picture, shrunk
from ptx_app.output.record import NOTICE
from ptx_app.output.setting import Setting

_LETTERS_ACROSS = 52  # the font's height as a part of the picture's width
_LEAST_PX = 9
_GREY = 225


def captioned_overlay(
    grey: NDArray[np.uint8], finding: Finding, setting: Setting, *, sides: bool, longest: int | None = None
) -> NDArray[np.uint8]:
    """A film with the finding's contour over it and a caption below: the picture that leaves the program.

    Args:
        grey: (H, W) uint8; the finding's mask has its size.
        finding, setting, sides: as in `captioned`.
        longest: the film is made this small, in px on its longer side, before the caption is set; None leaves its size.

    Returns:
        (H, W, 3) uint8 RGB, higher by the caption.
    """
    picture = overlay_picture(grey, finding)
    return captioned(picture if longest is None else shrunk(picture, longest), finding, setting, sides=sides)


def captioned(picture: NDArray[np.uint8], finding: Finding, setting: Setting, *, sides: bool) -> NDArray[np.uint8]:
    """The picture with a black strip below it that names result, setting and limits. No pixel of the picture changes.

    Args:
        picture: (H, W, 3) uint8 RGB.
        finding: what was found on it.
        setting: with what it was found.
        sides: whether to mark the patient's right and left, R and L: only for a film known to be frontal.

    Returns:
        (H + the strip's height, W, 3) uint8 RGB.
    """
    width = picture.shape[1]
    size = max(_LEAST_PX, round(width / _LETTERS_ACROSS))
    margin = size // 2
    lines = caption_lines(finding, setting)
    room = width - 2 * margin - (4 * size if sides else 0)
    longest = max(_font(size).getlength(line) for line in lines)
    font = _font(size * min(1.0, room / longest))
    pitch = round(1.4 * size)
    strip = Image.new("RGB", (width, pitch * len(lines) + margin))
    draw = ImageDraw.Draw(strip)
    for number, line in enumerate(lines):
        draw.text((width / 2, margin / 2 + pitch * (number + 0.5)), line, (_GREY,) * 3, font, anchor="mm")
    if sides:
        middle = strip.height / 2
        draw.text((margin, middle), "R", (_GREY,) * 3, _font(1.6 * size), anchor="lm")
        draw.text((width - margin, middle), "L", (_GREY,) * 3, _font(1.6 * size), anchor="rm")
    return np.vstack([picture, np.asarray(strip, dtype=np.uint8)])


def caption_lines(finding: Finding, setting: Setting) -> tuple[str, str]:
    """What stands below a picture: the result and with what it was made, and the notice."""
    verdict = "flagged" if finding.flagged else "none flagged"
    if finding.grade is Grade.BORDERLINE:
        verdict = f"borderline, {verdict}"
    point = "set by hand" if setting.by_hand else setting.operating_point
    return (
        f"Score {finding.score:.3f}, {verdict} (threshold {finding.thresholds.score:.3f}, {point}). "
        f"{setting.weights.name}, ptx_app {__version__}.",
        NOTICE,
    )


def _font(size: float) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(max(1.0, size))
    assert isinstance(font, ImageFont.FreeTypeFont)  # noqa: S101  (Pillow's wheels have FreeType)
    return font

"""The result of reading a file: the pixels as a radiologist sees them, and nothing that identifies the patient."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from enum import StrEnum
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ptx_app.film.modality import ModalityValues

Value = TypeVar("Value", bound=np.generic)


class View(StrEnum):
    """View position of a chest film."""

    PA = "PA"
    AP = "AP"
    LATERAL = "lateral"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class PixelSpacing:
    """Distance between pixel centres in mm.

    `believable` is False if the film's size in mm does not fit a chest, or if nothing says what the spacing was
    measured on. `calibrated` is True if the header says that it holds in the patient; else it holds at the detector,
    where the chest is some 5 to 20 % larger.
    """

    row_mm: float
    column_mm: float
    believable: bool
    calibrated: bool = False


@dataclass(frozen=True)
class Box:
    """A part of a picture, in px: from `top` and `left` up to but not including `bottom` and `right`."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def height(self) -> int:
        """Rows."""
        return self.bottom - self.top

    @property
    def width(self) -> int:
        """Columns."""
        return self.right - self.left

    def scaled(self, rows: float, columns: float) -> "Box":
        """The same part of a picture with that many times the rows and columns."""
        return Box(
            round(self.top * rows), round(self.left * columns), round(self.bottom * rows), round(self.right * columns)
        )

    def of(self, picture: NDArray[Value]) -> NDArray[Value]:
        """This part of a picture (H, W), as a view."""
        return picture[self.top : self.bottom, self.left : self.right]


@dataclass(frozen=True)
class FilmNote:
    """Something that the user should know about a film. `code` is stable; `message` is ready to be shown."""

    code: str
    message: str


_NOT_FRONTAL = frozenset({"LATERAL_VIEW", "NOT_FRONTAL_VIEW", "NOT_A_CHEST_FILM", "TURNED_FILM", "MIRRORED"})


def is_frontal(rejections: Iterable[FilmNote]) -> bool:
    """Whether a film may be taken for frontal, upright and not mirrored: no rejection says otherwise.

    Else its left is not the patient's.

    >>> is_frontal([FilmNote("INVERTED_FILM", "Black and white are swapped.")])
    True
    """
    return not any(rejection.code in _NOT_FRONTAL for rejection in rejections)


@dataclass(frozen=True)
class Radiograph:
    """One film.

    Attributes:
        pixels: (H, W) float32 in [0, 1], 1 = white = dense, after modality and VOI LUT; MONOCHROME1 is inverted.
        view: from the header, else UNKNOWN.
        spacing: from the header, or None.
        tags: technical header values that may be shown, as label and text, in display order. Never a name, an
            identifier, a date or free text.
        source_format: file format in words, such as "DICOM, JPEG Baseline" or "PNG, 16 bit".
        warnings: problems that did not prevent reading.
        field: the film's box in the picture if the margins are wider than films usually have; else None.
        modality: the same film before the header's window; None if `pixels` were changed since the film was read.
        rejections: reasons from the header, or from a blank picture, why this is not a usable frontal chest film.
    """

    pixels: NDArray[np.float32]
    view: View = View.UNKNOWN
    spacing: PixelSpacing | None = None
    tags: Mapping[str, str] = dataclass_field(default_factory=dict)
    source_format: str = ""
    warnings: tuple[FilmNote, ...] = ()
    rejections: tuple[FilmNote, ...] = ()
    field: Box | None = None
    modality: ModalityValues | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in px."""
        return self.pixels.shape[0], self.pixels.shape[1]

    @property
    def film(self) -> NDArray[np.float32]:
        """The pixels of the field, or all pixels if it is None; as a view."""
        return self.pixels if self.field is None else self.field.of(self.pixels)


def grey_picture(pixels: NDArray[np.float32]) -> NDArray[np.uint8]:
    """A film (H, W) float32 in [0, 1] as (H, W) uint8.

    >>> grey_picture(np.array([[0, 0.5, 1]], np.float32))
    array([[  0, 128, 255]], dtype=uint8)
    """
    return np.asarray(np.clip(pixels, 0, 1) * 255 + 0.5, dtype=np.uint8)

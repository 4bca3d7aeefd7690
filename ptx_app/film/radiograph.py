"""What a reader makes of a file: the pixels as a radiologist sees them, and nothing of who the patient is."""

from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from enum import StrEnum
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Picture = TypeVar("Picture", bound=np.generic)


class View(StrEnum):
    """View position of a chest film."""

    PA = "PA"
    AP = "AP"
    LATERAL = "lateral"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class PixelSpacing:
    """Distance between pixel centres, in mm. `believable` is False where the film's size in mm cannot be a chest's."""

    row_mm: float
    column_mm: float
    believable: bool


@dataclass(frozen=True)
class Box:
    """A part of a picture, in px: rows from `top`, columns from `left` on, up to but without `bottom` and `right`."""

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

    def of(self, picture: NDArray[Picture]) -> NDArray[Picture]:
        """This part of a picture (H, W), not copied."""
        return picture[self.top : self.bottom, self.left : self.right]


@dataclass(frozen=True)
class FilmNote:
    """Something the reader of the film should know. `code` is stable; `message` may be shown as it is."""

    code: str
    message: str


@dataclass(frozen=True)
class Radiograph:
    """One film.

    Attributes:
        pixels: (H, W) float32 in [0, 1], 1 = white = dense, after modality and VOI LUT, MONOCHROME1 turned.
        view: as the header says, else UNKNOWN.
        spacing: from the header, or None.
        tags: technical header values that may be shown, label to text, in the order to show them. Never a name,
            an identifier, a date or free text.
        source_format: what the file is, in words: "DICOM, JPEG Baseline", "PNG, 16 bit".
        warnings: what was found odd and was read all the same.
        field: where the film lies within the picture, if that has wider margins than films have; else None.
        rejections: why the header says that this is no frontal chest film; empty for a film.
    """

    pixels: NDArray[np.float32]
    view: View = View.UNKNOWN
    spacing: PixelSpacing | None = None
    tags: Mapping[str, str] = dataclass_field(default_factory=dict)
    source_format: str = ""
    warnings: tuple[FilmNote, ...] = ()
    rejections: tuple[FilmNote, ...] = ()
    field: Box | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in px."""
        return self.pixels.shape[0], self.pixels.shape[1]

    @property
    def film(self) -> NDArray[np.float32]:
        """The pixels of the field, or all if it is None; not copied."""
        return self.pixels if self.field is None else self.field.of(self.pixels)

"""What a reader makes of a file: the pixels as a radiologist sees them, and nothing of who the patient is."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray


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
        rejections: why the header says that this is no frontal chest film; empty for a film.
    """

    pixels: NDArray[np.float32]
    view: View = View.UNKNOWN
    spacing: PixelSpacing | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    source_format: str = ""
    warnings: tuple[FilmNote, ...] = ()
    rejections: tuple[FilmNote, ...] = ()

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in px."""
        return self.pixels.shape[0], self.pixels.shape[1]

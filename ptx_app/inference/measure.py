"""How large a pneumothorax is and where it lies, side by side."""

from dataclasses import dataclass
from enum import StrEnum

import cv2
import numpy as np
from numpy.typing import NDArray

from ptx_app.film.radiograph import Box, PixelSpacing
from ptx_app.inference.decide import Finding, Side
from ptx_app.inference.lungs import Lungs

_LARGE_PART = 0.25  # of a side's area: what a place needs to be named


class Place(StrEnum):
    """A third of the hemithorax, from the apex to the base."""

    APICAL = "apical"
    LATERAL = "lateral"
    BASAL = "basal"


@dataclass(frozen=True)
class SideMeasure:
    """The pneumothorax on one side.

    Attributes:
        side: of the patient.
        film_share: area as a share of the film's, in [0, 1].
        hemithorax_share: area as a share of the hemithorax, in [0, 1]; None if no pair of lungs was found. The
            hemithorax is the lung field together with the pneumothorax itself. An area on a film is no volume.
        places: the thirds of the hemithorax that hold a quarter of the area or more; empty without a pair of lungs.
        apical_mm: largest vertical distance between chest wall and lung in the upper third.
        lateral_mm: largest horizontal distance in the middle and lower thirds.
        collins_percent: estimated size in percent of the hemithorax's volume, from three distances (Collins et al., AJR
            1995;165:1127): 4.2 + 4.7 × (apical + middle of the upper half + middle of the lower half, in cm). For
            erect PA films of one-sided pneumothoraces. The last three are None without a pair of lungs, or where the
            header's spacing cannot be believed.
    """

    side: Side
    film_share: float
    hemithorax_share: float | None
    places: tuple[Place, ...]
    apical_mm: float | None
    lateral_mm: float | None
    collins_percent: float | None


def measure(
    finding: Finding, lungs: Lungs | None, spacing: PixelSpacing | None, field: Box | None = None
) -> tuple[SideMeasure, ...]:
    """Measure each side that has a region, the patient's right first. Regions whose side is unknown are left out.

    Args:
        finding: its mask is (H, W).
        lungs: of the same film, or None.
        spacing: of the film; used only if it is believable.
        field: the part of the picture that the film fills, which `lungs` is stretched over; None for all of it.
    """
    field = field or Box(0, 0, *finding.mask.shape)
    believed = spacing if spacing and spacing.believable else None
    return tuple(
        _measured(side, field.of(mask), lungs.of(side) if lungs else None, believed, finding.film_pixels)
        for side, mask in finding.by_side().items()
        if side is not Side.UNKNOWN
    )


def _measured(
    side: Side, own: NDArray[np.bool_], lung: NDArray[np.bool_] | None, spacing: PixelSpacing | None, film_pixels: int
) -> SideMeasure:
    share = float(np.count_nonzero(own) / film_pixels)
    if lung is None:
        return SideMeasure(side, share, None, (), None, None, None)
    stretched = cv2.resize(lung.astype(np.uint8), own.shape[::-1], interpolation=cv2.INTER_NEAREST) > 0
    hemithorax = stretched | own
    rows = np.flatnonzero(hemithorax.any(axis=1))
    top, height = int(rows[0]), int(rows[-1] - rows[0] + 1)
    upper, lower = top + height // 3, top + 2 * height // 3
    thirds = (own[:upper], own[upper:lower], own[lower:])
    parts = [np.count_nonzero(third) / np.count_nonzero(own) for third in thirds]
    places = tuple(place for place, part in zip(Place, parts, strict=True) if part >= _LARGE_PART)
    whole = float(np.count_nonzero(own) / np.count_nonzero(hemithorax))
    if spacing is None:
        return SideMeasure(side, share, whole, places, None, None, None)
    apical = own[:upper].sum(axis=0).max(initial=0) * spacing.row_mm
    across = own.sum(axis=1) * spacing.column_mm
    halves = [float(across[top + height * quarter // 4]) for quarter in (1, 3)]
    collins = min(100.0, 4.2 + 4.7 * (float(apical) + sum(halves)) / 10)
    lateral = across[upper:].max(initial=0)
    return SideMeasure(side, share, whole, places, float(apical), float(lateral), round(collins, 1))

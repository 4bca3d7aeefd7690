"""How large a pneumothorax is and where it lies, side by side."""

from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from ptx_app.film.radiograph import Box, PixelSpacing, View
from ptx_app.inference.decide import Finding, Side
from ptx_app.inference.lungs import Lungs

_LARGE_PART = 0.25  # of a side's area: what a place needs to be named
_APEX = 0.02  # of the hemithorax's height: columns that begin within it belong to the apex
# Of the higher hemithorax's height: below it, a side is not known as a whole, as where the lung is opaque by fluid.
_LEAST_HEIGHT = 2 / 3


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
        hemithorax_share: area as a share of the hemithorax, in [0, 1]. The hemithorax is the lung field together with
            the pneumothorax itself; it, and all that follows, is only known if a pair of lungs was found and this side
            is not much less high than the other. An area on a film is no volume.
        places: the thirds of the hemithorax that hold a quarter of the area or more.
        region_places: the third in which the middle of each region of this side lies, in the finding's order.
        apical_mm: largest vertical distance between chest wall and lung at the apex.
        lateral_mm: largest horizontal distance between chest wall and lung in the middle and lower thirds.
        collins_percent: estimated size in percent of the hemithorax's volume, from three distances (Collins et al., AJR
            1995;165:1127): 4.2 + 4.7 × (apical + at the middle of the lung's upper half + at that of its lower half, in
            cm). For erect PA films of one-sided pneumothoraces, so None on AP films and if there are regions on both
            sides. The last three are None also where the header's spacing cannot be believed.
        at_detector: whether the distances hold at the detector, where the chest is larger, and not in the patient.
    """

    side: Side
    film_share: float
    hemithorax_share: float | None = None
    places: tuple[Place, ...] = ()
    region_places: tuple[Place, ...] = ()
    apical_mm: float | None = None
    lateral_mm: float | None = None
    collins_percent: float | None = None
    at_detector: bool = False


def measure(
    finding: Finding,
    lungs: Lungs | None,
    spacing: PixelSpacing | None,
    field: Box | None = None,
    view: View = View.UNKNOWN,
) -> tuple[SideMeasure, ...]:
    """Measure each side that has a region, the patient's right first. Regions whose side is unknown are left out.

    Args:
        finding: its mask is (H, W).
        lungs: of the same film, or None.
        spacing: of the film; used only if it is believable.
        field: the part of the picture that the film fills, which `lungs` is stretched over; None for all of it.
        view: of the film.
    """
    field = field or Box(0, 0, *finding.mask.shape)
    believed = spacing if spacing and spacing.believable else None
    estimated = view is not View.AP and len(finding.sides) == 1
    masks: dict[Side, NDArray[np.bool_]] = {
        side: mask for side, mask in finding.by_side().items() if side is not Side.UNKNOWN
    }
    whole = {} if lungs is None else _whole_hemithoraces(masks, lungs, field)
    measured = []
    for side, mask in masks.items():
        found = SideMeasure(side, float(np.count_nonzero(mask) / finding.film_pixels))
        if side in whole:
            middles = [
                (region.box[1] + region.box[3]) / 2 - field.top for region in finding.regions if region.side is side
            ]
            found = whole[side].measured(found, middles, believed)
        measured.append(found if estimated else replace(found, collins_percent=None))
    return tuple(measured)


def _whole_hemithoraces(masks: dict[Side, NDArray[np.bool_]], lungs: Lungs, field: Box) -> dict[Side, "_Hemithorax"]:
    """Each side that is not much less high than the other."""
    nothing = np.zeros((field.height, field.width), np.bool_)
    both = {
        side: _Hemithorax.of(field.of(masks[side]) if side in masks else nothing, lungs.of(side), side)
        for side in (Side.RIGHT, Side.LEFT)
    }
    least = _LEAST_HEIGHT * max(each.height for each in both.values())
    return {side: each for side, each in both.items() if each.height >= least}


@dataclass(frozen=True)
class _Hemithorax:
    """One side of the film, turned so that the chest wall is at the left: the pneumothorax and the lung that is left.

    Both are (H, W) bool and share no pixel.
    """

    air: NDArray[np.bool_]
    lung: NDArray[np.bool_]

    @classmethod
    def of(cls, air: NDArray[np.bool_], lung: NDArray[np.bool_], side: Side) -> "_Hemithorax":
        stretched = cv2.resize(lung.astype(np.uint8), air.shape[::-1], interpolation=cv2.INTER_NEAREST) > 0
        if side is Side.LEFT:
            air, stretched = air[:, ::-1], stretched[:, ::-1]
        return cls(air, stretched & ~air)

    @cached_property
    def rows(self) -> tuple[int, int]:
        """The first row, and the one behind the last."""
        return _rows(self.air | self.lung)

    @property
    def height(self) -> int:
        """In px."""
        top, bottom = self.rows
        return bottom - top

    def measured(self, found: SideMeasure, middles: list[float], spacing: PixelSpacing | None) -> SideMeasure:
        """`found` with what the hemithorax tells; `middles`: the rows of its regions."""
        top, bottom = self.rows
        thirds = top + (bottom - top) // 3, top + 2 * (bottom - top) // 3
        area = np.count_nonzero(self.air)
        parts = [np.count_nonzero(third) / area for third in np.split(self.air, thirds)]
        found = replace(
            found,
            hemithorax_share=float(area / np.count_nonzero(self.air | self.lung)),
            places=tuple(place for place, part in zip(Place, parts, strict=True) if part >= _LARGE_PART),
            region_places=tuple(list(Place)[sum(middle >= row for row in thirds)] for middle in middles),
        )
        if spacing is None:
            return found
        apical = self._apical(top, bottom) * spacing.row_mm
        lateral = max(self._across(row) for row in range(thirds[0], bottom)) * spacing.column_mm
        first, last = _rows(self.lung) if self.lung.any() else (top, bottom)
        halves = [self._across(first + (last - first) * quarter // 4) * spacing.column_mm for quarter in (1, 3)]
        collins = min(100.0, 4.2 + 4.7 * (apical + sum(halves)) / 10)
        return replace(
            found,
            apical_mm=apical,
            lateral_mm=lateral,
            collins_percent=round(collins, 1),
            at_detector=not spacing.calibrated,
        )

    def _apical(self, top: int, bottom: int) -> float:
        """The air above the lung in px, in the columns of the apex: elsewhere a thin rim is cut at a slant."""
        near = top + max(1, round(_APEX * (bottom - top)))
        apex = (self.air | self.lung)[top:near].any(axis=0)
        depths = [_before(self.air[:, column], self.lung[:, column]) for column in np.flatnonzero(apex)]
        above = [depth for depth in depths if depth is not None]
        if above:
            return float(max(above))
        # No lung is left below the apex.
        return float((_rows(self.lung)[0] if self.lung.any() else bottom) - top)

    def _across(self, row: int) -> float:
        """The air between chest wall and lung in px, in a row; none in a row below the lung, all if no lung is left."""
        depth = _before(self.air[row], self.lung[row])
        if depth is None:
            return 0.0 if self.lung.any() else float(np.count_nonzero(self.air[row]))
        return float(depth)


def _before(air: NDArray[np.bool_], lung: NDArray[np.bool_]) -> int | None:
    """How many pixels of air lie before the last pixel of lung on a line from the chest wall; None without lung.

    A rim of lung field between wall and air is where two networks disagree, and does not count.
    """
    inside = np.flatnonzero(lung)
    return int(np.count_nonzero(air[: inside[-1]])) if inside.size else None


def _rows(mask: NDArray[np.bool_]) -> tuple[int, int]:
    """The first row with a pixel, and the one behind the last."""
    rows = np.flatnonzero(mask.any(axis=1))
    return int(rows[0]), int(rows[-1]) + 1

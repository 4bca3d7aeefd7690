"""The mask as a DICOM Segmentation on the film's own pixels: one segment for each side."""

from dataclasses import dataclass

import numpy as np
from highdicom import AlgorithmIdentificationSequence
from highdicom.color import CIELabColor
from highdicom.seg import Segmentation, SegmentDescription
from highdicom.sr import CodedConcept
from numpy.typing import NDArray
from pydicom.uid import ExplicitVRLittleEndian

from ptx_app import __version__
from ptx_app.inference.decide import Finding, Side
from ptx_app.output.dicom.codes import ABNORMAL_STRUCTURE, ARTIFICIAL_INTELLIGENCE, LATERALITY, PLEURA, PNEUMOTHORAX
from ptx_app.output.dicom.context import MANUFACTURER, Context
from ptx_app.output.pictures import FINDING_COLOUR

_LABELS = {
    Side.RIGHT: "Pneumothorax, patient's right",
    Side.LEFT: "Pneumothorax, patient's left",
    Side.UNKNOWN: "Pneumothorax, side unknown",
}
_NOTHING = "Pneumothorax, no region"


@dataclass(frozen=True)
class Segment:
    """The regions of one side: its number in the segmentation, and the pixels as (H, W) bool."""

    number: int
    side: Side
    mask: NDArray[np.bool_]

    @property
    def label(self) -> str:
        """Name of the segment, for people."""
        return _LABELS[self.side]


def segments_of(finding: Finding) -> list[Segment]:
    """The mask's pixels by side, the patient's right first. Together they are the mask; empty if there is none."""
    masks = finding.by_side().items()
    return [Segment(number, side, mask) for number, (side, mask) in enumerate(masks, start=1)]


def segmentation(context: Context, segments: list[Segment]) -> Segmentation:
    """The segments as a binary DICOM Segmentation. Without any, it has one segment without a pixel."""
    masks = [segment.mask for segment in segments] or [context.finding.mask]
    described = [_described(context, segment.number, segment.label, segment.side) for segment in segments]
    made = Segmentation(
        source_images=[context.film],
        pixel_array=np.stack(masks, axis=-1)[np.newaxis].astype(np.uint8),
        segmentation_type="BINARY",
        segment_descriptions=described or [_described(context, 1, _NOTHING, Side.UNKNOWN)],
        series_number=9901,
        manufacturer_model_name=context.setting.weights.name,
        software_versions=__version__,
        device_serial_number=context.setting.weights.sha256,
        content_label="PNEUMOTHORAX",
        content_description="Pneumothorax, found by software",
        series_description="Pneumothorax, segmentation",
        omit_empty_frames=False,
        transfer_syntax_uid=ExplicitVRLittleEndian,
        **context.maker(),
    )
    made.PatientOrientation = context.film.PatientOrientation
    context.complete(made)
    return made


def _described(context: Context, number: int, label: str, side: Side) -> SegmentDescription:
    described = SegmentDescription(
        segment_number=number,
        segment_label=label,
        segmented_property_category=ABNORMAL_STRUCTURE,
        segmented_property_type=PNEUMOTHORAX,
        algorithm_type="AUTOMATIC",
        algorithm_identification=AlgorithmIdentificationSequence(
            name=context.setting.weights.name,
            family=ARTIFICIAL_INTELLIGENCE,
            version=__version__,
            source=MANUFACTURER,
            parameters=context.setting.facts(),
        ),
        anatomic_regions=[PLEURA],
        display_color=CIELabColor.from_rgb(*FINDING_COLOUR),
    )
    if side in LATERALITY:
        described.AnatomicRegionSequence[0].AnatomicRegionModifierSequence = [CodedConcept.from_code(LATERALITY[side])]
    return described

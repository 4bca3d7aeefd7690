"""The finding as a structured report (TID 1500): verdict, score, side, size, and who measured."""

from highdicom import UID
from highdicom.seg import Segmentation
from highdicom.sr import (
    AlgorithmIdentification,
    DeviceObserverIdentifyingAttributes,
    EnhancedSR,
    FindingSite,
    Measurement,
    MeasurementReport,
    MeasurementsAndQualitativeEvaluations,
    ObservationContext,
    ObserverContext,
    PlanarROIMeasurementsAndQualitativeEvaluations,
    QualitativeEvaluation,
    ReferencedSegmentationFrame,
    SourceImageForMeasurementGroup,
    SourceImageForSegmentation,
    TrackingIdentifier,
)
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import ExplicitVRLittleEndian

from ptx_app import __version__
from ptx_app.output.dicom.codes import (
    AREA_SHARE,
    LATERALITY,
    NO_UNITS,
    PERCENT,
    PLEURA,
    PNEUMOTHORAX,
    RADIOGRAPHY,
    SCORE,
    SUMMARY,
    WITH_FINDINGS,
    WITHOUT_FINDINGS,
)
from ptx_app.output.dicom.context import MANUFACTURER, Context
from ptx_app.output.dicom.segmentation import Segment


def structured_report(context: Context, segments: list[Segment], made_segmentation: Segmentation) -> EnhancedSR:
    """One group of measurements for the film, and one for each segment. A person has not verified it."""
    device = DeviceObserverIdentifyingAttributes(
        uid=UID(), name=MANUFACTURER, manufacturer_name=MANUFACTURER, model_name=context.setting.weights.name
    )
    content = MeasurementReport(
        observation_context=ObservationContext(observer_device_context=ObserverContext(codes.DCM.Device, device)),
        procedure_reported=RADIOGRAPHY,
        imaging_measurements=[
            _whole(context),
            *(_part(context, segment, made_segmentation) for segment in segments),
        ],
        title=codes.DCM.ImagingMeasurementReport,
    )
    made = EnhancedSR(
        evidence=[context.film, made_segmentation],
        content=content,
        series_number=9904,
        is_complete=True,
        is_final=False,
        is_verified=False,
        series_description="Pneumothorax, report",
        manufacturer_model_name=context.setting.weights.name,
        software_versions=__version__,
        device_serial_number=context.setting.weights.sha256,
        transfer_syntax_uid=ExplicitVRLittleEndian,
        **context.maker(),
    )
    context.complete(made)
    return made


def _whole(context: Context) -> MeasurementsAndQualitativeEvaluations:
    finding, film = context.finding, context.film
    return MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(UID(), "Pneumothorax, whole film"),
        finding_type=PNEUMOTHORAX if finding.flagged else None,
        algorithm_id=_algorithm(context),
        source_images=[SourceImageForMeasurementGroup(film.SOPClassUID, film.SOPInstanceUID)],
        measurements=[Measurement(SCORE, round(finding.score, 6), unit=NO_UNITS), _percent(AREA_SHARE, finding.share)],
        qualitative_evaluations=[
            QualitativeEvaluation(SUMMARY, WITH_FINDINGS if finding.flagged else WITHOUT_FINDINGS)
        ],
    )


def _part(context: Context, segment: Segment, made: Segmentation) -> PlanarROIMeasurementsAndQualitativeEvaluations:
    film = context.film
    frame = ReferencedSegmentationFrame(
        made.SOPClassUID,
        made.SOPInstanceUID,
        frame_number=segment.number,
        segment_number=segment.number,
        source_image=SourceImageForSegmentation(film.SOPClassUID, film.SOPInstanceUID),
    )
    # Each frame is one segment, and only one of both numbers may be said (PS3.3 table 10-3).
    del frame[0].ReferencedSOPSequence[0].ReferencedSegmentNumber
    return PlanarROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(UID(), segment.label),
        referenced_segment=frame,
        finding_type=PNEUMOTHORAX,
        algorithm_id=_algorithm(context),
        finding_sites=[FindingSite(PLEURA, LATERALITY.get(segment.side))],
        measurements=[_percent(AREA_SHARE, float(segment.mask.sum()) / context.finding.film_pixels)],
    )


def _percent(name: Code, share: float) -> Measurement:
    return Measurement(name=name, value=round(share * 100, 4), unit=PERCENT)


def _algorithm(context: Context) -> AlgorithmIdentification:
    parameters = [f"{name}={value}" for name, value in context.setting.facts().items()]
    return AlgorithmIdentification(context.setting.weights.name, __version__, parameters)

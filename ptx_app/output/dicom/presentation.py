"""The contour as a Grayscale Softcopy Presentation State over the film."""

from typing import Any

from highdicom import VOILUT, ModalityLUT, ModalityLUTTransformation, PresentationLUTTransformation
from highdicom.color import CIELabColor
from highdicom.pr import (
    GraphicAnnotation,
    GraphicLayer,
    GraphicObject,
    GrayscaleSoftcopyPresentationState,
    SoftcopyVOILUTTransformation,
)
from pydicom.uid import ExplicitVRLittleEndian

from ptx_app import __version__
from ptx_app.film.grey import Window
from ptx_app.output.dicom.context import Context
from ptx_app.output.outline import outlines
from ptx_app.output.pictures import FINDING_COLOUR

# Graphic data have two numbers of four bytes for each point, and a length of 16 bits.
_MOST_POINTS = 65_534 // 8
_LAYER = "PNEUMOTHORAX"


def presentation_state(context: Context) -> GrayscaleSoftcopyPresentationState:
    """The outlines of all regions as polylines in a layer of their own; the greys are the film's own."""
    lines = [GraphicObject("POLYLINE", line, "PIXEL") for line in outlines(context.finding.mask, _MOST_POINTS)]
    layer = GraphicLayer(
        layer_name=_LAYER,
        order=1,
        description="Pneumothorax, contour",
        display_color=CIELabColor.from_rgb(*FINDING_COLOUR),
    )
    annotations = [GraphicAnnotation([context.film], layer, graphic_objects=lines)] if lines else []
    made = GrayscaleSoftcopyPresentationState(
        referenced_images=[context.film],
        series_number=9903,
        manufacturer_model_name=context.setting.weights.name,
        software_versions=__version__,
        device_serial_number=context.setting.weights.sha256,
        content_label=_LAYER,
        content_description="Pneumothorax, contour",
        series_description="Pneumothorax, contour",
        graphic_annotations=annotations or None,
        graphic_layers=[layer] if annotations else None,
        transfer_syntax_uid=ExplicitVRLittleEndian,
        **_greys(context),
        **context.maker(),
    )
    made.BodyPartExamined = "CHEST"
    context.complete(made)
    return made


def _greys(context: Context) -> dict[str, Any]:
    """How the film's stored values become greys. The de-identified film's already are."""
    source = context.source
    if source is None:
        return {}
    shape = "INVERSE" if source.inverted else "IDENTITY"
    greys: dict[str, Any] = {"presentation_lut_transformation": PresentationLUTTransformation(shape)}
    if source.modality_lut:
        meant = ModalityLUT("US", source.modality_lut.first, source.modality_lut.entries)
        greys["modality_lut_transformation"] = ModalityLUTTransformation(modality_lut=meant)
    elif (source.slope, source.intercept) != (1, 0):
        greys["modality_lut_transformation"] = ModalityLUTTransformation(source.intercept, source.slope, "US")
    if any(warning.code == "WINDOW_IGNORED" for warning in context.radiograph.warnings):
        return greys  # with the header's window the film would be blank
    if isinstance(source.voi, Window):
        voi = SoftcopyVOILUTTransformation(source.voi.centre, source.voi.width, voi_lut_function=source.voi.function)
        greys["voi_lut_transformations"] = [voi]
    elif source.voi:
        table = VOILUT(source.voi.first, source.voi.entries)
        greys["voi_lut_transformations"] = [SoftcopyVOILUTTransformation(voi_luts=[table])]
    return greys

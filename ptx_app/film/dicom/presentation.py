"""Reads from the DICOM header how stored values should be shown."""

from typing import Literal

import numpy as np
from pydicom.dataset import Dataset

from ptx_app.errors import FilmError
from ptx_app.film.dicom.form import StoredForm
from ptx_app.film.dicom.header import code, integer, number, numbers, text
from ptx_app.film.grey import WINDOW_IGNORED, GreyScale, Lut, Window
from ptx_app.film.radiograph import FilmNote

_VOI_LUT_IGNORED = FilmNote(
    "VOI_LUT_IGNORED", "The header's VOI LUT is damaged. The film is shown over its own range of greys."
)
_VOI_LUT_SHORT = FilmNote(
    "VOI_LUT_SHORT", "The header's VOI LUT is incomplete. Values after its end are shown with its last grey."
)
_RESCALE_IGNORED = FilmNote("RESCALE_IGNORED", "The header's rescale values are invalid and were ignored.")
_MOST_MISSING = 0.1  # share of a LUT's entries
# Real films stay far within these bounds. Beyond them, floating point can no longer separate neighbouring values.
_LARGEST, _SMALLEST = 1e9, 1e-9
_POLARITY_UNCLEAR = FilmNote(
    "POLARITY_UNCLEAR",
    "The header contradicts itself about whether low values are black or white. Check that bones are white.",
)


def grey_scale(dataset: Dataset, form: StoredForm) -> tuple[GreyScale, list[FilmNote]]:
    """Collect everything that turns stored values into shades, and warnings.

    Raises:
        FilmError: the modality LUT cannot be read; without it the values have no meaning.
    """
    warnings: list[FilmNote] = []
    # Colour is already converted to 8-bit grey. LUTs for grey pictures do not apply to it.
    if form.photometric not in ("MONOCHROME1", "MONOCHROME2"):
        return GreyScale(bits_stored=8), warnings

    modality_lut = _lut(dataset, "ModalityLUTSequence", form.signed)
    if modality_lut is None and "ModalityLUTSequence" in dataset and _length(dataset, "ModalityLUTSequence"):
        raise FilmError("MODALITY_LUT_BROKEN", "This film's modality LUT is damaged. Export the film again.")
    rescale = _rescale(dataset, form)
    if rescale is None:
        warnings.append(_RESCALE_IGNORED)
    slope, intercept = rescale or (1.0, 0.0)

    lowest = -(1 << form.bits_stored - 1) if form.signed else 0
    highest = lowest + (1 << form.bits_stored) - 1
    reaches_below_zero = modality_lut is None and min(lowest * slope, highest * slope) + intercept < 0
    voi: Lut | Window | None = _lut(dataset, "VOILUTSequence", reaches_below_zero)
    if voi is None:
        if _length(dataset, "VOILUTSequence"):
            warnings.append(_VOI_LUT_IGNORED)
        voi = _window(dataset)
        if voi is None and "WindowWidth" in dataset and dataset.get("WindowWidth") not in (None, ""):
            warnings.append(WINDOW_IGNORED)
    elif isinstance(voi, Lut) and len(voi.entries) < voi.stated:
        warnings.append(_VOI_LUT_SHORT)

    inverted = form.photometric == "MONOCHROME1"
    shape = code(dataset, "PresentationLUTShape")
    # The shape repeats the photometric interpretation (PS3.3 C.8.11.3.1.2). It does not invert the film a second time.
    if shape in ("IDENTITY", "INVERSE") and inverted != (shape == "INVERSE"):
        warnings.append(_POLARITY_UNCLEAR)
    scale = GreyScale(
        bits_stored=form.bits_stored,
        shift=form.shift,
        signed=form.signed,
        bits_above=bool(integer(dataset, "OverlayBitPosition")),
        padding=_padding(dataset, form),
        slope=slope,
        intercept=intercept,
        modality_lut=modality_lut,
        voi=voi,
        inverted=inverted,
    )
    return scale, warnings


def _rescale(dataset: Dataset, form: StoredForm) -> tuple[float, float] | None:
    """Slope and intercept, by default 1 and 0; None if they are invalid."""
    slope, intercept = number(dataset, "RescaleSlope"), number(dataset, "RescaleIntercept")
    unreadable = (slope is None and text(dataset, "RescaleSlope")) or (
        intercept is None and text(dataset, "RescaleIntercept")
    )
    if unreadable or (slope is None and intercept is None and "RescaleSlope" in dataset):
        return None
    slope, intercept = 1.0 if slope is None else slope, intercept or 0.0
    reach = abs(slope) * (1 << form.bits_allocated) + abs(intercept)
    return (slope, intercept) if abs(slope) >= _SMALLEST and reach <= _LARGEST else None


def _window(dataset: Dataset) -> Window | None:
    """The first usable window of the header. If there are several, they are alternatives."""
    pairs = zip(numbers(dataset, "WindowCenter"), numbers(dataset, "WindowWidth"), strict=False)
    usable = (
        (centre, width)
        for centre, width in pairs
        if centre is not None and width is not None and abs(centre) <= _LARGEST and _SMALLEST <= width <= _LARGEST
    )
    pair = next(usable, None)
    if pair is None:
        return None
    functions: dict[str, Literal["LINEAR_EXACT", "SIGMOID"]] = {"LINEAR_EXACT": "LINEAR_EXACT", "SIGMOID": "SIGMOID"}
    return Window(*pair, functions.get(code(dataset, "VOILUTFunction"), "LINEAR"))


def _lut(dataset: Dataset, keyword: str, signed: bool) -> Lut | None:
    """First usable item of a LUT sequence (PS3.3 C.11.1.1.1), or None."""
    for index in range(_length(dataset, keyword)):
        try:
            lut = _lut_of(dataset[keyword].value[index], signed)
        except (MemoryError, RecursionError):
            raise
        except Exception:  # a damaged header can raise any error
            lut = None
        if lut is not None:
            return lut
    return None


def _lut_of(item: Dataset, signed: bool) -> Lut | None:
    count, first, bits = _words(item, "LUTDescriptor")
    count = count or 65536
    data = item["LUTData"].value
    # 8-bit entries may be packed, one per byte. If a table of more bits is too short, entries are missing.
    if isinstance(data, bytes) and bits <= 8 and len(data) <= count + 1:
        entries = np.frombuffer(data, np.uint8)[:count].astype(np.uint16)
    else:
        entries = np.array(_words(item, "LUTData")[:count], dtype=np.uint16)
    if len(entries) < (1 - _MOST_MISSING) * count or not 1 <= bits <= 16:
        return None
    if signed and first >= 32768:
        first -= 65536
    return Lut(first, max(bits, int(entries.max()).bit_length()), entries, count)


def _words(dataset: Dataset, keyword: str) -> list[int]:
    """Values of a 16-bit element as unsigned numbers, whether its VR is US, SS, OW or ambiguous."""
    value = dataset[keyword].value
    if isinstance(value, bytes):
        order = "<" if dataset.original_encoding[1] else ">"
        return [int(word) for word in np.frombuffer(value[: len(value) // 2 * 2], f"{order}u2")]
    values = [value] if isinstance(value, int) else list(value)
    return [int(v) & 0xFFFF for v in values]


def _length(dataset: Dataset, keyword: str) -> int:
    try:
        return len(dataset[keyword].value or ())
    except (MemoryError, RecursionError):
        raise
    except Exception:
        return 0


def _padding(dataset: Dataset, form: StoredForm) -> tuple[int, int] | None:
    limits: list[int] = []
    for keyword in ("PixelPaddingValue", "PixelPaddingRangeLimit"):
        try:
            word = _words(dataset, keyword)[0]
        except (MemoryError, RecursionError):
            raise
        except Exception:
            break
        word &= (1 << form.bits_allocated) - 1
        if form.signed and word >> form.bits_allocated - 1:
            word -= 1 << form.bits_allocated
        limits.append(word)
    return (min(limits), max(limits)) if limits else None

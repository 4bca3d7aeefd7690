"""Reads a DICOM file as a film: header, pixels, shades, warnings and rejections."""

from dataclasses import replace

from ptx_app.errors import FilmError, NotAFilmError
from ptx_app.film.dicom.form import stored_form
from ptx_app.film.dicom.parsing import Parsed, cut_short, damaged, has_mark, parse
from ptx_app.film.dicom.presentation import grey_scale
from ptx_app.film.dicom.shutter import hidden_by_shutter
from ptx_app.film.dicom.stored_pixels import decode
from ptx_app.film.dicom.suitability import class_name, header_rejections, header_warnings, is_film_class, view_of
from ptx_app.film.dicom.tags import shown_tags, spacing_of, syntax_in_words
from ptx_app.film.grey import shades_of
from ptx_app.film.limits import Limits
from ptx_app.film.radiograph import FilmNote, Radiograph

_FOREIGN_PREAMBLE = FilmNote(
    "FOREIGN_PREAMBLE",
    "This DICOM file can also be run as a program or unpacked as an archive. Open it only in DICOM viewers.",
)
_CUT_SHORT = FilmNote("CUT_SHORT", "This file ends too early, but its picture seems to be complete. Check that it is.")
_DANGEROUS_STARTS = (b"MZ", b"PK", b"\x7fELF", b"#!", b"\xca\xfe\xba\xbe", b"\xcf\xfa\xed\xfe", b"%PDF", b"<", b"Rar!")


def read_dicom(data: bytes, limits: Limits) -> Radiograph:
    """Read a DICOM file as a film.

    If the header describes a single picture that is not a chest film, it is read too, with rejections.

    Raises:
        NotAFilmError: it contains no picture, several, or one that cannot be a film.
        FilmError: damaged, cut short, or larger than the limits.
    """
    try:
        return _read(data, limits)
    except (FilmError, MemoryError):
        raise
    except RecursionError:
        raise FilmError(
            "DICOM_NESTED_TOO_DEEP", "This DICOM file's header is nested too deeply. Export the film again."
        ) from None
    except Exception:  # pydicom can raise any error on a damaged file, when parsing it or when reading a value
        raise damaged() from None


def _read(data: bytes, limits: Limits) -> Radiograph:
    parsed = parse(data, limits)
    dataset = parsed.dataset
    if not any(keyword in dataset for keyword in ("SOPClassUID", "Modality", "Rows")):
        raise damaged()
    if not parsed.pixels and not parsed.whole:
        raise cut_short()
    if not parsed.pixels and not is_film_class(dataset):
        raise NotAFilmError(
            "NO_PICTURE", f"This DICOM file contains no picture (type: {class_name(dataset)}). Choose a chest film."
        )
    try:
        film = _film(parsed, limits)
    except FilmError as error:
        if error.code == "PIXELS_BROKEN" and not parsed.whole:
            raise cut_short() from None
        raise
    odd = [_FOREIGN_PREAMBLE] if has_mark(data) and data.startswith(_DANGEROUS_STARTS) else []
    odd += [] if parsed.whole else [_CUT_SHORT]
    return replace(film, warnings=(*film.warnings, *odd))


def _film(parsed: Parsed, limits: Limits) -> Radiograph:
    dataset = parsed.dataset
    form, form_warnings = stored_form(dataset, limits)
    decoded = decode(parsed, form)
    scale, scale_warnings = grey_scale(dataset, form)
    picture, grey_warnings = shades_of(decoded.pixels, scale, hidden_by_shutter(dataset, form.rows, form.columns))
    view, spacing = view_of(dataset), spacing_of(dataset, form)
    warnings = [*header_warnings(dataset), *form_warnings, *decoded.warnings, *scale_warnings, *grey_warnings]
    return Radiograph(
        pixels=picture.pixels,
        modality=picture.modality,
        view=view,
        spacing=spacing,
        tags=shown_tags(dataset, parsed.syntax, form, scale, view, spacing),
        source_format=f"DICOM, {syntax_in_words(parsed.syntax)}",
        warnings=(*warnings, *picture.warnings),
        rejections=(*header_rejections(dataset, coloured=decoded.coloured), *picture.rejections),
        field=picture.field,
    )

"""A DICOM file as a film: header, pixels, shades, and what the header says of it."""

from ptx_app.errors import FilmError, NotAFilmError
from ptx_app.film.dicom.header import damaged, has_mark, parse
from ptx_app.film.dicom.presentation import grey_scale
from ptx_app.film.dicom.stored_pixels import decode, stored_form
from ptx_app.film.dicom.suitability import class_name, header_rejections, header_warnings, is_film_class, view_of
from ptx_app.film.dicom.tags import shown_tags, spacing_of, syntax_in_words
from ptx_app.film.grey import show
from ptx_app.film.limits import Limits
from ptx_app.film.radiograph import FilmNote, Radiograph

_FOREIGN_PREAMBLE = FilmNote(
    "FOREIGN_PREAMBLE",
    "This file can also be opened as a program or an archive. It was read as DICOM; do not start or unpack it.",
)
_DANGEROUS_STARTS = (b"MZ", b"PK", b"\x7fELF", b"#!", b"\xca\xfe\xba\xbe", b"\xcf\xfa\xed\xfe", b"%PDF", b"<", b"Rar!")


def read_dicom(data: bytes, limits: Limits) -> Radiograph:
    """Read a DICOM file as a film.

    A single-frame picture that the header calls something else is read too, with rejections.

    Raises:
        NotAFilmError: no picture within, or many, or one that no film could be.
        FilmError: broken, cut short, or larger than the limits.
    """
    try:
        return _read(data, limits)
    except (FilmError, MemoryError):
        raise
    except RecursionError:
        raise FilmError(
            "DICOM_NESTED_TOO_DEEP", "This DICOM file is nested too deep to be a film. Export the film anew."
        ) from None
    except Exception:  # a damaged file makes pydicom raise whatever it likes, when it is parsed or when it is asked
        raise damaged() from None


def _read(data: bytes, limits: Limits) -> Radiograph:
    dataset, syntax = parse(data, limits)
    if not any(keyword in dataset for keyword in ("SOPClassUID", "Modality", "Rows")):
        raise damaged()
    if "PixelData" not in dataset and not is_film_class(dataset):
        raise NotAFilmError("NO_PICTURE", f"This DICOM file holds no film: it is a {class_name(dataset)}.")
    form = stored_form(dataset, limits)
    scale, warnings = grey_scale(dataset, form)
    pixels, pixel_warnings, rejections = show(decode(dataset, syntax, form), scale)
    if has_mark(data) and data.startswith(_DANGEROUS_STARTS):
        warnings.append(_FOREIGN_PREAMBLE)
    grey = form.photometric.startswith("MONOCHROME")
    view, spacing = view_of(dataset), spacing_of(dataset, form)
    return Radiograph(
        pixels=pixels,
        view=view,
        spacing=spacing,
        tags=shown_tags(dataset, syntax, form, scale, view, spacing),
        source_format=f"DICOM, {syntax_in_words(syntax)}",
        warnings=(*header_warnings(dataset), *warnings, *pixel_warnings),
        rejections=(*header_rejections(dataset, grey), *rejections),
    )

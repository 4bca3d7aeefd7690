"""The single entry point for reading a film: bytes to Radiograph. The format is detected from the content."""

from ptx_app.errors import FilmError
from ptx_app.film.dicom.parsing import has_mark, is_bare
from ptx_app.film.limits import Limits
from ptx_app.film.radiograph import Radiograph
from ptx_app.film.source import SourceReference
from ptx_app.privacy import private_reading

_OTHER_FORMATS = (
    (b"II*\0", "a TIFF picture"),
    (b"MM\0*", "a TIFF picture"),
    (b"GIF8", "a GIF picture"),
    (b"BM", "a BMP picture"),
    (b"RIFF", "a WebP picture or a film clip"),
    (b"\0\0\0\x0cjP  ", "a JPEG 2000 picture"),
    (b"\xff\x4f\xff\x51", "a JPEG 2000 picture"),
    (b"%PDF", "a PDF document"),
    (b"PK\x03\x04", "a ZIP archive or an office document"),
    (b"\x1f\x8b", "a compressed file"),
    (b"7z\xbc\xaf", "an archive"),
    (b"Rar!", "an archive"),
    (b"MZ", "a program"),
    (b"\x7fELF", "a program"),
)


def read_film(data: bytes, limits: Limits = Limits()) -> Radiograph:  # noqa: B008  frozen
    """Read a film from the bytes of a DICOM, PNG or JPEG file.

    A pure function: it logs nothing, writes nothing and shows no warning. It checks sizes against the limits before it
    decodes. A hostile file may still make a decoder use much memory or time; `SandboxedReader` limits both.

    Args:
        data: the file's bytes.
        limits: the largest file and picture to read.

    Raises:
        NotAFilmError: the file was understood but is not a single grey picture.
        FilmError: damaged, cut short, hostile, too large or in an unknown format.

    Example:
        >>> from ptx_app.film.examples import EXAMPLES
        >>> film = read_film(EXAMPLES[0].data())
        >>> film.pixels.shape, film.source_format
        ((460, 500), 'JPEG, 8 bit')
        >>> read_film(b"%PDF-1.7")
        Traceback (most recent call last):
        ptx_app.errors.FilmError: This is a PDF document. Choose a DICOM, PNG or JPEG file.
    """
    if not data:
        raise FilmError("EMPTY_FILE", "This file is empty. Choose a DICOM, PNG or JPEG file.")
    if len(data) > limits.file_bytes:
        raise _too_large(limits)
    with private_reading():
        # DICOM first, as its preamble may look like a TIFF, a program or an archive.
        if has_mark(data) or is_bare(data):
            from ptx_app.film.dicom.reader import read_dicom

            return read_dicom(data, limits)
        if data.startswith((b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")):
            from ptx_app.film.picture import read_picture

            return read_picture(data, limits)
    for start, name in _OTHER_FORMATS:
        if data.startswith(start):
            raise FilmError("FORMAT_UNSUPPORTED", f"This is {name}. Choose a DICOM, PNG or JPEG file.")
    raise FilmError("FORMAT_UNKNOWN", "This is not a DICOM, PNG or JPEG file. Choose one of these.")


def read_source(data: bytes, limits: Limits = Limits()) -> SourceReference | None:  # noqa: B008  frozen
    """What a film's own header says about patient, study and picture; None for a file that is not DICOM.

    For exports that belong to the patient's study. Call it only where the user asks for these.

    Args:
        data: the bytes of a file that `read_film` reads.
        limits: the largest file and picture to read.

    Raises:
        FilmError: damaged, or the header does not say enough to refer to the film; see `read_dicom_source`.
    """
    if not (has_mark(data) or is_bare(data)):
        return None
    if len(data) > limits.file_bytes:
        raise _too_large(limits)
    with private_reading():
        from ptx_app.film.dicom.source import read_dicom_source

        return read_dicom_source(data, limits)


def _too_large(limits: Limits) -> FilmError:
    return FilmError(
        "TOO_LARGE", f"This file is larger than {limits.file_bytes >> 20} MB. Export the film as a smaller file."
    )

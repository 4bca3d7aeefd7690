"""Bytes to Radiograph: DICOM, PNG and JPEG, and what may be shown of the header."""

from ptx_app.film.limits import Limits
from ptx_app.film.reading import read_film

__all__ = ["Limits", "read_film"]

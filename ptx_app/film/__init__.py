"""Reads DICOM, PNG and JPEG bytes into a Radiograph, with the header values that may be shown."""

from ptx_app.film.limits import Limits
from ptx_app.film.reading import read_film

__all__ = ["Limits", "read_film"]

"""Unexpected errors: what the user sees, and what may be logged."""

import logging
from pathlib import Path
from traceback import extract_tb

from ptx_app.errors import FilmError

_LOG = logging.getLogger(__name__)


def unexpected(error: Exception) -> FilmError:
    """Log the error's type and place, and return the FilmError UNEXPECTED to show instead.

    The error's own text may quote the header or the file name, so neither contains it.
    """
    calls = [f"{Path(call.filename).name}:{call.lineno}" for call in extract_tb(error.__traceback__)]
    _LOG.error("Unexpected %s at %s", type(error).__name__, " > ".join(calls))
    return FilmError(
        "UNEXPECTED",
        "This file could not be read because of an unexpected error. Export the film again, or try another.",
    )

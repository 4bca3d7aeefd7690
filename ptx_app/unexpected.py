"""What nobody foresaw: the error shown for it, and what may be logged of it."""

import logging
from pathlib import Path
from traceback import extract_tb

from ptx_app.errors import FilmError

_LOG = logging.getLogger(__name__)


def unexpected(error: Exception) -> FilmError:
    """Log what kind of error came from where, and give the FilmError UNEXPECTED to show in its place.

    The error's own text may quote the header or the file's name, so it is left out of both.
    """
    calls = [f"{Path(call.filename).name}:{call.lineno}" for call in extract_tb(error.__traceback__)]
    _LOG.error("Unexpected %s at %s", type(error).__name__, " > ".join(calls))
    return FilmError(
        "UNEXPECTED",
        "This file could not be read for a reason that was not foreseen. Export the film anew, or try another.",
    )

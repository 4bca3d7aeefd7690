"""Unexpected errors: what the user sees, and what may be logged."""

import logging
from pathlib import Path
from traceback import extract_tb

from ptx_app.errors import FilmError

_LOG = logging.getLogger(__name__)
_STREAMLIT_LOGGER = "streamlit.error_util"


def unexpected(error: Exception) -> FilmError:
    """Log the error's type and place, and return the FilmError UNEXPECTED to show instead.

    The error's own text may quote the header or the file name, so neither contains it.
    """
    _LOG.error("Unexpected %s", _place(error))
    return FilmError(
        "UNEXPECTED",
        "This file could not be read because of an unexpected error. Export the film again, or try another.",
    )


def keep_texts_out_of_the_log() -> None:
    """Let Streamlit log of an error of the page what `unexpected` logs. For the server only."""
    logging.getLogger(_STREAMLIT_LOGGER).addFilter(_without_text)


def _without_text(record: logging.LogRecord) -> bool:
    if record.exc_info and record.exc_info[1]:
        record.msg, record.args = "Unexpected %s", (_place(record.exc_info[1]),)
        record.exc_info = record.exc_text = None
    return True


def _place(error: BaseException) -> str:
    calls = [f"{Path(call.filename).name}:{call.lineno}" for call in extract_tb(error.__traceback__)]
    return f"{type(error).__name__} at {' > '.join(calls)}"

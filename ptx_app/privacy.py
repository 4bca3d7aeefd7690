"""Decoders must not tell who the patient is: pydicom and Pillow quote header values in warnings and log records."""

import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar

# Every logger that these packages write to: a filter on a logger does not hold for the loggers below it.
_LOGGERS = (
    "pydicom",
    "pydicom.pixels.decoders.base",
    "pydicom.pixels.encoders.base",
    "pydicom.pixels.utils",
    "PIL.Image",
    "PIL.ImageFile",
    "PIL.JpegImagePlugin",
    "PIL.PcxImagePlugin",
    "PIL.PngImagePlugin",
    "PIL.TiffImagePlugin",
)


def quiet_loggers() -> None:
    """Drop all that the decoders log in this process, at whatever level. For entry points: a library leaves it be."""
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(_nothing)


def _nothing(_record: logging.LogRecord) -> bool:
    return False


_reading = ContextVar("_reading", default=False)


def _nothing_while_reading(_record: logging.LogRecord) -> bool:
    return not _reading.get()


class _SharedSilence:
    """Warnings and pydicom's checks of values switched off while anyone reads.

    Both are settings of the whole process. The first reader switches them off and the last one restores them: were each
    to restore what it had found, one thread would switch them on again in the middle of another's film.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._readers = 0
        self._restore = ExitStack()

    def __enter__(self) -> None:
        with self._lock:
            if not self._readers:
                from pydicom.config import disable_value_validation

                self._restore.enter_context(warnings.catch_warnings())
                warnings.simplefilter("ignore")
                self._restore.enter_context(disable_value_validation())
            self._readers += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._readers -= 1
            if not self._readers:
                self._restore.close()


_silence = _SharedSilence()


@contextmanager
def private_reading() -> Iterator[None]:
    """While the block runs, nothing that a decoder says of the film is logged or printed as a warning.

    Log records are dropped by a filter that stays on the decoders' loggers and lets everything through outside this
    block and in other threads.
    """
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(_nothing_while_reading)
    token = _reading.set(True)
    try:
        with _silence:
            yield
    finally:
        _reading.reset(token)

"""Silences the packages that read films or send them: their warnings and logs quote what identifies the patient."""

import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar

# Every logger of these packages is listed, as a filter on a logger does not apply to its child loggers.
_LOGGERS = (
    "dicomweb_client.file",
    "dicomweb_client.uri",
    "dicomweb_client.web",
    "highdicom.base",
    "highdicom.color",
    "highdicom.frame",
    "highdicom.image",
    "highdicom.io",
    "highdicom.ko.sop",
    "highdicom.legacy.sop",
    "highdicom.pr.content",
    "highdicom.pr.sop",
    "highdicom.sc.sop",
    "highdicom.seg.sop",
    "highdicom.spatial",
    "highdicom.sr.coding",
    "highdicom.sr.content",
    "highdicom.sr.sop",
    "highdicom.sr.templates",
    "highdicom.uid",
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
    "charset_normalizer",
    "requests",
    "retrying",
    "urllib3",
    "urllib3.connection",
    "urllib3.connectionpool",
    "urllib3.poolmanager",
    "urllib3.response",
    "urllib3.util.retry",
)

# Packages of which every logger takes its level from the first one.
_TALKERS = ("pynetdicom",)


def quiet_loggers() -> None:
    """Drop all that these packages log in this process, at any level. For entry points only, not for libraries."""
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(_nothing)
    for name in _TALKERS:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)


def _nothing(_record: logging.LogRecord) -> bool:
    return False


_reading = ContextVar("_reading", default=False)


def _nothing_while_reading(_record: logging.LogRecord) -> bool:
    return not _reading.get()


class _SharedSilence:
    """Turns off warnings and pydicom's value checks while any thread reads.

    Both are settings of the whole process. The first reader turns them off and the last one restores them. If each
    reader restored them, one thread would turn them on again while another is still reading.
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
    """While the block runs, decoder messages about the film are not logged or shown as warnings.

    A filter on the decoders' loggers drops their records. It stays there after the block, but does nothing outside the
    block or in other threads.
    """
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(_nothing_while_reading)
    token = _reading.set(True)
    try:
        with _silence:
            yield
    finally:
        _reading.reset(token)

"""An archive as a source of the inbox, and as the place where its results go."""

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path

from pydicom import dcmread

from ptx_app.errors import PtxError, SettingsError
from ptx_app.hospital.dicomweb import Filters, Instance, Pacs, Series, Study
from ptx_app.hospital.inbox_files import Space
from ptx_app.hospital.inbox_metrics import Health, Metrics
from ptx_app.hospital.instances import Instances
from ptx_app.hospital.storage_scu import RefusedError, UnreachableError
from ptx_app.privacy import private_reading

_LOG = logging.getLogger(__name__)
_UNREADABLE = "ARCHIVE_UNREADABLE"
_MOST_STUDIES = 2000
_MOST_TRIES = 3
_LONGEST_PAUSE_SECONDS = 300.0
# Of a film, not of the archive: the others are fetched all the same.
_OF_A_FILM = (
    "PACS_GONE", "PACS_NOT_DICOM", "PACS_OTHER_FILM", "PACS_TOO_LARGE", "PACS_ANSWER", "PACS_REFUSED", "PACS_CUT",
)  # fmt: skip
# Perhaps of a film, perhaps of the archive: the others are fetched, and the archive is said to fail.
_OF_EITHER = ("PACS_FAILED", "PACS_TIMEOUT")
_OF_AN_OBJECT = ("PACS_GONE", "PACS_REFUSED", "PACS_ANSWER", "PACS_TOO_LARGE")

_CODES = {
    "PACS_FULL": "PEER_FULL",
    "PACS_NOT_ALLOWED": "PEER_REJECTS",
    "PACS_ELSEWHERE": "PEER_REJECTS",
    "PACS_FAILED": "PEER_FAILS",
}


@dataclass(frozen=True)
class ArchiveSource:
    """Asks an archive for new chest films, and writes each into the inbox folder once.

    Attributes:
        pacs: the archive.
        instances: what was received before, and the folder.
        space: whether there is enough of it on the disks.
        metrics, health: see there.
        give_up: notes, by its name in the table, that a film could not be fetched, as `Inbox.give_up_unseen`.
        days: how many days before today to ask for.
        poll_seconds: how often to ask.

    A series of which all films are done is not looked into again until it has more or fewer.
    """

    pacs: Pacs
    instances: Instances
    space: Space
    metrics: Metrics
    health: Health
    give_up: Callable[[str, PtxError], None]
    days: int = 1
    poll_seconds: float = 60.0
    _complete: dict[str, int] = field(default_factory=dict)

    def run(self, stop: threading.Event) -> None:
        """Ask until told to stop. The pauses grow while the archive cannot be asked."""
        pause = self.poll_seconds
        while True:
            problem = self._problem_of_round(stop)
            if self.health.tell(_UNREADABLE, problem is not None):
                if problem is None:
                    _LOG.info("The archive can be read again.")
                else:
                    _LOG.error("%s", problem)
            pause = self.poll_seconds if problem is None else min(pause * 2, _LONGEST_PAUSE_SECONDS)
            if stop.wait(pause):
                return

    def _problem_of_round(self, stop: threading.Event) -> str | None:
        try:
            self._round(stop)
        except PtxError as error:
            return f"{error.code}: {error.message}"
        except OSError:
            return "A film of the archive could not be written into the inbox folder."
        except Exception as error:  # its text may quote an answer
            return f"The archive could not be read: {type(error).__name__}."
        return None

    def _round(self, stop: threading.Event) -> None:
        """Fetch every film that is new, the oldest study first."""
        found = self.pacs.worklist(Filters(since=date.today() - timedelta(self.days)), _MOST_STUDIES)
        late: list[PtxError] = []
        if found.cut:
            late.append(
                SettingsError(
                    "ARCHIVE_CUT",
                    "The archive has more new studies than one search returns. Ask for fewer days: --dicomweb-days.",
                )
            )
        for study in reversed(found.studies):
            for series in study.series:
                known = series.films is not None and self._complete.get(series.uid) == series.films
                if not known and not self._take_series(study, series, stop, late):
                    return
        if late:
            raise late[0]

    def _take_series(self, study: Study, series: Series, stop: threading.Event, late: list[PtxError]) -> bool:
        """Fetch the new films of a series. Returns False if there is no room, or it is told to stop.

        `late` gets the errors that are for the end of the round.
        """
        try:
            films = self.pacs.films(study.uid, [series.uid])
        except PtxError as error:
            if error.code in _OF_EITHER:
                late.append(error)
            elif error.code not in _OF_A_FILM:
                raise
            return True
        for film in films:
            if stop.is_set() or not self.space.enough():
                return False
            if not self._is_done(film):
                self._take(film, late)
        if series.films is not None and all(map(self._is_done, films)):
            self._complete[series.uid] = series.films
        return True

    def _is_done(self, film: Instance) -> bool:
        return self.instances.has(film.uid) or self.instances.given_up(film.uid)

    def _take(self, film: Instance, late: list[PtxError]) -> None:
        try:
            data = self.pacs.fetch(film)
        except PtxError as error:
            if error.code in _OF_EITHER:
                late.append(error)
                return
            if error.code not in _OF_A_FILM:
                raise
            key, tries = self.instances.fail(film.uid)
            self.metrics.received.labels("failed").inc()
            _LOG.error("film %s: fetching, try %d of %d: %s", key, tries, _MOST_TRIES, error.code)
            if tries >= _MOST_TRIES:
                self.give_up(key, error)
            return
        self.instances.add(film.uid, data)
        self.metrics.received.labels("stored").inc()


@contextmanager
def asking(source: ArchiveSource) -> Iterator[None]:
    """Ask in the background while the block runs."""
    stop = threading.Event()
    thread = threading.Thread(target=source.run, args=(stop,), name="archive")
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def store_files(files: Sequence[Path], pacs: Pacs) -> None:
    """Store files of our own making in the studies that their headers name, in order.

    Raises:
        UnreachableError: PEER_UNREACHABLE, PEER_REJECTS, PEER_FULL or PEER_FAILS.
        RefusedError: PEER_REFUSED.
        OSError: a file cannot be read.
    """
    for file in files:
        with private_reading():
            study = str(dcmread(file, specific_tags=["StudyInstanceUID"]).StudyInstanceUID)
        said = pacs.store(file.read_bytes(), study)
        if said.ok:
            continue
        if said.code in _OF_AN_OBJECT:
            raise RefusedError("PEER_REFUSED", said.message)
        raise UnreachableError(_CODES.get(said.code, "PEER_UNREACHABLE"), said.message)

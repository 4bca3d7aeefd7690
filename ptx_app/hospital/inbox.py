"""Unattended reading: takes each film that arrives in a folder once, writes its results, and remembers it.

One thread finds films, writes results and keeps the ledger; the others only read and compute, or note films that never
came. A film's results are written before its row is noted in the ledger, and all that follows the note is made up for
if a kill came between.

A film may be what kills the program. So each that was in work then is read alone: the next kill is its own, or none.
"""

import hashlib
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from ptx_app.audit import Log
from ptx_app.errors import FilmError, PtxError, SettingsError
from ptx_app.film.files import bytes_of, is_named_a_film
from ptx_app.hospital.inbox_files import SET_ASIDE, Arrival, Arrivals, Space, write_atomically
from ptx_app.hospital.inbox_ledger import Ledger
from ptx_app.hospital.inbox_metrics import Health, Metrics
from ptx_app.output.table import Row
from ptx_app.results import DICOM, Result, ResultMaker, row_of, tell_written

_LOG = logging.getLogger(__name__)
_MOST_TRIES = 3
_LOST_ON_IT = ("READER_LOST", "TOO_SLOW", "UNEXPECTED")
_NOT_ITS_FAULT = ("READER_NOT_STARTED",)
_PAUSE_SECONDS = 30.0  # after a failure that is not a film's
_WAIT_SECONDS = 0.5

KEY_DIGITS = 32
"""Hexadecimal digits of a film's name."""


def key_of(data: bytes) -> str:
    """The name of a film in table, files and log: the first 32 digits of the SHA-256 of its file."""
    return hashlib.sha256(data).hexdigest()[:KEY_DIGITS]


@dataclass(frozen=True)
class Options:
    """How to treat the folder.

    Attributes:
        delete_read: delete files once they are read; those that failed are set aside.
        send: note the films' DICOM objects for sending.
        identified_only: but not if they are de-identified, as an archive would take them for another patient's.
        jobs: films to work on at once.
        settle_seconds: how long a file must not have changed.
        poll_seconds: how often to look for files.
    """

    delete_read: bool = False
    send: bool = False
    identified_only: bool = False
    jobs: int = 2
    settle_seconds: float = 2.0
    poll_seconds: float = 1.0


@dataclass(frozen=True)
class Inbox:
    """The inbox and where its results go.

    Attributes:
        folder: where the films arrive.
        output: where the results go.
        maker: makes the results.
        ledger: what was done before.
        add_row: adds a row to the table.
        space: whether there is enough of it on the disks.
        options, metrics, health: see there.
        log: the audit trail, told of each film before it is read, and of its result before that is written.
    """

    folder: Path
    output: Path
    maker: ResultMaker
    ledger: Ledger
    add_row: Callable[[Row], None]
    space: Space
    options: Options
    metrics: Metrics
    health: Health
    log: Log = field(default_factory=Log)
    _table: threading.Lock = field(default_factory=threading.Lock)
    _busy: dict[Future[Result], tuple[Arrival, str]] = field(default_factory=dict)
    _unreadable: set[bytes] = field(default_factory=set)
    _dealt_with: set[bytes] = field(default_factory=set)

    def run(self, stop: threading.Event) -> None:
        """Work until told to stop. Films in work are finished first.

        Raises:
            SettingsError: OUTPUT_UNWRITABLE if a row could not be added to the table. The ledger has it: the next start
                writes the table again.
            AuditError: as `Log.tell`. The film is read after the next start.
        """
        for key, times in self.ledger.interrupt().items():
            _LOG.warning("film %s: in work when the program ended, %d of %d times", key, times, _MOST_TRIES)
        self._dealt_with.update(self.ledger.dealt_with())
        arrivals = Arrivals(self.folder, self.options.settle_seconds)
        try:
            with ThreadPoolExecutor(self.options.jobs, "film") as pool:
                while not stop.is_set():
                    started = time.monotonic()
                    self._round(arrivals, pool, stop)
                    stop.wait(max(self.options.poll_seconds - (time.monotonic() - started), 0))
                self._finish_work(stop)
        except PtxError:  # of ledger, table or trail: no film's doing
            with suppress(SettingsError):
                for _, key in self._busy.values():
                    self.ledger.release(key)
            raise

    def _round(self, arrivals: Arrivals, pool: ThreadPoolExecutor, stop: threading.Event) -> None:
        """Begin every film that is complete now, each as soon as there is room for it."""
        if not self._busy:
            self.health.beat()
        waiting = self._complete(arrivals)
        for number, arrival in enumerate(waiting):
            self.metrics.waiting.set(len(waiting) - number)
            while len(self._busy) >= self.options.jobs and not stop.is_set():
                self._collect(stop)
            if stop.is_set() or not self._has_space():
                return
            self._begin(arrival, arrivals, pool, stop)
        self.metrics.waiting.set(0)
        self._has_space()
        if self._busy:
            self._collect(stop)

    def _complete(self, arrivals: Arrivals) -> list[Arrival]:
        in_work = {arrival.mark for arrival, _ in self._busy.values()}
        try:
            found = arrivals.complete(lambda mark: mark in self._dealt_with or mark in in_work)
        except (OSError, SettingsError):
            if self.health.tell("INBOX_UNREADABLE", True):
                _LOG.error("The inbox folder cannot be read. Waiting until it can be.")
            return []
        if self.health.tell("INBOX_UNREADABLE", False):
            _LOG.info("The inbox folder can be read again.")
        return found

    def _has_space(self) -> bool:
        self.metrics.free.set(self.space.free_bytes())
        enough = self.space.enough()
        if self.health.tell("DISK_FULL", not enough):
            if enough:
                _LOG.info("There is enough free disk space again.")
            else:
                _LOG.error("There is too little free disk space. No film is received or read until there is more.")
        return enough

    def _begin(self, arrival: Arrival, arrivals: Arrivals, pool: ThreadPoolExecutor, stop: threading.Event) -> None:
        """Begin a film, unless it was read before, changes under our hands, or the same film is in work."""
        try:
            data = bytes_of(arrival.path)
        except FilmError:
            if arrivals.mark(arrival.path) == arrival.mark and arrival.mark not in self._unreadable:
                self._unreadable.add(arrival.mark)
                _LOG.error("A file in the inbox cannot be opened. It is tried again until it can be.")
            return
        key = key_of(data)
        if arrivals.mark(arrival.path) != arrival.mark or key in {busy for _, busy in self._busy.values()}:
            return
        if status := self.ledger.status(key):
            self._put_away(arrival, key, status)
            return
        attempts = self.ledger.attempts(key)
        if max(attempts.tries, attempts.interruptions) >= _MOST_TRIES:
            error = FilmError(
                "INTERRUPTED", "The program ended three times while it read this film. To read it again: --try-again."
            )
            self._give_up(arrival, key, Result.of_error(error, named_a_film=True))
            return
        alone = attempts.interruptions > 0
        if alone:
            self._finish_work(stop)
            if stop.is_set():
                return
        self.ledger.begin(key, self.log.opened(data, "inbox"))
        future = pool.submit(self.maker.make, data, named_a_film=is_named_a_film(arrival.path))
        self._busy[future] = arrival, key
        if alone:
            self._finish_work(stop)

    def _finish_work(self, stop: threading.Event) -> None:
        """Finish all films in work."""
        while self._busy:
            self._collect(stop)

    def _collect(self, stop: threading.Event) -> None:
        """Finish the films whose results are there, after waiting a little for the first one."""
        for future in wait(self._busy, _WAIT_SECONDS, FIRST_COMPLETED).done:
            self._take(*self._busy[future], future.result(), stop)
            del self._busy[future]
            self.health.beat()  # not while nothing ends: films that hang must be seen

    def _take(self, arrival: Arrival, key: str, result: Result, stop: threading.Event) -> None:
        code = result.facts.get("error_code")
        if code in _NOT_ITS_FAULT or (code in _LOST_ON_IT and stop.is_set()):  # the readers are being stopped, too
            self.ledger.release(key)
            self._pause(f"The film reader failed with {code}", stop)
        elif code in _LOST_ON_IT:
            self.metrics.retries.inc()
            tries = self.ledger.fail(key)
            _LOG.warning("film %s: try %d of %d ended with %s", key, tries, _MOST_TRIES, code)
            if tries >= _MOST_TRIES:
                self._give_up(arrival, key, result)
        else:
            self._tell_written(key, result)
            try:
                for ending, content in result.outputs.items():
                    write_atomically(self.output / f"{key}{ending}", content)
            except OSError:
                self.ledger.release(key)
                self._pause("The output folder cannot be written", stop)
                return
            self._finish(arrival, key, result)

    def _pause(self, why: str, stop: threading.Event) -> None:
        if not stop.is_set():
            _LOG.error("%s. Trying again in %g seconds.", why, _PAUSE_SECONDS)
            stop.wait(_PAUSE_SECONDS)

    def _give_up(self, arrival: Arrival, key: str, result: Result) -> None:
        self._tell_written(key, result)
        self.metrics.set_aside.inc()
        self._finish(arrival, key, result)

    def _tell_written(self, key: str, result: Result) -> None:
        tell_written(self.log, replace(result, audit_name=self.ledger.audit_name(key)), self.maker.wanted)

    def give_up_unseen(self, key: str, error: PtxError) -> None:
        """Note that a film failed that never came into the folder. Any thread may call this.

        `key`: what to call it. Raises SettingsError as `run`, if the table cannot be written.
        """
        self.metrics.set_aside.inc()
        self._note(key, Result.of_error(error, named_a_film=True))

    def _finish(self, arrival: Arrival, key: str, result: Result) -> None:
        self._put_away(arrival, key, self._note(key, result))

    def _note(self, key: str, result: Result) -> str:
        """Note a film's row in ledger, table, figures and log. Returns its status."""
        row = row_of(key, key, result, self.maker.wanted.setting)
        send = self.options.send and DICOM["seg"] in result.outputs
        if send and self.options.identified_only and DICOM["film"] in result.outputs:
            _LOG.warning("film %s: not stored in the archive, because a PNG or JPEG film belongs to no study", key)
            send = False
        with self._table:
            self.ledger.finish(key, row, send=send)
            try:
                self.add_row(row)
            except OSError as error:
                raise SettingsError(
                    "OUTPUT_UNWRITABLE",
                    "The table of results cannot be written. Free some disk space and start again; nothing is lost.",
                ) from error
        status = str(row["status"])
        self.metrics.films.labels(status).inc()
        self.metrics.flagged.inc(int(str(row.get("flagged", 0))))
        self.metrics.seconds.observe(result.seconds)
        found = f"flagged={row['flagged']} score={row['score']}" if status == "ok" else row["error_code"]
        _LOG.info("film %s: %s %s in %.2f s", key, status, found, result.seconds)
        return status

    def _put_away(self, arrival: Arrival, key: str, status: str) -> None:
        """Delete a file that is done, or set it aside if it failed; or leave it and remember that it is done."""
        if self.options.delete_read:
            try:
                if status == "failed":
                    aside = self.folder / SET_ASIDE
                    aside.mkdir(exist_ok=True)
                    ending = arrival.path.suffix if is_named_a_film(arrival.path) else ""
                    arrival.path.replace(aside / f"{key}{ending}")
                else:
                    arrival.path.unlink(missing_ok=True)
                return
            except OSError:
                _LOG.error("film %s: its file cannot be deleted or moved and stays in the inbox", key)
        self.ledger.deal_with(arrival.mark)
        self._dealt_with.add(arrival.mark)

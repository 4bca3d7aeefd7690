"""Sends the DICOM objects of films that are done to another application, in the background, until they have arrived."""

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ptx_app.audit import Event, Log
from ptx_app.errors import AuditError, SettingsError
from ptx_app.hospital.inbox_ledger import Ledger
from ptx_app.hospital.inbox_metrics import Health, Metrics
from ptx_app.hospital.storage_scu import RefusedError, UnreachableError
from ptx_app.results import DICOM

_LOG = logging.getLogger(__name__)
_SENT = ("film", "seg", "sr")  # the film first, as the others refer to it; only de-identified objects have one
_FAILS = "PEER_FAILS"
_UNREACHABLE = ("PEER_UNREACHABLE", "PEER_REJECTS", "PEER_FULL", _FAILS)
_MOST_REFUSALS = 3
_POLL_SECONDS, _LONGEST_PAUSE_SECONDS = 1.0, 300.0


@dataclass(frozen=True)
class Sender:
    """Sends what the ledger has noted.

    Attributes:
        output: where the files are.
        ledger, metrics, health: see there.
        send: sends files, as `storage_scu.send` does for one peer.
        log: the audit trail, told of each film before it is sent, and then how that ended.
        to: what the trail calls the other application.
    """

    output: Path
    ledger: Ledger
    send: Callable[[Sequence[Path]], None]
    metrics: Metrics
    health: Health
    log: Log = field(default_factory=Log)
    to: str = ""

    def run(self, stop: threading.Event) -> None:
        """Send until told to stop. The pauses grow while the other application cannot be reached."""
        pause = _POLL_SECONDS
        while not stop.wait(pause):
            try:
                well = self._round(stop)
            except (SettingsError, AuditError) as error:  # of ledger or trail; the inbox itself ends because of it
                _LOG.error("%s", error.message)
                well = False
            pause = _POLL_SECONDS if well else min(pause * 2, _LONGEST_PAUSE_SECONDS)

    def _round(self, stop: threading.Event) -> bool:
        """Send what is unsent. Returns whether that went well, or there was nothing to send."""
        refused, failed = False, None
        unsent = self.ledger.unsent(_MOST_REFUSALS)
        for number, key in enumerate(unsent):
            self.metrics.unsent.set(len(unsent) - number)
            if stop.is_set():
                return True
            try:
                self._send(key)
            except AuditError:
                raise
            except UnreachableError as error:
                self.metrics.sent.labels("unreachable").inc()
                if error.code != _FAILS:
                    self._tell(error)
                    return False
                failed = error  # perhaps on this film's objects only: the others are tried
            except RefusedError as error:
                refused = True
                self.metrics.sent.labels("refused").inc()
                times = self.ledger.refused(key)
                _LOG.error("film %s: sending, try %d of %d: %s", key, times, _MOST_REFUSALS, error.message)
            except Exception as error:  # a file that is gone or damaged; the text may quote it
                refused = True
                times = self.ledger.refused(key)
                said = f"its files cannot be read ({type(error).__name__})"
                _LOG.error("film %s: sending, try %d of %d: %s", key, times, _MOST_REFUSALS, said)
            else:
                self.ledger.sent(key)
                self.metrics.sent.labels("ok").inc()
                _LOG.info("film %s: sent", key)
            self._tell(failed)
        self.metrics.unsent.set(len(self.ledger.unsent(_MOST_REFUSALS)))
        return not refused and failed is None

    def _send(self, key: str) -> None:
        """Send a film's objects. Raises AuditError, before anything is sent, and as `send`."""
        told = {"film": self.ledger.audit_name(key), "to": self.to}
        self.log.tell(Event.STORING_BEGUN, **told)
        code = "UNEXPECTED"
        try:
            self.send(self._files(key))
            code = "OK"
        except (UnreachableError, RefusedError) as error:
            code = error.code
            raise
        finally:
            self.log.tell_after(Event.STORING_ENDED, **told, code=code)

    def _tell(self, now: UnreachableError | None) -> None:
        """Note why nothing can be sent now, or that something can."""
        for code in _UNREACHABLE:
            if self.health.tell(code, now is not None and now.code == code) and now and now.code == code:
                _LOG.error("%s Results are kept and sent later.", now.message)

    def _files(self, key: str) -> list[Path]:
        files = {kind: self.output / f"{key}{DICOM[kind]}" for kind in _SENT}
        return [file for kind, file in files.items() if kind != "film" or file.exists()]


@contextmanager
def sending(sender: Sender) -> Iterator[None]:
    """Send in the background while the block runs."""
    sender.ledger.forget_refusals()
    stop = threading.Event()
    thread = threading.Thread(target=sender.run, args=(stop,), name="sender")
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()

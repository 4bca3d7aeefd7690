"""ptx watch: reads the films that arrive in a folder, by C-STORE or in an archive, until it is told to stop."""

import argparse
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from ptx_app.commands.film_arguments import add_film_arguments, detector_and_wanted
from ptx_app.errors import SettingsError
from ptx_app.film.files import require_apart
from ptx_app.film.sandbox.reader import SandboxedReader
from ptx_app.output.results_table import open_table
from ptx_app.output.table import TABLE
from ptx_app.results import ResultMaker
from ptx_app.settings import read_settings

if TYPE_CHECKING:
    from ptx_app.hospital.dicom_tls import Certificates
    from ptx_app.hospital.dicomweb import Pacs

_LOG = logging.getLogger(__name__)
_LOCK, _LEDGER = "inbox.lock", "inbox.sqlite"
_MB = 1 << 20
_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_LONGEST_SETTLE_SECONDS = 3600.0
_LONGEST_DAYS = 3650
_ARCHIVE = "dicomweb"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("folder", type=Path, help="where the films arrive; searched recursively")
    add_film_arguments(parser)
    parser.add_argument("--delete-read", action="store_true", help="delete films once they are read")
    parser.add_argument(
        "--settle", type=_seconds, default=2.0, help="seconds that a file must not have changed (default: 2)"
    )
    parser.add_argument(
        "--min-free", type=int, default=1024, metavar="MB", help="stop while less disk space is free (default: 1024)"
    )
    parser.add_argument(
        "--try-again", action="store_true", help="read films that failed once more, if they are in the folder"
    )
    parser.add_argument("--metrics-port", type=_port, help="serve /metrics and /health on 127.0.0.1")
    receive = parser.add_argument_group("receive by C-STORE")
    receive.add_argument("--port", type=_port, help="listen for films and write them into the folder")
    receive.add_argument("--host", default="127.0.0.1", help="address to listen on (default: this machine only)")
    receive.add_argument("--ae-title", default="PTX", help="own AE title (default: PTX)")
    receive.add_argument(
        "--caller", action="append", default=[], metavar="AET", help="AE title that may send; may be repeated"
    )
    archive = parser.add_argument_group("fetch from an archive (PTX_PACS; see docs/pacs.md)")
    archive.add_argument("--dicomweb", action="store_true", help="ask it for new chest films")
    archive.add_argument("--dicomweb-days", type=_days, default=1, help="days before today to ask for (default: 1)")
    archive.add_argument("--dicomweb-seconds", type=_seconds, default=60.0, help="how often to ask (default: 60)")
    send = parser.add_argument_group("send")
    send.add_argument(
        "--store-to",
        metavar="AET@HOST:PORT",
        help="with --dicom: send segmentation and report there by C-STORE; or dicomweb, for the archive",
    )
    tls = parser.add_argument_group("encrypt C-STORE, both ways")
    tls.add_argument("--tls-certificate", type=Path, metavar="PEM", help="own certificate")
    tls.add_argument("--tls-key", type=Path, metavar="PEM", help="its key, if it is in another file")
    tls.add_argument("--tls-ca", type=Path, metavar="PEM", help="authorities whose certificates others must have")


def _port(text: str) -> int:
    port = int(text)
    if not 0 <= port < 1 << 16:
        raise argparse.ArgumentTypeError("from 0 to 65535; 0 for any free port")
    return port


def _days(text: str) -> int:
    days = int(text)
    if not 0 <= days <= _LONGEST_DAYS:
        raise argparse.ArgumentTypeError(f"from 0 to {_LONGEST_DAYS}")
    return days


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 <= seconds <= _LONGEST_SETTLE_SECONDS:
        raise argparse.ArgumentTypeError(f"from 0 to {_LONGEST_SETTLE_SECONDS:g}")
    return seconds


def run(arguments: argparse.Namespace) -> int:
    """Read films until SIGTERM or SIGINT. Returns 0."""
    with _logged():
        _watch(arguments)
        _LOG.info("Stopped.")
    return 0


def _watch(arguments: argparse.Namespace) -> None:
    from ptx_app.hospital.application import ae_title
    from ptx_app.hospital.inbox import Inbox, Options
    from ptx_app.hospital.inbox_files import Space, delete_parts
    from ptx_app.hospital.inbox_ledger import Ledger
    from ptx_app.hospital.inbox_metrics import Health, Metrics, served
    from ptx_app.hospital.inbox_sender import Sender, sending
    from ptx_app.hospital.instances import Instances
    from ptx_app.hospital.storage_scp import Listening, receiving

    _require_sensible(arguments)
    title, callers = ae_title(arguments.ae_title), tuple(ae_title(caller) for caller in arguments.caller)
    pacs = _pacs() if arguments.dicomweb or arguments.store_to == _ARCHIVE else None
    certificates = _certificates(arguments)
    send_to = _sending_to(arguments.store_to, title, pacs, certificates)
    log = read_settings(os.environ).log_of("ptx watch")
    with ExitStack() as stack:
        stop = stack.enter_context(_told_to_stop())
        detector, wanted = detector_and_wanted(arguments, record=True)
        folder, output = _prepared(arguments, stack)
        ledger = stack.enter_context(Ledger(output / _LEDGER))
        if arguments.try_again:
            _LOG.info("Films that failed before and will be read again: %d.", ledger.try_again())
        metrics, health = Metrics(), Health()
        space = Space((folder, output), arguments.min_free * _MB)
        try:
            for place in (folder, output):
                delete_parts(place)
            add_row = stack.enter_context(open_table(output / TABLE, ledger.rows()))
        except OSError as error:
            raise _unwritable() from error
        reader = stack.enter_context(SandboxedReader(processes=arguments.jobs))
        if arguments.metrics_port is not None:
            port = stack.enter_context(served(arguments.metrics_port, metrics, health))
            _LOG.info("Metrics are at http://127.0.0.1:%d/metrics, health is at /health.", port)
        inbox = Inbox(
            folder=folder,
            output=output,
            maker=ResultMaker(replace(detector, read=reader.read), reader.read_source, wanted),
            ledger=ledger,
            add_row=add_row,
            space=space,
            options=Options(
                delete_read=arguments.delete_read,
                send=send_to is not None,
                identified_only=arguments.store_to == _ARCHIVE,
                jobs=arguments.jobs,
                settle_seconds=arguments.settle,
            ),
            metrics=metrics,
            health=health,
            log=log,
        )
        if send_to:
            stack.enter_context(sending(Sender(output, ledger, send_to, metrics, health, log, arguments.store_to)))
        if arguments.dicomweb and pacs:
            from ptx_app.hospital.dicomweb_inbox import ArchiveSource, asking

            days, seconds = arguments.dicomweb_days, arguments.dicomweb_seconds
            received = Instances(folder, ledger)
            archive = ArchiveSource(pacs, received, space, metrics, health, inbox.give_up_unseen, days, seconds)
            stack.enter_context(asking(archive))
            _LOG.info("Asking the archive for new films.")
        if arguments.port is not None:
            tls = certificates.for_callers() if certificates else None
            listening = Listening(arguments.host, arguments.port, title, callers, tls=tls)
            port = stack.enter_context(receiving(listening, folder, space, ledger, metrics))
            _LOG.info("Receiving films as %s on port %d%s.", title, port, " by TLS" if tls else "")
        inbox.run(stop)


def _pacs() -> "Pacs":
    from ptx_app.hospital.dicomweb import Pacs
    from ptx_app.hospital.pacs_settings import read_pacs_settings

    return Pacs(read_pacs_settings(os.environ))


def _certificates(arguments: argparse.Namespace) -> "Certificates | None":
    """Raises SettingsError TLS_INCOMPLETE."""
    own, key, authorities = arguments.tls_certificate, arguments.tls_key, arguments.tls_ca
    if own and authorities:
        from ptx_app.hospital.dicom_tls import Certificates

        return Certificates(own, key, authorities)
    if own or key or authorities:
        raise SettingsError("TLS_INCOMPLETE", "TLS needs both --tls-certificate and --tls-ca.")
    return None


def _sending_to(
    peer: str | None, title: str, pacs: "Pacs | None", certificates: "Certificates | None"
) -> Callable[[Sequence[Path]], None] | None:
    """What sends the results on. Raises SettingsError PEER_INVALID, PACS_STORE_OFF or TLS_FILES_UNUSABLE."""
    from ptx_app.hospital.application import Peer
    from ptx_app.hospital.storage_scu import send

    if peer != _ARCHIVE:
        if not peer:
            return None
        tls = certificates.for_calling() if certificates else None
        return partial(send, peer=Peer.of(peer), title=title, tls=tls)
    from ptx_app.hospital.dicomweb_inbox import store_files

    assert pacs is not None  # noqa: S101  (it is made where results go there)
    pacs.require_storing()
    return partial(store_files, pacs=pacs)


def _require_sensible(arguments: argparse.Namespace) -> None:
    """Raise SettingsError for options that do not go together."""
    if arguments.store_to and not arguments.dicom:
        raise SettingsError("STORE_ALONE", "--store-to sends DICOM files. Add --dicom.")
    if arguments.store_to == _ARCHIVE and not arguments.identified:
        raise SettingsError(
            "STORE_DEIDENTIFIED", "What is stored in the archive has the patient's header. Add --identified."
        )
    if arguments.store_to and arguments.all:
        raise SettingsError(
            "STORE_OVERRULED", "Results of films that the film check rejects are not stored. Leave out --all."
        )
    if arguments.port is not None and arguments.host not in _LOOPBACK and not arguments.caller:
        raise SettingsError(
            "CALLERS_MISSING", "Other machines can reach this address. Name the AE titles that may send with --caller."
        )


def _prepared(arguments: argparse.Namespace, stack: ExitStack) -> tuple[Path, Path]:
    """Inbox and output folder, the latter for this process alone.

    Raises:
        SettingsError: FILES_NOT_FOUND, OUTPUT_IS_INPUT, OUTPUT_IN_USE, INBOX_RUNNING or OUTPUT_UNWRITABLE.
    """
    folder, output = arguments.folder, arguments.output
    if not folder.is_dir():
        raise SettingsError("FILES_NOT_FOUND", "The folder to watch does not exist. Create it, or check its name.")
    require_apart([folder], [], output, [])
    try:
        output.mkdir(parents=True, exist_ok=True)
        stack.enter_context(FileLock(output / _LOCK, timeout=0))
    except Timeout as error:
        raise SettingsError("INBOX_RUNNING", "Another ptx watch uses this output folder. Stop it first.") from error
    except OSError as error:
        raise _unwritable() from error
    if (output / TABLE).exists() and not (output / _LEDGER).exists():
        raise SettingsError("OUTPUT_IN_USE", "The output folder holds the results of ptx predict. Choose another.")
    return folder, output


def _unwritable() -> SettingsError:
    return SettingsError("OUTPUT_UNWRITABLE", "The output folder cannot be written. Choose another with --output.")


@contextmanager
def _told_to_stop() -> Iterator[threading.Event]:
    """An event that SIGTERM or SIGINT sets while the block runs."""
    stop = threading.Event()
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _logged() -> Iterator[None]:
    """Write the project's own log to stderr, one line an event, while the block runs."""
    handler, log = logging.StreamHandler(sys.stderr), logging.getLogger("ptx_app")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    level = log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(level)

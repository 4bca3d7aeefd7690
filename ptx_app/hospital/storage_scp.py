"""Receives films by C-STORE and writes them into the inbox folder. Answers success only once a film is on the disk.

The object is stored unchanged and not parsed here: that is for the sandboxed reader.
"""

import logging
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydicom.uid import (
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    DigitalXRayImageStorageForProcessing,
    SecondaryCaptureImageStorage,
)
from pynetdicom import AE, evt
from pynetdicom.events import Event

from ptx_app.errors import SettingsError
from ptx_app.film.dicom.stored_pixels import TRANSFER_SYNTAXES
from ptx_app.film.limits import Limits
from ptx_app.hospital.inbox_files import Space
from ptx_app.hospital.inbox_ledger import Ledger
from ptx_app.hospital.inbox_metrics import Metrics
from ptx_app.hospital.instances import Instances

SUCCESS, OUT_OF_RESOURCES, CANNOT_UNDERSTAND, PROCESSING_FAILURE = 0x0000, 0xA700, 0xC000, 0x0110
_VERIFICATION = "1.2.840.10008.1.1"
_FILM_CLASSES = (
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    DigitalXRayImageStorageForProcessing,
    SecondaryCaptureImageStorage,
)
_MOST_ASSOCIATIONS = 8
_IDLE_SECONDS = 60
_PDU_BYTES = 1 << 16
_META_BYTES = 1 << 12  # of the file above the data set
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Listening:
    """Where to listen, and to whom.

    Attributes:
        host, port: the address; port 0 lets the system choose one.
        title: own AE title. Others must call by it.
        callers: AE titles that may call; empty for any.
        most_bytes: the largest film to accept. The association of a larger one is aborted.
        tls: from `Certificates.for_callers`; None for connections that are not encrypted.
    """

    host: str
    port: int
    title: str
    callers: tuple[str, ...] = ()
    most_bytes: int = Limits().file_bytes - _META_BYTES
    tls: ssl.SSLContext | None = None


@dataclass(frozen=True)
class _Receiver:
    """Handles the events of all associations, each in a thread of its own."""

    instances: Instances
    space: Space
    metrics: Metrics
    most_bytes: int

    def on_reject(self, event: Event) -> None:
        """Say who was rejected, so that a wrong setting can be found."""
        asked = event.assoc.requestor
        self.metrics.rejected.inc()
        _LOG.warning("A call from %r at %s was rejected. See --caller and --ae-title.", asked.ae_title, asked.address)

    def on_pdu(self, event: Event) -> None:
        """Count what belongs to the object that is being received, and abort if it is too large."""
        primitive: Any = event.pdu
        items = getattr(primitive, "presentation_data_value_items", ())
        count = getattr(event.assoc, "ptx_bytes", 0) + sum(len(item.presentation_data_value or b"") for item in items)
        event.assoc.ptx_bytes = count  # type: ignore[attr-defined]
        if count > self.most_bytes and not event.assoc.is_aborted:
            self.metrics.received.labels("too_large").inc()
            _LOG.error("An object larger than %d MB was not received.", self.most_bytes >> 20)
            event.assoc.abort()

    def on_store(self, event: Event) -> int:
        """Write the film, and answer with a DICOM status."""
        event.assoc.ptx_bytes = 0  # type: ignore[attr-defined]
        try:
            outcome, status = self._store(event)
        except OSError:
            outcome, status = "disk_full", OUT_OF_RESOURCES
            _LOG.error("A film could not be written into the inbox folder.")
        except Exception as error:  # its text may quote the object
            outcome, status = "failed", PROCESSING_FAILURE
            _LOG.error("A film could not be received: %s", type(error).__name__)
        self.metrics.received.labels(outcome).inc()
        return status

    def _store(self, event: Event) -> tuple[str, int]:
        if not self.space.enough():
            return "disk_full", OUT_OF_RESOURCES
        data = event.encoded_dataset()
        if len(data) > self.most_bytes + _META_BYTES:
            return "too_large", CANNOT_UNDERSTAND
        uid = str(event.request.AffectedSOPInstanceUID)  # type: ignore[union-attr]
        if self.instances.has(uid):
            return "repeated", SUCCESS
        self.instances.add(uid, data)
        return "stored", SUCCESS


@contextmanager
def receiving(listening: Listening, folder: Path, space: Space, ledger: Ledger, metrics: Metrics) -> Iterator[int]:
    """Receive films while the block runs. Yields the port.

    Raises:
        SettingsError: PORT_TAKEN.
    """
    entity = AE(listening.title)
    entity.require_called_aet = True
    entity.require_calling_aet = list(listening.callers)
    entity.maximum_associations = _MOST_ASSOCIATIONS
    entity.maximum_pdu_size = _PDU_BYTES
    entity.network_timeout = _IDLE_SECONDS
    entity.add_supported_context(_VERIFICATION)
    for film_class in _FILM_CLASSES:
        entity.add_supported_context(film_class, list(TRANSFER_SYNTAXES))
    receiver = _Receiver(Instances(folder, ledger), space, metrics, listening.most_bytes)
    handlers: list[Any] = [
        (evt.EVT_C_STORE, receiver.on_store),
        (evt.EVT_PDU_RECV, receiver.on_pdu),
        (evt.EVT_REJECTED, receiver.on_reject),
    ]
    try:
        address = listening.host, listening.port
        server = entity.start_server(address, block=False, ssl_context=listening.tls, evt_handlers=handlers)
    except OSError as error:
        raise SettingsError(
            "PORT_TAKEN", f"Port {listening.port} cannot be used. Choose another with --port, or another --host."
        ) from error
    try:
        yield server.server_address[1]  # type: ignore[union-attr]
    finally:
        entity.shutdown()

"""Sends DICOM files to another application by C-STORE."""

import ssl
from collections.abc import Sequence
from pathlib import Path

from pydicom import dcmread
from pynetdicom import AE

from ptx_app.errors import PtxError
from ptx_app.hospital.application import Peer
from ptx_app.privacy import private_reading

_CONNECT_SECONDS, _ANSWER_SECONDS = 10, 60
_WARNINGS = range(0xB000, 0xC000)  # stored, if not as it was sent
_OUT_OF_RESOURCES = range(0xA700, 0xA800)


class UnreachableError(PtxError):
    """The other application takes nothing at the moment. Worth another try later."""


class RefusedError(PtxError):
    """The other application does not take these objects."""


def send(files: Sequence[Path], peer: Peer, title: str, tls: ssl.SSLContext | None = None) -> None:
    """Send files of our own making in one association, in order. Returns once all of them were stored.

    Args:
        files: DICOM files.
        peer: who gets them.
        title: own AE title.
        tls: from `Certificates.for_calling`; None for a connection that is not encrypted.

    Raises:
        UnreachableError: PEER_UNREACHABLE, PEER_REJECTS or PEER_FULL.
        RefusedError: PEER_REFUSED.
        OSError: a file cannot be read.
    """
    entity = AE(title)
    entity.connection_timeout = _CONNECT_SECONDS
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = _ANSWER_SECONDS
    with private_reading():
        objects = [dcmread(file) for file in files]
        for dataset in objects:
            entity.add_requested_context(dataset.SOPClassUID, dataset.file_meta.TransferSyntaxUID)
        with_tls = (tls, peer.host) if tls else None
        association = entity.associate(peer.host, peer.port, ae_title=peer.title, tls_args=with_tls)
        if association.is_rejected:
            raise UnreachableError("PEER_REJECTS", "The receiving application rejects calls from this AE title.")
        if association.rejected_contexts and not association.accepted_contexts:
            raise _not_taken()
        if not association.is_established:
            raise _unreachable(tls is not None)
        try:
            for dataset in objects:
                try:
                    status = association.send_c_store(dataset).get("Status")
                except ValueError:  # no presentation context was accepted for it
                    raise _not_taken() from None
                except RuntimeError:  # the association has ended
                    raise _unreachable() from None
                _require_stored(status)
        finally:
            if association.is_established:
                association.release()


def _require_stored(status: int | None) -> None:
    if status is None:
        raise _unreachable()
    if status in _OUT_OF_RESOURCES:
        raise UnreachableError("PEER_FULL", "The receiving application is full.")
    if status and status not in _WARNINGS:
        raise RefusedError("PEER_REFUSED", f"The receiving application refused an object: status {status:04X}.")


def _not_taken() -> RefusedError:
    return RefusedError("PEER_REFUSED", "The receiving application does not take objects of this class.")


def _unreachable(by_tls: bool = False) -> UnreachableError:
    or_not_trusted = ", or one side does not trust the other's certificate" if by_tls else ""
    return UnreachableError("PEER_UNREACHABLE", f"The receiving application does not answer{or_not_trusted}.")

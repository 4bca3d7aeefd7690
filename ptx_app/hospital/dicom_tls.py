"""TLS for C-STORE, with a certificate on both sides, as DICOM's BCP 195 profile asks for."""

import socket
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ptx_app.errors import SettingsError

_SILENT_SECONDS = 10.0


@dataclass(frozen=True)
class Certificates:
    """PEM files.

    Attributes:
        own: our certificate.
        key: its key; None if `own` has both.
        authorities: whose certificates the other side may have.
    """

    own: Path
    key: Path | None
    authorities: Path

    def for_callers(self) -> ssl.SSLContext:
        """For listening. Callers must have a certificate. Raises SettingsError TLS_FILES_UNUSABLE."""
        context = _OneCallerAtATime(ssl.PROTOCOL_TLS_SERVER)
        context.verify_mode = ssl.CERT_REQUIRED
        return self._loaded(context)

    def for_calling(self) -> ssl.SSLContext:
        """For calling. The other's certificate must name its host. Raises SettingsError TLS_FILES_UNUSABLE."""
        return self._loaded(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))

    def _loaded(self, context: ssl.SSLContext) -> ssl.SSLContext:
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            context.load_cert_chain(self.own, self.key, password=_no_password)
            context.load_verify_locations(self.authorities)
        except (OSError, ValueError) as error:  # ssl's own are OSErrors
            raise SettingsError(
                "TLS_FILES_UNUSABLE",
                "The certificates cannot be used. --tls-certificate, --tls-key and --tls-ca must name PEM files, and "
                "the key must belong to the certificate and have no password.",
            ) from error
        return context


def _no_password() -> str:
    """Otherwise a key with a password would be asked for on the terminal."""
    raise ValueError


class _OneCallerAtATime(ssl.SSLContext):
    """Shakes hands when a caller's own thread first reads.

    pynetdicom does it in the thread that accepts all callers, where one that stays silent would keep out the others.
    """

    def wrap_socket(self, sock: socket.socket, *_: Any, **__: Any) -> ssl.SSLSocket:  # noqa: ANN401
        sock.settimeout(_SILENT_SECONDS)
        return super().wrap_socket(sock, server_side=True, do_handshake_on_connect=False)

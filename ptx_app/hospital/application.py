"""Names of DICOM application entities: one's own, and those of others with their address."""

from dataclasses import dataclass

from ptx_app.errors import SettingsError

_LONGEST_TITLE = 16


@dataclass(frozen=True)
class Peer:
    """Another application: its AE title, host and port."""

    title: str
    host: str
    port: int

    @classmethod
    def of(cls, text: str) -> "Peer":
        """From `AET@host:port`; an IPv6 address stands in brackets. Raises SettingsError PEER_INVALID."""
        title, at, address = text.rpartition("@")
        host, colon, port = address.rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        if not (at and colon and host and port.isascii() and port.isdigit() and 0 < int(port) < 1 << 16):
            raise SettingsError(
                "PEER_INVALID", "Write the receiving application as AET@host:port, such as PACS@10.0.0.5:104."
            )
        return cls(ae_title(title), host, int(port))


def ae_title(text: str) -> str:
    """An AE title without the spaces around it. Raises SettingsError AE_TITLE_INVALID if it is none."""
    title = text.strip()
    if not (0 < len(title) <= _LONGEST_TITLE and title.isascii() and title.isprintable() and "\\" not in title):
        raise SettingsError(
            "AE_TITLE_INVALID", f"An AE title has 1 to {_LONGEST_TITLE} printable ASCII characters and no backslash."
        )
    return title

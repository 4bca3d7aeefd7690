"""Films that come with a SOP instance UID: each is written into the inbox folder once, named after the UID's hash."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from ptx_app.hospital.inbox import KEY_DIGITS, key_of
from ptx_app.hospital.inbox_files import write_atomically
from ptx_app.hospital.inbox_ledger import Ledger


@dataclass(frozen=True)
class Instances:
    """The instances that were received into a folder, by C-STORE or from an archive."""

    folder: Path
    ledger: Ledger

    def has(self, uid: str) -> bool:
        """Whether the instance is in the folder, or was read from there before."""
        key = self.ledger.received(_hash(uid))
        return key is not None and (self._file(uid).exists() or self.ledger.status(key) is not None)

    def add(self, uid: str, data: bytes) -> None:
        """Write the instance's file. Once this returns it survives a power cut. Raises OSError."""
        write_atomically(self._file(uid), data)
        self.ledger.receive(_hash(uid), key_of(data))

    def given_up(self, uid: str) -> bool:
        """Whether the instance has a row that says that it could not be received."""
        return self.ledger.status(_hash(uid)[:KEY_DIGITS]) is not None

    def fail(self, uid: str) -> tuple[str, int]:
        """Note that the instance could not be received. Returns its name in the table, and how often it could not."""
        key = _hash(uid)[:KEY_DIGITS]
        self.ledger.begin(key)
        return key, self.ledger.fail(key)

    def _file(self, uid: str) -> Path:
        return self.folder / f"{_hash(uid)}.dcm"


def _hash(uid: str) -> str:
    return hashlib.sha256(uid.encode()).hexdigest()

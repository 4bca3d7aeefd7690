"""The inbox's files: which of them are complete, writing so that no half file is ever seen, and free disk space."""

import contextlib
import hashlib
import os
import secrets
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ptx_app.film.files import walk

SET_ASIDE = ".set-aside"
"""Folder in the inbox for files that could not be read. Hidden, so that they are not read again."""

_PART_START, _PART_END = ".ptx-", ".part"


@dataclass(frozen=True)
class Arrival:
    """A file in the inbox. `mark` changes if the file does, and does not tell its name."""

    path: Path
    mark: bytes


class Arrivals:
    """Finds the files of a folder that are complete: neither size nor time has changed for a while.

    Files that are written under a hidden name and then renamed are never seen half.
    """

    def __init__(self, folder: Path, settle_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        """`settle_seconds`: how long a file must not have changed; `clock` in seconds."""
        self._folder, self._settle_seconds, self._clock = folder, settle_seconds, clock
        self._since: dict[bytes, float] = {}

    def complete(self, known: Callable[[bytes], bool]) -> list[Arrival]:
        """The complete files in order, without those whose mark is known.

        Raises:
            OSError or SettingsError: the folder cannot be read.
        """
        now, since = self._clock(), {}
        found = []
        for path in walk([self._folder]):
            mark = self.mark(path)
            if mark is None or known(mark):
                continue
            since[mark] = self._since.get(mark, now)
            if now - since[mark] >= self._settle_seconds:
                found.append(Arrival(path, mark))
        self._since = since
        return found

    def mark(self, path: Path) -> bytes | None:
        """A file's mark as it is now; None if it is gone."""
        try:
            facts = path.stat()
        except OSError:
            return None
        said = f"{facts.st_size} {facts.st_mtime_ns} {facts.st_ino} "
        return hashlib.sha256(said.encode() + os.fsencode(path.relative_to(self._folder))).digest()[:16]


def write_atomically(file: Path, content: bytes) -> None:
    """Write a file that is there in full or not at all, even after a power cut. Raises OSError."""
    # A name of its own: the same film may arrive twice at once.
    part = file.with_name(f"{_PART_START}{file.name}.{secrets.token_hex(4)}{_PART_END}")
    try:
        with part.open("wb") as opened:
            opened.write(content)
            opened.flush()
            os.fsync(opened.fileno())
        part.replace(file)
    except BaseException:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise
    _sync(file.parent)


def _sync(folder: Path) -> None:
    """Put the folder's names on the disk, where the system supports it."""
    if os.name != "posix":
        return
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def delete_parts(folder: Path) -> None:
    """Delete what a killed process left half written in a folder."""
    for part in folder.glob(f"{_PART_START}*{_PART_END}"):
        part.unlink(missing_ok=True)


@dataclass(frozen=True)
class Space:
    """Whether the disks of some folders have enough free space to go on: at least `least_bytes` each."""

    folders: tuple[Path, ...]
    least_bytes: int

    def free_bytes(self) -> int:
        """Free bytes on the fullest of the disks; 0 if a folder is gone."""
        try:
            return min(shutil.disk_usage(folder).free for folder in self.folders)
        except OSError:
            return 0

    def enough(self) -> bool:
        """Whether there is enough."""
        return self.free_bytes() >= self.least_bytes

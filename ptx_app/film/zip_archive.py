"""Films in a zip archive. Each is taken out when it is its turn, so that memory holds one of them at a time."""

import io
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from ptx_app.errors import FilmError
from ptx_app.film.limits import Limits

MOST_MEMBERS = 500
"""A study has a few films, a teaching file some hundred."""
_MOST_LISTED = 1 << 20
"""Bytes of an archive's list of files. Python reads the list at once, and a small archive can list millions."""
_END, _END_LENGTH, _LONGEST_COMMENT = b"PK\x05\x06", 22, 65_535  # the record that ends an archive and locates its list
_LARGE, _LARGE_LENGTH = b"PK\x06\x07", 20  # stands before it if the list is beyond 4 GB

_BEGINNINGS = b"PK\x03\x04", b"PK\x05\x06"  # with members, and empty
_ENCRYPTED = 0x1
# Directories and notes that archives of films have beside the films.
_ASIDE = ("__MACOSX", "DICOMDIR", "Thumbs.db")


def is_archive(data: bytes) -> bool:
    """Whether a file begins as a zip archive does."""
    return data.startswith(_BEGINNINGS)


@dataclass(frozen=True)
class Member:
    """One file of an archive. `name` is its own, without folders."""

    name: str
    _archive: bytes
    _place: str
    _limits: Limits

    def data(self) -> bytes:
        """Its bytes.

        Raises:
            FilmError: TOO_LARGE, ARCHIVE_ENCRYPTED, ARCHIVE_DAMAGED.
        """
        try:
            with zipfile.ZipFile(io.BytesIO(self._archive)) as archive:
                entry = archive.getinfo(self._place)
                if entry.flag_bits & _ENCRYPTED:
                    raise FilmError(
                        "ARCHIVE_ENCRYPTED", "This file of the zip has a password. Unpack it first, then drop it."
                    )
                with archive.open(entry) as file:  # the size in the archive's list may be false
                    data = file.read(self._limits.file_bytes + 1)
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, KeyError, ValueError, OSError) as error:
            raise _damaged() from error
        if len(data) > self._limits.file_bytes:
            most = self._limits.file_bytes >> 20
            raise FilmError("TOO_LARGE", f"This file of the zip is larger than {most} MB. Export the film alone.")
        return data


def members(data: bytes, limits: Limits | None = None) -> list[Member]:
    """The files of an archive, in its order. Folders and hidden files are left out.

    Args:
        data: the archive.
        limits: on each file.

    Raises:
        FilmError: ARCHIVE_DAMAGED, ARCHIVE_EMPTY, ARCHIVE_TOO_LARGE.
    """
    _require_short_list(data)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            places = [entry.filename for entry in archive.infolist() if not entry.is_dir()]
    except (zipfile.BadZipFile, ValueError, NotImplementedError, OSError) as error:
        raise _damaged() from error
    found = list(_films(places, data, limits or Limits()))
    if len(found) > MOST_MEMBERS:
        raise _too_large()
    if not found:
        raise FilmError("ARCHIVE_EMPTY", "The zip holds no files. Export the films again, or drop them one by one.")
    return found


def _require_short_list(data: bytes) -> None:
    tail = data[-(_END_LENGTH + _LONGEST_COMMENT + _LARGE_LENGTH) :]
    end = tail.rfind(_END)
    if end < 0:
        raise _damaged()
    listed = int.from_bytes(tail[end + 12 : end + 16], "little")
    if listed > _MOST_LISTED or tail[max(0, end - _LARGE_LENGTH) : end].startswith(_LARGE):
        raise _too_large()


def _films(places: list[str], data: bytes, limits: Limits) -> Iterator[Member]:
    for place in places:
        path = PurePosixPath(place.replace("\\", "/"))
        if any(part in _ASIDE or part.startswith(".") for part in path.parts if part != ".."):
            continue
        yield Member(path.name, data, place, limits)


def _too_large() -> FilmError:
    return FilmError("ARCHIVE_TOO_LARGE", f"The zip holds more than {MOST_MEMBERS} files. Drop it in parts.")


def _damaged() -> FilmError:
    return FilmError("ARCHIVE_DAMAGED", "This zip is damaged. Export it again, or drop the films one by one.")

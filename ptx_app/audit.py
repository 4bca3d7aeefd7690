"""The audit trail: who opened which film when, what was shown, what was changed, what left. JSON lines, only appended.

Every line carries its number, the seal of the line before, and its own seal: an HMAC with the operator's key over all
the rest. So nobody without the key can add, change, move or remove a line without `verify` saying which. `head.json`
names the last line, so that lines cut off at the end are missed, too.

A film is named by an HMAC of its content: the same film has the same name in the whole trail, and only who has both the
key and the film can tell which it is. No header text, no file name.
"""

import hashlib
import hmac
import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from itertools import pairwise
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ptx_app.errors import AuditError, SettingsError

SHORTEST_KEY = 32
"""Characters. A key that can be guessed hides no film and seals no line."""

_LOG = logging.getLogger(__name__)
_HEAD, _LOCK = "head.json", "lock"
_SEAL = len(f',"seal":"{"0" * 64}"}}')
_SECONDS_FOR_LOCK = 10
_MOST_FAULTS = 100


class Event(StrEnum):
    """What the trail tells of."""

    SIGNED_IN = "signed in"
    SIGNED_OUT = "signed out"
    FILM_OPENED = "film opened"
    RESULT_SHOWN = "result shown"
    RESULT_WRITTEN = "result written"
    SETTING_CHANGED = "setting changed"
    CHECK_OVERRULED = "check overruled"
    FILM_ANSWERED = "film answered"
    FILE_DOWNLOADED = "file downloaded"
    ARCHIVE_SEARCHED = "archive searched"
    STORING_BEGUN = "storing begun"
    STORING_ENDED = "storing ended"
    FILMS_CLEARED = "films cleared"
    SESSION_ENDED = "session ended"
    LINES_DELETED = "lines deleted"


@dataclass(frozen=True)
class Keeping:
    """When a new file is begun, and when an old one is deleted.

    Attributes:
        file_bytes: a file that has as many is followed by a new one.
        file_days: so is a file that began so long ago.
        days: a file is deleted once its last line is older, when a new file is begun; None to keep all.
    """

    file_bytes: int = 10_000_000
    file_days: int = 30
    days: int | None = None


@dataclass(frozen=True)
class Line:
    """One line as it was read.

    Attributes:
        file, place: where it is; places count from 1.
        number: the one that it carries, right seal or not; None if it cannot be read.
        record: what it says; None if its seal is not right.
        whole: whether it has its end.
    """

    file: str
    place: int
    number: int | None
    record: Mapping[str, Any] | None
    whole: bool


@dataclass(frozen=True)
class Verdict:
    """What `Trail.verify` found.

    Attributes:
        lines, files: how many there are.
        last: number and seal of the last line, as "NUMBER:SEAL"; note it elsewhere to compare it later. "" if none.
        faults: what is wrong, one sentence each; none if the trail is whole.
    """

    lines: int
    files: int
    last: str
    faults: tuple[str, ...]


@dataclass(frozen=True)
class _Head:
    """The last line that was confirmed: its number, its seal, its file and that file's size and beginning."""

    n: int = 0
    seal: str = ""
    file: str = ""
    size: int = 0
    since: str = ""


_known: dict[Path, _Head] = {}
"""The last line that this process has written to each trail. In the folder alone, older files put back look sound."""


class Trail:
    """An audit trail in a folder. Several threads and processes may write to it at once."""

    def __init__(
        self,
        folder: Path,
        key: str,
        keeping: Keeping | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """Open the trail; the folder is made with the first line. `clock` tells the time.

        Raises:
            SettingsError: AUDIT_KEY_INVALID if the key is missing or too short.
        """
        if len(key) < SHORTEST_KEY:
            raise SettingsError(
                "AUDIT_KEY_INVALID",
                f"The audit trail needs a secret key of at least {SHORTEST_KEY} characters in PTX_AUDIT_KEY. "
                'Make one with: python -c "import secrets; print(secrets.token_urlsafe(48))"',
            )
        self._folder, self._keeping, self._clock = folder, keeping or Keeping(), clock
        self._film_key, self._line_key, self._head_key = (
            hmac.digest(key.encode(), f"ptx audit {use}".encode(), "sha256") for use in ("film", "line", "head")
        )

    def film(self, content: bytes) -> str:
        """The name of a film in the trail, 64 hexadecimal digits, from the bytes of its file."""
        return hmac.new(self._film_key, content, hashlib.sha256).hexdigest()

    def record(self, event: Event, **facts: object) -> None:
        """Append a line, and return once it is on the disk. Facts that are None are left out.

        Raises:
            AuditError: AUDIT_UNWRITABLE if it could not be written; AUDIT_BROKEN if the trail was changed by others.
        """
        told = {name: fact for name, fact in facts.items() if fact is not None}
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with FileLock(self._folder / _LOCK, timeout=_SECONDS_FOR_LOCK, mode=0o600):
                self._append(event, told)
        except (OSError, Timeout) as error:
            raise AuditError(
                "AUDIT_UNWRITABLE",
                "This was not done, because the audit trail cannot be written. Tell the operator: its folder "
                "must exist, be writable and have free space.",
            ) from error

    def _append(self, event: Event, facts: Mapping[str, object]) -> None:
        now = self._clock()
        head = self._recovered(self._head() or _Head())
        known = _known.get(self._folder.resolve(), _Head())
        if head.n < known.n or (head.n == known.n and head.seal != known.seal):
            raise _broken()
        if head.file and self._is_full(head, now):
            head = _Head(head.n, head.seal)
        if not head.file:
            begins = head.n > 0
            head = self._written(head, now, event, facts)
            if begins:
                self._delete_old(head, now)
            return
        self._written(head, now, event, facts)

    def _is_full(self, head: _Head, now: datetime) -> bool:
        old = now - datetime.fromisoformat(head.since) >= timedelta(days=self._keeping.file_days)
        return old or head.size >= self._keeping.file_bytes

    def _written(self, head: _Head, now: datetime, event: Event, facts: Mapping[str, object]) -> _Head:
        at = now.isoformat(timespec="milliseconds")
        record = {"n": head.n + 1, "at": at, "event": event, **facts, "before": head.seal}
        text = json.dumps(record, separators=(",", ":"))
        seal = self._sealed(text.encode())
        line = f'{text[:-1]},"seal":"{seal}"}}\n'.encode()
        name = head.file or _file_name(head.n + 1)
        _write(self._folder / name, os.O_APPEND, line)
        written = _Head(head.n + 1, seal, name, head.size + len(line), head.since or at)
        self._note(written)
        return written

    def _note(self, head: _Head) -> None:
        text = json.dumps(head.__dict__)
        seal = hmac.digest(self._head_key, text.encode(), "sha256").hex()
        new = self._folder / f"{_HEAD}.new"
        _write(new, os.O_TRUNC, json.dumps({"head": text, "seal": seal}).encode())
        new.replace(self._folder / _HEAD)
        _sync_folder(self._folder)
        _known[self._folder.resolve()] = head

    def _head(self) -> _Head | None:
        """The head, or None if there is none. Raises AuditError AUDIT_BROKEN if it is not what this key has sealed."""
        try:
            stored = json.loads((self._folder / _HEAD).read_text(encoding="ascii"))
            text, seal = str(stored["head"]), str(stored["seal"])
            if not hmac.compare_digest(seal, hmac.digest(self._head_key, text.encode(), "sha256").hex()):
                raise _broken()
            return _Head(**json.loads(text))
        except FileNotFoundError:
            if self._files():
                raise _broken() from None
            return None
        except (ValueError, KeyError, TypeError) as error:
            raise _broken() from error

    def _recovered(self, head: _Head) -> _Head:
        """The head after a crash: the last line may be written but not noted, or written in part. Nothing else passes.

        Raises:
            AuditError: AUDIT_BROKEN.
        """
        if head.file and not self._is_there(head):
            raise _broken()
        for name, noted in {head.file: head.size, _file_name(head.n + 1): 0}.items():
            path = self._folder / name
            if not name or not path.exists():
                continue
            with path.open("rb") as file:
                file.seek(noted)
                tail = file.read()
            if b"\n" in tail:
                line = self._line(name, 0, tail.removesuffix(b"\n"))
                if line.record is None or (line.number, line.record["before"]) != (head.n + 1, head.seal):
                    raise _broken()
                since = head.since if name == head.file else line.record["at"]
                return _Head(head.n + 1, line.record["seal"], name, noted + len(tail), since)
            if tail:  # written in part: whatever it tells of was not done
                os.truncate(path, noted)
        return head

    def _is_there(self, head: _Head) -> bool:
        path = self._folder / head.file
        return path.exists() and path.stat().st_size >= head.size

    def _delete_old(self, head: _Head, now: datetime) -> None:
        """Delete the files whose last line is older than is to be kept, after a line that says so."""
        if self._keeping.days is None:
            return
        oldest, through, gone = now - timedelta(days=self._keeping.days), 0, []
        for name in self._files()[:-1]:
            last = self._line(name, 0, (self._folder / name).read_bytes().removesuffix(b"\n").rpartition(b"\n")[2])
            if last.record is None or datetime.fromisoformat(last.record["at"]) >= oldest:
                break
            through = last.record["n"]
            gone.append(name)
        if gone:
            self._written(head, now, Event.LINES_DELETED, {"through": through})
            for name in gone:
                (self._folder / name).unlink()

    def lines(self) -> Iterator[Line]:
        """All lines in the order in which they are there, sound or not.

        Raises:
            AuditError: AUDIT_UNREADABLE if there is no trail in the folder, or it cannot be read.
        """
        files = self._files()
        if not files:
            raise _unreadable()
        for name in files:
            try:
                *texts, rest = (self._folder / name).read_bytes().split(b"\n")
            except OSError as error:
                raise _unreadable() from error
            for place, text in enumerate(texts, 1):
                yield self._line(name, place, text)
            if rest:
                yield self._line(name, len(texts) + 1, rest, whole=False)

    def verify(self, expected: str = "") -> Verdict:
        """Check the whole trail. It may be written to meanwhile.

        Args:
            expected: "NUMBER:SEAL" that an earlier call has returned as `last`: that line must still be there.

        Raises:
            AuditError: AUDIT_UNREADABLE if there is no trail in the folder, or it cannot be read.
        """
        check = _Check(expected)
        try:
            head = self._head() or _Head()
        except AuditError:
            head = _Head()
            check.faults.append(f"{_HEAD} is missing or was altered, or the key is not the one of this trail.")
        except OSError as error:
            raise _unreadable() from error
        for line in self.lines():
            check.look(line, head)
        return check.verdict(head)

    def _files(self) -> list[str]:
        return sorted(path.name for path in self._folder.glob("audit-*.jsonl"))

    def _line(self, file: str, place: int, text: bytes, *, whole: bool = True) -> Line:
        try:
            record = json.loads(text)
            number = record["n"] if isinstance(record["n"], int) else None
        except (ValueError, KeyError, TypeError):
            return Line(file, place, None, None, whole)
        stated = f',"seal":"{self._sealed(text[:-_SEAL] + b"}")}"}}'.encode()
        return Line(file, place, number, record if hmac.compare_digest(text[-_SEAL:], stated) else None, whole)

    def _sealed(self, body: bytes) -> str:
        return hmac.digest(self._line_key, body, "sha256").hex()


class Log:
    """The audit trail as one session, or one run of a verb, writes to it. Without a trail it does nothing.

    `tell` and `opened` are called before what they tell of is done. They raise AuditError if the trail cannot be
    written, and then it is not done.
    """

    def __init__(self, trail: Trail | None = None, **whose: object) -> None:
        """`trail`: None if the operator keeps none. `whose`: facts that every line of it states."""
        self._trail, self._whose = trail, whose

    def tell(self, event: Event, **facts: object) -> None:
        """Write a line. Raises AuditError as `Trail.record`."""
        if self._trail is not None:
            self._trail.record(event, **self._whose, **facts)

    def tell_after(self, event: Event, **facts: object) -> None:
        """Write a line about what is done already. A failure can stop nothing any more, so it is only logged."""
        try:
            self.tell(event, **facts)
        except AuditError as error:
            _LOG.error("“%s” is missing in the audit trail: %s", event, error.code)

    def film(self, content: bytes) -> str | None:
        """The name of a film in the trail, as `Trail.film`; None without a trail."""
        return None if self._trail is None else self._trail.film(content)

    def opened(self, content: bytes, how: str) -> str | None:
        """Tell that a film was opened, and return its name in the trail. `how`: such as dropped, file or archive."""
        film = self.film(content)
        self.tell(Event.FILM_OPENED, film=film, how=how)
        return film


class _Check:
    """Looks at one line after the other, and keeps of each what the next ones are held against."""

    def __init__(self, expected: str) -> None:
        self.faults: list[str] = []
        self._expected = expected
        self._count, self._highest, self._deleted = 0, 0, 0
        self._files: set[str] = set()
        self._seals: dict[int, str] = {}
        self._before: dict[int, str] = {}
        self._unsound: set[int] = set()

    def look(self, line: Line, head: _Head) -> None:
        if not line.whole and self._highest >= head.n > 0:
            return  # being written just now, or cut short by a crash: nothing was done on its word
        self._count += 1
        self._files.add(line.file)
        where = f"{line.file}, line {line.place}"
        if line.record is None or not line.whole:
            following = max(self._highest, head.n) + 1  # its own number may be anything
            number = line.number if line.number and 0 < line.number <= following else self._highest + 1
            self._unsound.add(number)
            self._highest = max(self._highest, number)
            self.faults.append(f"{where} (number {number}) was altered, cut, or written by others.")
            return
        number = int(line.record["n"])
        if number in self._seals:
            self.faults.append(f"{where} repeats number {number}.")
        elif number < self._highest:
            self.faults.append(f"{where} (number {number}) is out of order.")
        self._highest = max(self._highest, number)
        self._seals[number], self._before[number] = line.record["seal"], line.record["before"]
        if line.record["event"] == Event.LINES_DELETED:
            self._deleted = max(self._deleted, int(line.record["through"]))

    def verdict(self, head: _Head) -> Verdict:
        known = self._seals.keys() | self._unsound
        # Lines up to `_deleted` may be gone, but only from the beginning.
        first = min(self._deleted + 1, min(self._seals, default=1))
        missing = [number for number in range(first, max(self._highest, head.n) + 1) if number not in known]
        self.faults += [f"{_span(start, end)} missing." for start, end in _runs(missing)]
        for number, before in self._before.items():
            if self._seals.get(number - 1, before) != before:
                self.faults.append(f"Number {number} does not follow the line before it.")
        if self._seals.get(head.n, head.seal) != head.seal:
            self.faults.append(f"Number {head.n} is not the line that {_HEAD} names.")
        if self._expected:
            noted, _, seal = self._expected.partition(":")
            if not noted.isdecimal() or self._seals.get(int(noted)) != seal:
                self.faults.append(f"Line {noted}, noted earlier, is no longer there as it was.")
        last = max(self._seals, default=0)
        named = f"{last}:{self._seals[last]}" if last else ""
        return Verdict(self._count, len(self._files), named, tuple(self.faults[:_MOST_FAULTS]))


def _file_name(first: int) -> str:
    return f"audit-{first:010d}.jsonl"


def _runs(numbers: list[int]) -> Iterator[tuple[int, int]]:
    """Ascending numbers as runs of neighbours, each by its first and last."""
    if not numbers:
        return
    start = numbers[0]
    for one, other in pairwise(numbers):
        if other != one + 1:
            yield start, one
            start = other
    yield start, numbers[-1]


def _span(start: int, end: int) -> str:
    return f"Number {start} is" if start == end else f"Numbers {start} to {end} are"


def _write(path: Path, how: int, data: bytes) -> None:
    """Write a file that only its owner can read, and return once it is on the disk."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | how, 0o600)
    try:
        if os.write(descriptor, data) != len(data):
            raise OSError("disk full")
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # Windows opens no folders
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _broken() -> AuditError:
    return AuditError(
        "AUDIT_BROKEN",
        "This was not done, because the audit trail was changed by others, or has another key. Tell the "
        "operator: ptx audit verify says what is wrong. Keep the folder, and set an empty one to go on.",
    )


def _unreadable() -> AuditError:
    return AuditError("AUDIT_UNREADABLE", "There is no audit trail in this folder, or it cannot be read.")

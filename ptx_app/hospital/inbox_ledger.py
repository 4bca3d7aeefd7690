"""The inbox's memory: which films were read, with what result, and what is still to be sent. Survives any kill.

A film is known by the SHA-256 of its bytes, an instance that was or could not be received by that of its UID, and a
file by that of its path, size and time. So the database holds nothing of a header and no file name. A film's row is its
result: once it is committed the film is done, and everything else (table, deletion, sending) can be made up for after a
kill.
"""

import json
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from ptx_app.errors import SettingsError
from ptx_app.output.table import Row

_STEPS = (
    """
CREATE TABLE films (
    key TEXT PRIMARY KEY,
    begun INTEGER NOT NULL DEFAULT 0,       -- 1 while it is in work
    interruptions INTEGER NOT NULL DEFAULT 0,
    tries INTEGER NOT NULL DEFAULT 0,
    place INTEGER UNIQUE,                   -- in the table; NULL until it is done
    result TEXT                             -- its row as JSON
);
CREATE TABLE sending (key TEXT PRIMARY KEY, refusals INTEGER NOT NULL DEFAULT 0);
CREATE TABLE files (mark BLOB PRIMARY KEY);
CREATE TABLE received (uid_hash TEXT PRIMARY KEY, key TEXT NOT NULL);
""",
    "ALTER TABLE films ADD COLUMN audit_name TEXT;",
    "UPDATE films SET interruptions = 0;",  # those of films in work beside the one that did it were counted, too
)
"""What makes each version of the database from the one before."""


@dataclass(frozen=True)
class Attempts:
    """How often reading a film went wrong before: the reader was lost, or the whole process died meanwhile."""

    tries: int
    interruptions: int


class Ledger:
    """The database. Many threads may use it at once; each call is one transaction.

    Every call raises SettingsError LEDGER_UNWRITABLE if the database cannot be used any more, as on a full disk. What
    was committed before stays.
    """

    def __init__(self, file: Path) -> None:
        """Open the database, or make it. One of an earlier version is brought up to this one.

        Raises:
            SettingsError: LEDGER_UNUSABLE if it is damaged, of a later version, or cannot be opened.
        """
        self._lock = threading.Lock()
        try:
            self._database = sqlite3.connect(file, check_same_thread=False, isolation_level=None)
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = FULL")  # what is committed also survives a power cut
            (version,) = self._database.execute("PRAGMA user_version").fetchone()
            if version > len(_STEPS):
                raise sqlite3.DatabaseError("a later version")
            if version < len(_STEPS):
                steps = "".join(_STEPS[version:])
                self._database.executescript(f"BEGIN; {steps} PRAGMA user_version = {len(_STEPS)}; COMMIT;")
        except sqlite3.Error as error:
            raise SettingsError(
                "LEDGER_UNUSABLE",
                "The inbox's database is damaged, cannot be opened, or was written by a later version. Choose another "
                "output folder, or move inbox.sqlite away to read all films again.",
            ) from error

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        try:
            with self._lock, self._database:
                self._database.execute("BEGIN IMMEDIATE")
                yield self._database
        except sqlite3.Error as error:
            raise SettingsError(
                "LEDGER_UNWRITABLE",
                "The inbox's database cannot be written. Free some disk space and start again; nothing is lost.",
            ) from error

    def _run(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        with self._transaction() as database:
            return database.execute(statement, values).fetchall()

    def status(self, key: str) -> str | None:
        """The status of a film that is done: "ok", "rejected" or "failed"; None if it is not done."""
        found = self._run("SELECT json_extract(result, '$.status') FROM films WHERE key = ? AND place IS NOT NULL", key)
        return found[0][0] if found else None

    def attempts(self, key: str) -> Attempts:
        """How often reading a film went wrong before."""
        found = self._run("SELECT tries, interruptions FROM films WHERE key = ?", key)
        return Attempts(*found[0]) if found else Attempts(0, 0)

    def begin(self, key: str, audit_name: str | None = None) -> None:
        """Note that a film is in work. `audit_name`: its name in the audit trail; None without one."""
        self._run(
            "INSERT INTO films (key, begun, audit_name) VALUES (?, 1, ?) ON CONFLICT (key) DO UPDATE "
            "SET begun = 1, audit_name = IFNULL(excluded.audit_name, audit_name)",
            key,
            audit_name,
        )

    def interrupt(self) -> dict[str, int]:
        """Note that whatever is in work was interrupted, as the process died: how often each film was by now."""
        statement = (
            "UPDATE films SET begun = 0, interruptions = interruptions + 1 WHERE begun RETURNING key, interruptions"
        )
        return dict(self._run(statement))

    def try_again(self) -> int:
        """Forget the films that failed, so that they are read again if they are there. Returns how many they are."""
        with self._transaction() as database:
            forgotten = database.execute(
                "UPDATE films SET tries = 0, interruptions = 0, place = NULL, result = NULL "
                "WHERE json_extract(result, '$.status') = 'failed'"
            )
            database.execute("DELETE FROM files")  # a mark does not tell its film, so every file is looked at again
            return forgotten.rowcount

    def audit_name(self, key: str) -> str | None:
        """A film's name in the audit trail, or None if there was none when it was begun."""
        found = self._run("SELECT audit_name FROM films WHERE key = ?", key)
        return found[0][0] if found else None

    def release(self, key: str) -> None:
        """Note that a film is no longer in work, through no fault of its own."""
        self._run("UPDATE films SET begun = 0 WHERE key = ?", key)

    def fail(self, key: str) -> int:
        """Note that the reader was lost on a film. Returns how often it was."""
        ((tries,),) = self._run("UPDATE films SET begun = 0, tries = tries + 1 WHERE key = ? RETURNING tries", key)
        return int(tries)

    def finish(self, key: str, row: Row, *, send: bool) -> None:
        """Note a film's row, and whether its objects are to be sent: from here on it is done."""
        with self._transaction() as database:
            database.execute(
                "UPDATE films SET begun = 0, result = ?, place = (SELECT IFNULL(MAX(place), 0) + 1 FROM films) "
                "WHERE key = ?",
                (json.dumps(row), key),
            )
            if send:
                database.execute("INSERT OR IGNORE INTO sending (key) VALUES (?)", (key,))

    def rows(self) -> Iterator[Row]:
        """The rows of all films that are done, in the order in which they were."""
        last = 0
        while some := self._run("SELECT place, result FROM films WHERE place > ? ORDER BY place LIMIT 1000", last):
            yield from (json.loads(row) for _, row in some)
            last = some[-1][0]

    def dealt_with(self) -> set[bytes]:
        """The marks of the files that are done and are still in the folder."""
        return {mark for (mark,) in self._run("SELECT mark FROM files")}

    def deal_with(self, mark: bytes) -> None:
        """Note that nothing more is to be done with a file."""
        self._run("INSERT OR IGNORE INTO files VALUES (?)", mark)

    def received(self, uid_hash: str) -> str | None:
        """The film that an instance became when it was received, or None."""
        found = self._run("SELECT key FROM received WHERE uid_hash = ?", uid_hash)
        return found[0][0] if found else None

    def receive(self, uid_hash: str, key: str) -> None:
        """Note that an instance was received, and which film it is."""
        self._run("INSERT OR REPLACE INTO received VALUES (?, ?)", uid_hash, key)

    def unsent(self, most_refusals: int) -> list[str]:
        """The films whose objects are still to be sent, in order: those that were refused less often than that."""
        return [
            key
            for (key,) in self._run(
                "SELECT key FROM sending JOIN films USING (key) WHERE refusals < ? ORDER BY place", most_refusals
            )
        ]

    def sent(self, key: str) -> None:
        """Note that a film's objects have arrived."""
        self._run("DELETE FROM sending WHERE key = ?", key)

    def refused(self, key: str) -> int:
        """Note that a film's objects were refused. Returns how often they were."""
        ((times,),) = self._run("UPDATE sending SET refusals = refusals + 1 WHERE key = ? RETURNING refusals", key)
        return int(times)

    def forget_refusals(self) -> None:
        """Give objects that were refused another chance."""
        self._run("UPDATE sending SET refusals = 0")

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            self._database.close()

    def __enter__(self) -> "Ledger":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

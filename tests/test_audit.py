"""The audit trail: nothing can be taken from it, changed in it or moved in it without being found."""

import json
import multiprocessing
import os
import re
import shutil
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ptx_app import audit
from ptx_app.__main__ import main
from ptx_app.audit import Event, Keeping, Trail
from ptx_app.errors import AuditError, SettingsError

KEY = "a key that only the operator of this test has"
OTHER_KEY = KEY.upper()


@pytest.fixture
def folder(tmp_path) -> Path:
    return tmp_path / "trail"


@pytest.fixture
def trail(folder) -> Trail:
    """A trail of ten lines in one file."""
    trail = Trail(folder, KEY)
    for number in range(10):
        trail.record(Event.FILM_OPENED, film=trail.film(b"film %d" % number), how="dropped")
    return trail


def only_file(folder: Path) -> Path:
    (file,) = folder.glob("audit-*.jsonl")
    return file


def lines_of(folder: Path) -> list[bytes]:
    return only_file(folder).read_bytes().splitlines(keepends=True)


def put(folder: Path, lines: list[bytes]) -> None:
    only_file(folder).write_bytes(b"".join(lines))


def test_what_was_recorded_is_there_in_order_and_sound(trail, folder):
    trail.record(Event.SETTING_CHANGED, who="jane", session=None, score=0.25)
    records = [line.record for line in trail.lines()]
    assert [record["n"] for record in records] == list(range(1, 12))
    assert records[0]["film"] == trail.film(b"film 0")
    assert records[-1]["event"] == "setting changed"
    assert (records[-1]["who"], records[-1]["score"]) == ("jane", 0.25)
    assert "session" not in records[-1]
    assert abs(datetime.fromisoformat(records[-1]["at"]) - datetime.now(UTC)) < timedelta(minutes=5)
    found = trail.verify()
    assert (found.lines, found.files, found.faults) == (11, 1, ())
    assert found.last == f"11:{records[-1]['seal']}"


def test_only_the_owner_can_read_the_files(trail, folder):
    for path in (folder, only_file(folder), folder / "head.json"):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0


def test_a_film_has_one_name_for_each_key_and_its_bytes_alone_do_not_give_it(trail, folder):
    import hashlib

    name = trail.film(b"film")
    assert re.fullmatch("[0-9a-f]{64}", name)
    assert name == Trail(folder, KEY).film(b"film")
    assert name not in {
        trail.film(b"film "),
        Trail(folder, OTHER_KEY).film(b"film"),
        hashlib.sha256(b"film").hexdigest(),
    }


@pytest.mark.parametrize("key", ["", "short", "x" * 31])
def test_a_key_that_can_be_guessed_is_refused(folder, key):
    with pytest.raises(SettingsError) as raised:
        Trail(folder, key)
    assert raised.value.code == "AUDIT_KEY_INVALID"
    assert not key or key not in raised.value.message


def _changed(place: int, change):
    return lambda lines: [*lines[: place - 1], change(lines[place - 1]), *lines[place:]]


def _between(place: int, line: bytes):
    return lambda lines: [*lines[:place], line, *lines[place:]]


# Each tampering with ten lines, and what verify must say.
TAMPERING = {
    "altered": (_changed(5, lambda line: line.replace(b"dropped", b"example")), ["line 5 (number 5) was altered"]),
    "seal altered": (_changed(5, lambda line: line[:-5] + b'00"}\n'), ["line 5 (number 5) was altered"]),
    "renumbered": (_changed(5, lambda line: line.replace(b'"n":5', b'"n":5000000000')), ["line 5 (number 5) was"]),
    "removed": (lambda lines: lines[:4] + lines[5:], ["Number 5 is missing."]),
    "several removed": (lambda lines: lines[:2] + lines[5:], ["Numbers 3 to 5 are missing."]),
    "first removed": (lambda lines: lines[1:], ["Number 1 is missing."]),
    "last removed": (lambda lines: lines[:-1], ["Number 10 is missing."]),
    "end removed": (lambda lines: lines[:3], ["Numbers 4 to 10 are missing."]),
    "reordered": (lambda lines: [*lines[:3], lines[4], lines[3], *lines[5:]], ["line 5 (number 4) is out of order."]),
    "repeated": (lambda lines: [*lines[:5], lines[4], *lines[5:]], ["line 6 repeats number 5."]),
    "cut in its middle": (_changed(10, lambda line: line[:40]), ["line 10 (number 10) was altered, cut"]),
    "cut before its end": (_changed(10, lambda line: line[:-1]), ["line 10 (number 10) was altered, cut"]),
    "joined": (_changed(4, lambda line: line[:-1]), ["line 4 (number 4) was altered", "Number 5 is missing."]),
    "of others": (_between(5, b'{"n":6,"event":"film opened"}\n'), ["line 6 (number 6) was altered"]),
    "not JSON": (_between(5, b"\xff\x00\n"), ["line 6 (number 6) was altered"]),
    "emptied": (lambda lines: [], ["Numbers 1 to 10 are missing."]),
}


@pytest.mark.parametrize("how", TAMPERING)
def test_tampering_is_found_and_its_place_named_and_nothing_more_is_written(trail, folder, how):
    tamper, expected = TAMPERING[how]
    before = lines_of(folder)
    put(folder, tamper(before))
    faults = trail.verify().faults
    assert len(faults) == len(expected)
    for fault, said in zip(faults, expected, strict=True):
        assert said in fault
    if len(b"".join(lines_of(folder))) < len(b"".join(before)):
        with pytest.raises(AuditError) as raised:
            trail.record(Event.FILM_OPENED)
        assert raised.value.code == "AUDIT_BROKEN"


def test_lines_sealed_with_another_key_are_found(trail, folder):
    put(folder, lines_of(folder)[:9])
    (folder / "head.json").unlink()
    forged = folder.parent / "forged"
    for _ in range(10):
        Trail(forged, OTHER_KEY).record(Event.FILM_OPENED)
    put(folder, [*lines_of(folder), lines_of(forged)[-1]])
    (folder / "head.json").write_bytes((forged / "head.json").read_bytes())
    faults = trail.verify().faults
    assert "head.json is missing or was altered" in faults[0]
    assert "line 10 (number 10) was altered" in faults[1]


@pytest.mark.parametrize("what", ["missing", "altered", "not JSON"])
def test_a_head_that_is_not_the_trails_is_found_and_stops_all_writing(trail, folder, what):
    head = folder / "head.json"
    if what == "missing":
        head.unlink()
    else:
        head.write_text(head.read_text().replace(': 10', ': 9') if what == "altered" else "{")  # fmt: skip
    assert "head.json is missing or was altered" in trail.verify().faults[0]
    with pytest.raises(AuditError, match="changed by others"):
        trail.record(Event.FILM_OPENED)


def test_an_older_trail_put_back_whole_is_found_by_a_line_noted_elsewhere(trail, folder):
    kept = {path: path.read_bytes() for path in folder.iterdir()}
    trail.record(Event.FILM_OPENED)
    noted = trail.verify().last
    assert trail.verify(noted).faults == ()
    for path, content in kept.items():
        path.write_bytes(content)
    assert trail.verify().faults == (), "nothing in the folder itself can tell"
    assert "Line 11, noted earlier, is no longer there" in trail.verify(noted).faults[0]
    audit._known.clear()  # as after a restart
    trail.record(Event.FILMS_CLEARED)
    assert "Line 11, noted earlier, is no longer there" in trail.verify(noted).faults[0]


@pytest.mark.parametrize("what", ["an older copy", "nothing", "another line"])
def test_a_server_that_runs_does_not_go_on_after_an_older_trail_was_put_back(trail, folder, tmp_path, what):
    kept = {path: path.read_bytes() for path in folder.iterdir()}
    trail.record(Event.FILM_OPENED)
    if what == "nothing":
        shutil.rmtree(folder)
    else:
        for path, content in kept.items():
            path.write_bytes(content)
    if what == "another line":  # of a server with the same key
        audit._known.pop(folder.resolve(), None)
        trail.record(Event.FILMS_CLEARED)
        audit._known[folder.resolve()] = audit._Head(11, "the seal of the line that was there")
    for each in (trail, Trail(folder, KEY)):
        with pytest.raises(AuditError, match="changed by others"):
            each.record(Event.FILM_OPENED)


def test_another_key_finds_nothing_sound_and_writes_nothing(trail, folder):
    other = Trail(folder, OTHER_KEY)
    assert len(other.verify().faults) == 11
    with pytest.raises(AuditError, match="another key"):
        other.record(Event.FILM_OPENED)
    assert trail.verify().faults == ()


def test_a_crash_before_the_head_is_written_loses_nothing(trail, folder, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(Trail, "_note", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            trail.record(Event.CHECK_OVERRULED)
    assert (trail.verify().lines, trail.verify().faults) == (11, ())
    trail.record(Event.FILMS_CLEARED)
    assert (trail.verify().lines, trail.verify().faults) == (12, ())


@pytest.mark.parametrize("written", [1, 60, -1])
def test_a_line_that_a_crash_has_cut_short_is_not_a_fault_and_is_written_over(trail, folder, written):
    file = only_file(folder)
    size = file.stat().st_size
    trail.record(Event.FILM_OPENED)
    unfinished = file.read_bytes()[size:][:written]
    put(folder, lines_of(folder)[:10])
    _set_head_back(folder, size)
    with file.open("ab") as end:
        end.write(unfinished)
    assert trail.verify().faults == ()
    trail.record(Event.FILMS_CLEARED)
    assert [line.record["event"] for line in trail.lines()][-2:] == ["film opened", "films cleared"]
    assert (trail.verify().lines, trail.verify().faults) == (11, ())


def _set_head_back(folder: Path, size: int) -> None:
    last = json.loads(lines_of(folder)[-1])
    first = json.loads(lines_of(folder)[0])
    Trail(folder, KEY)._note(audit._Head(last["n"], last["seal"], only_file(folder).name, size, first["at"]))


def test_a_full_disk_says_so_and_leaves_the_trail_sound(trail, folder, monkeypatch):
    write = os.write
    with monkeypatch.context() as patched:
        patched.setattr(audit.os, "write", lambda descriptor, data: write(descriptor, data[:50]))
        with pytest.raises(AuditError) as raised:
            trail.record(Event.FILM_OPENED)
    assert raised.value.code == "AUDIT_UNWRITABLE"
    assert trail.verify().faults == ()
    trail.record(Event.FILM_OPENED)
    assert (trail.verify().lines, trail.verify().faults) == (11, ())


def test_a_folder_that_cannot_be_made_says_so(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(AuditError) as raised:
        Trail(tmp_path / "file" / "trail", KEY).record(Event.FILM_OPENED)
    assert raised.value.code == "AUDIT_UNWRITABLE"
    assert str(tmp_path) not in raised.value.message


def test_a_folder_without_a_trail_cannot_be_verified(tmp_path):
    with pytest.raises(AuditError) as raised:
        Trail(tmp_path, KEY).verify()
    assert raised.value.code == "AUDIT_UNREADABLE"


def _write_some(folder: Path, who: str) -> None:
    for number in range(25):
        Trail(folder, KEY, Keeping(file_bytes=3000)).record(Event.RESULT_SHOWN, who=who, number=number)


def test_several_processes_write_to_one_trail(folder):
    names = ("a", "b", "c")
    writers = [multiprocessing.get_context("spawn").Process(target=_write_some, args=(folder, name)) for name in names]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(120)
    trail = Trail(folder, KEY)
    found = trail.verify()
    assert (found.lines, found.faults) == (75, ())
    assert found.files > 3
    for name in names:
        numbers = [line.record["number"] for line in trail.lines() if line.record["who"] == name]
        assert numbers == list(range(25))


class Clock:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


def test_a_new_file_is_begun_by_size_and_by_age_and_the_chain_goes_on(folder):
    clock = Clock()
    trail = Trail(folder, KEY, Keeping(file_bytes=600, file_days=30), clock)
    for _ in range(6):
        trail.record(Event.FILM_OPENED)
    sizes = [path.stat().st_size for path in sorted(folder.glob("audit-*"))]
    assert len(sizes) == 2
    assert 600 <= sizes[0] < 900
    clock.now += timedelta(days=29)
    trail.record(Event.FILM_OPENED)
    clock.now += timedelta(days=31)
    trail.record(Event.FILM_OPENED)
    assert (trail.verify().files, trail.verify().lines, trail.verify().faults) == (3, 8, ())


def test_a_whole_file_that_was_removed_is_found(folder):
    trail = Trail(folder, KEY, Keeping(file_bytes=600))
    for _ in range(8):
        trail.record(Event.FILM_OPENED)
    removed = sorted(folder.glob("audit-*"))[1]
    first = int(removed.stem.rpartition("-")[2])
    count = removed.read_bytes().count(b"\n")
    removed.unlink()
    assert trail.verify().faults == (f"Numbers {first} to {first + count - 1} are missing.",)


def test_old_files_are_deleted_as_set_and_the_trail_says_so(folder):
    clock = Clock()
    trail = Trail(folder, KEY, Keeping(file_days=10, days=25), clock)
    for _ in range(6):
        trail.record(Event.FILM_OPENED)
        clock.now += timedelta(days=10)
    records = [line.record for line in trail.lines()]
    assert records[0]["n"] > 1
    deleted = [record for record in records if record["event"] == "lines deleted"]
    assert deleted
    assert deleted[-1]["through"] == records[0]["n"] - 1
    assert trail.verify().faults == ()
    first = sorted(folder.glob("audit-*"))[0]
    first.unlink()
    assert "missing" in trail.verify().faults[0], "what was not yet to be deleted is missed"


def test_nothing_is_deleted_unless_the_operator_says_so(folder):
    clock = Clock()
    trail = Trail(folder, KEY, Keeping(file_days=1), clock)
    for _ in range(5):
        trail.record(Event.FILM_OPENED)
        clock.now += timedelta(days=4000)
    assert trail.verify().lines == 5


def test_an_old_file_that_was_altered_is_kept(folder):
    clock = Clock()
    trail = Trail(folder, KEY, Keeping(file_days=10, days=15), clock)
    trail.record(Event.FILM_OPENED)
    put(folder, [lines_of(folder)[0].replace(b"opened", b"closed")])
    altered = only_file(folder)
    for _ in range(4):
        clock.now += timedelta(days=20)
        trail.record(Event.FILM_OPENED)
    assert altered.exists()
    assert len(trail.verify().faults) == 1


def test_what_is_being_written_while_it_is_verified_is_no_fault(trail, folder):
    with only_file(folder).open("ab") as file:
        file.write(b'{"n":11,"at":"2026')
    assert (trail.verify().lines, trail.verify().faults) == (10, ())


@pytest.fixture
def key_in_environment(monkeypatch) -> None:
    monkeypatch.setenv("PTX_AUDIT_KEY", KEY)


def test_the_verb_says_that_a_trail_is_whole_and_what_to_note(trail, folder, capsys, key_in_environment):
    assert main(["audit", "verify", str(folder)]) == 0
    said = capsys.readouterr().out
    assert "10 lines in 1 file." in said
    assert "The trail is unchanged." in said
    assert trail.verify().last in said
    assert main(["audit", "verify", str(folder), "--noted", trail.verify().last]) == 0


def test_the_verb_says_which_line_was_removed(trail, folder, capsys, key_in_environment):
    put(folder, lines_of(folder)[1:])
    assert main(["audit", "verify", str(folder)]) == 1
    said = capsys.readouterr().out
    assert "Number 1 is missing." in said
    assert "The trail was CHANGED." in said


@pytest.mark.parametrize("noted", ["10:00", "11:00", "x", ":", "99999999999999999999:ab"])
def test_a_line_that_was_never_there_is_said_not_to_be(trail, folder, capsys, key_in_environment, noted):
    assert main(["audit", "verify", str(folder), "--noted", noted]) == 1
    assert "no longer there" in capsys.readouterr().out


def test_the_verb_reads_its_key_from_a_file(trail, folder, tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("PTX_AUDIT_KEY", raising=False)
    assert main(["audit", "verify", str(folder)]) == 1
    assert "AUDIT_KEY_INVALID" in capsys.readouterr().err
    assert main(["audit", "verify", str(folder), "--key-file", str(tmp_path / "none")]) == 1
    assert "AUDIT_KEY_UNREADABLE" in capsys.readouterr().err
    (tmp_path / "key").write_text(f"{KEY}\n")
    assert main(["audit", "verify", str(folder), "--key-file", str(tmp_path / "key")]) == 0


def test_the_trail_is_shown_whole_by_film_and_by_person(trail, folder, tmp_path, capsys, key_in_environment):
    trail.record(Event.SIGNED_IN, who="jane", name="\x1b[2Jred")
    (tmp_path / "film").write_bytes(b"film 3")
    assert main(["audit", "show", str(folder)]) == 0
    everything = capsys.readouterr().out
    assert len(everything.splitlines()) == 11
    assert "\x1b" not in everything
    assert main(["audit", "show", str(folder), "--film", str(tmp_path / "film")]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.split()[0] == "4"
    assert main(["audit", "show", str(folder), "--who", "jane"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert "signed in" in line


def test_a_line_that_was_altered_is_shown_as_such_only(trail, folder, capsys, key_in_environment):
    put(folder, _changed(5, lambda line: line.replace(b"dropped", b"forged"))(lines_of(folder)))
    assert main(["audit", "show", str(folder)]) == 1
    said = capsys.readouterr().out
    assert "forged" not in said
    assert "line 5" in said


def test_no_trail_is_one_sentence(tmp_path, capsys, key_in_environment):
    for what in ("verify", "show"):
        assert main(["audit", what, str(tmp_path / "nothing")]) == 1
        assert capsys.readouterr().err.startswith("AUDIT_UNREADABLE: ")

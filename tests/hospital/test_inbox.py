"""The inbox in this process, with results made by hand: what is complete, what is tried again, what is put away."""

import json
import os
import sqlite3
import stat
import threading
import time
import urllib.error
import urllib.request
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from ptx_app.audit import Log, Trail
from ptx_app.errors import AuditError, FilmError, SettingsError
from ptx_app.hospital import inbox as inbox_module
from ptx_app.hospital.inbox import Inbox, Options, key_of
from ptx_app.hospital.inbox_files import Arrivals, Space, delete_parts, write_atomically
from ptx_app.hospital.inbox_ledger import _STEPS, Ledger
from ptx_app.hospital.inbox_metrics import Health, Metrics, served
from ptx_app.inference.decide import Thresholds
from ptx_app.model.manifest import load_manifest
from ptx_app.output.setting import Setting
from ptx_app.results import DICOM, Result, Wanted
from tests.support.serving import until

OK = Result({"status": "ok", "score": "0.5", "flagged": 1, "grade": "flagged", "side": "", "area_share": "0", "regions": 0}, {"_mask.png": b"M"})  # noqa: E501  # fmt: skip


class ByHand:
    """Makes results as a test says; a film's bytes are the key."""

    def __init__(self) -> None:
        weights = load_manifest().entry()
        point = weights.operating_point()
        self.wanted = Wanted(Setting.of(weights, point, Thresholds.of(point), "by hand"))
        self.errors: dict[bytes, str] = {}
        self.mended_after = 99  # tries
        self.made: list[bytes] = []
        self.entered = threading.Event()
        self.go = threading.Event()
        self.go.set()

    def make(self, data: bytes, *, named_a_film: bool) -> Result:
        self.entered.set()
        self.go.wait(60)
        self.made.append(data)
        if data in self.errors and self.made.count(data) <= self.mended_after:
            return Result.of_error(FilmError(self.errors[data], "Said."), named_a_film=named_a_film)
        return OK


class Place:
    """An inbox with its folders; `run` works until a condition holds."""

    def __init__(self, home: Path) -> None:
        self.folder, self.output = home / "in", home / "out"
        self.folder.mkdir()
        self.output.mkdir()
        self.maker, self.rows, self.metrics, self.health = ByHand(), [], Metrics(), Health()
        self.ledger = Ledger(self.output / "inbox.sqlite")
        self.least_free, self.log = 0, Log()

    def inbox(self, **options) -> Inbox:
        return Inbox(
            self.folder, self.output, self.maker, self.ledger, self.rows.append,
            Space((self.folder, self.output), self.least_free),
            Options(**{"settle_seconds": 0.0, "poll_seconds": 0.01, **options}), self.metrics, self.health,
            self.log,
        )  # fmt: skip

    def run(self, done, **options) -> None:
        stop, inbox = threading.Event(), self.inbox(**options)
        thread = threading.Thread(target=inbox.run, args=(stop,))
        thread.start()
        try:
            until(done, 60, every=0.01)
        finally:
            stop.set()
            thread.join(60)
        assert not thread.is_alive()

    def put(self, name: str, data: bytes) -> Path:
        (self.folder / name).parent.mkdir(exist_ok=True)
        (self.folder / name).write_bytes(data)
        return self.folder / name

    def value(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(name, labels) or 0.0


@pytest.fixture
def place(tmp_path):
    place = Place(tmp_path)
    yield place
    place.ledger.close()


def test_the_log_has_one_line_for_each_film(place, caplog):
    place.maker.errors[b"broken"] = "DICOM_BROKEN"
    films = [place.put(f"{number}.dcm", b"film %d" % number) for number in range(3)] + [place.put("x.dcm", b"broken")]
    with caplog.at_level("INFO", logger=inbox_module.__name__):
        place.run(lambda: len(place.rows) == len(films))
    told = [record.getMessage().split(":")[0] for record in caplog.records if record.getMessage().startswith("film ")]
    assert sorted(told) == sorted(f"film {row['file']}" for row in place.rows)


def test_a_file_counts_once_neither_size_nor_time_has_changed_for_so_long(tmp_path):
    now = [0.0]
    arrivals = Arrivals(tmp_path, 2.0, lambda: now[0])
    film = tmp_path / "film.dcm"

    def complete_at(seconds: float) -> bool:
        now[0] = seconds
        return [arrival.path for arrival in arrivals.complete(lambda _: False)] == [film]

    film.write_bytes(b"half")
    assert not complete_at(0)
    assert not complete_at(1.9)
    assert complete_at(2.0)
    film.write_bytes(b"the whole")
    assert not complete_at(2.1)
    assert not complete_at(4.0)
    os.utime(film, ns=(1, 1))
    assert not complete_at(4.1)
    assert not complete_at(6.0)
    assert complete_at(6.1)


def test_hidden_files_are_not_films_and_known_marks_are_left_out(tmp_path):
    arrivals = Arrivals(tmp_path, 0.0)
    (tmp_path / "deep").mkdir()
    for name in ("a", "deep/b", ".hidden", ".ptx-c.part"):
        (tmp_path / name).write_bytes(name.encode())
    found = arrivals.complete(lambda _: False)
    assert [arrival.path.name for arrival in found] == ["a", "b"]
    assert [arrival.path.name for arrival in arrivals.complete(lambda mark: mark == found[0].mark)] == ["b"]
    assert len({arrival.mark for arrival in found}) == 2


def test_each_film_is_read_once_and_stays_where_it_is(place):
    first, second = place.put("a.dcm", b"A"), place.put("deep/b.png", b"B")
    place.run(lambda: len(place.rows) == 2)
    place.run(lambda: place.value("ptx_inbox_waiting") == 0)
    assert sorted(place.maker.made) == [b"A", b"B"]
    assert {row["file"] for row in place.rows} == {key_of(b"A"), key_of(b"B")}
    assert [row["mask"] for row in place.rows] == [f"{row['file']}_mask.png" for row in place.rows]
    assert (place.output / f"{key_of(b'A')}_mask.png").read_bytes() == b"M"
    assert first.exists()
    assert second.exists()
    assert list(place.ledger.rows()) == place.rows
    assert (place.value("ptx_inbox_films_total", status="ok"), place.value("ptx_inbox_flagged_total")) == (2, 2)


def test_the_same_film_under_two_names_or_put_there_again_is_read_once(place):
    place.put("a.dcm", b"A")
    place.put("b.dcm", b"A")
    place.maker.go.clear()

    def both_are_done() -> bool:
        if place.maker.entered.is_set() and place.value("ptx_inbox_waiting") == 0:
            place.maker.go.set()  # the second file was looked at while the first was in work
        return len(place.ledger.dealt_with()) == 2

    place.run(both_are_done)
    place.put("c.dcm", b"A")
    place.run(lambda: len(place.ledger.dealt_with()) == 3)
    assert (place.maker.made, len(place.rows)) == ([b"A"], 1)


def test_a_file_that_changes_is_another_film(place):
    film = place.put("a.dcm", b"half")
    place.run(lambda: len(place.rows) == 1)
    film.write_bytes(b"the whole")
    place.run(lambda: len(place.rows) == 2)
    assert place.maker.made == [b"half", b"the whole"]


@pytest.mark.parametrize("code", ["READER_LOST", "TOO_SLOW", "UNEXPECTED"])
def test_a_film_on_which_the_reader_is_lost_is_given_up_after_three_tries_and_others_go_on(place, code):
    place.maker.errors[b"poison"] = code
    place.put("a.dcm", b"poison")
    place.put("b.dcm", b"B")
    place.run(lambda: len(place.rows) == 2)
    place.run(lambda: place.value("ptx_inbox_waiting") == 0)
    assert sorted(place.maker.made) == [b"B", b"poison", b"poison", b"poison"]
    rows = {row["file"]: row for row in place.rows}
    assert rows[key_of(b"B")]["status"] == "ok"
    assert (rows[key_of(b"poison")]["status"], rows[key_of(b"poison")]["error_code"]) == ("failed", code)
    assert (place.value("ptx_inbox_set_aside_total"), place.value("ptx_inbox_retries_total")) == (1, 3)


def test_a_film_that_is_read_at_the_third_try_is_a_film_like_any_other(place):
    place.maker.errors[b"A"], place.maker.mended_after = "TOO_SLOW", 2
    place.put("a.dcm", b"A")
    place.run(lambda: len(place.rows) == 1)
    assert place.rows[0]["status"] == "ok"
    assert (place.value("ptx_inbox_set_aside_total"), place.value("ptx_inbox_retries_total")) == (0, 2)


def test_a_broken_film_is_a_row_at_once(place):
    place.maker.errors[b"broken"] = "DICOM_BROKEN"
    place.put("a.dcm", b"broken")
    place.run(lambda: len(place.rows) == 1)
    assert place.maker.made == [b"broken"]
    assert place.value("ptx_inbox_set_aside_total") == 0


def test_a_reader_that_does_not_start_is_not_the_films_fault(place, monkeypatch):
    monkeypatch.setattr(inbox_module, "_PAUSE_SECONDS", 0.01)
    place.maker.errors[b"A"] = "READER_NOT_STARTED"
    place.put("a.dcm", b"A")
    place.run(lambda: len(place.maker.made) > 4)
    assert place.rows == []
    place.maker.errors.clear()
    place.run(lambda: len(place.rows) == 1)
    assert place.rows[0]["status"] == "ok"


def test_results_that_cannot_be_written_are_made_again_later(place, monkeypatch):
    def full(file, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(inbox_module, "_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(inbox_module, "write_atomically", full)
    place.put("a.dcm", b"A")
    place.run(lambda: len(place.maker.made) > 2)
    assert place.rows == []
    monkeypatch.undo()
    place.run(lambda: len(place.rows) == 1)
    assert place.rows[0]["status"] == "ok"


def died(place, *films: bytes) -> None:
    """The program died while it read these films."""
    place.ledger.interrupt()  # as it began
    for film in films:
        place.ledger.begin(key_of(film))


def test_a_film_during_which_the_program_died_twice_is_read_and_after_the_third_time_set_aside(place, caplog):
    place.put("a.dcm", b"A")
    place.put("b.dcm", b"B")
    place.put("c.dcm", b"C")
    for films in ((b"A", b"B"), (b"A", b"B"), (b"B",)):
        died(place, *films)
    place.run(lambda: len(place.rows) == 3)
    assert place.maker.made == [b"A", b"C"]
    codes = {row["file"]: row.get("error_code") for row in place.rows}
    assert codes == {key_of(b"A"): None, key_of(b"B"): "INTERRUPTED", key_of(b"C"): None}
    assert place.value("ptx_inbox_set_aside_total") == 1
    assert f"film {key_of(b'B')}: in work when the program ended, 3 of 3 times" in caplog.text
    place.run(lambda: place.value("ptx_inbox_waiting") == 0)
    assert len(place.rows) == 3


def test_films_that_were_in_work_when_the_program_died_are_read_one_by_one_and_others_at_once(place):
    begun = {film: threading.Event() for film in (b"A", b"B", b"C", b"D")}
    both, seconds = threading.Barrier(2, timeout=60), 0.5
    beside: dict[bytes, bool] = {}

    def make(data: bytes, *, named_a_film: bool) -> Result:
        begun[data].set()
        following = {b"A": b"B", b"B": b"C"}
        if data in following:
            beside[data] = begun[following[data]].wait(seconds)
        else:
            both.wait()
        return OK

    place.maker.make = make
    for name in "abcd":
        place.put(f"{name}.dcm", name.upper().encode())
    died(place, b"B")
    place.run(lambda: len(place.rows) == 4, jobs=3)
    assert beside == {b"A": False, b"B": False}


def test_what_ends_the_program_in_order_counts_against_no_film(place):
    def full(*_: object, **__: object) -> None:
        raise SettingsError("LEDGER_UNWRITABLE", "Said.")

    place.put("a.dcm", b"A")
    place.put("b.dcm", b"B")
    for _ in range(4):
        finish, place.ledger.finish = place.ledger.finish, full
        with pytest.raises(SettingsError):
            place.inbox().run(threading.Event())
        place.ledger.finish = finish
    place.run(lambda: len(place.rows) == 2)
    assert {row["status"] for row in place.rows} == {"ok"}


@pytest.mark.parametrize("delete_read", [False, True])
def test_films_that_failed_are_tried_again_where_the_operator_says_so_and_no_others(place, delete_read):
    place.maker.errors[b"B"] = "DICOM_BROKEN"
    place.put("a.dcm", b"A")
    place.put("b.dcm", b"B")
    place.put("c.dcm", b"C")
    for _ in range(3):
        died(place, b"C")
    place.run(lambda: len(place.rows) == 3, delete_read=delete_read)
    for path in (place.folder / ".set-aside").glob("*"):
        path.rename(place.folder / path.name)
    place.maker.errors.clear()
    assert place.ledger.try_again() == 2
    assert [row["file"] for row in place.ledger.rows()] == [key_of(b"A")]
    place.run(lambda: len(place.rows) == 5, delete_read=delete_read)
    assert [row["status"] for row in place.ledger.rows()] == ["ok"] * 3
    assert sorted(place.maker.made) == [b"A", b"B", b"B", b"C"]
    assert place.ledger.try_again() == 0


def test_nothing_is_picked_up_while_the_disk_is_full(place):
    place.least_free = 1 << 62
    place.put("a.dcm", b"A")
    place.run(lambda: place.health.problems() == ["DISK_FULL"])
    assert place.maker.made == []
    assert place.value("ptx_inbox_waiting") == 1
    place.least_free = 0
    place.run(lambda: len(place.rows) == 1)
    assert place.health.problems() == []


def test_delete_read_deletes_what_was_read_and_sets_aside_what_failed(place):
    place.maker.errors |= {b"broken": "DICOM_BROKEN", b"text": "FORMAT_UNKNOWN", b"bad": "DICOM_BROKEN"}
    for name, data in (("a.dcm", b"A"), ("b.dcm", b"broken"), ("notes.txt", b"text"), ("odd.DOE", b"bad")):
        place.put(name, data)
    place.run(lambda: len(place.rows) == 4, delete_read=True)
    left = {path.relative_to(place.folder).as_posix() for path in place.folder.rglob("*") if path.is_file()}
    assert left == {f".set-aside/{key_of(b'broken')}.dcm", f".set-aside/{key_of(b'bad')}"}
    again = place.put("again.dcm", b"A")
    place.run(lambda: not again.exists(), delete_read=True)
    assert len(place.maker.made) == 4


def test_a_film_that_never_came_has_a_row_in_table_and_ledger(place):
    place.ledger.begin("key")
    place.inbox().give_up_unseen("key", FilmError("PACS_GONE", "Said."))
    (row,) = place.rows
    assert (row["file"], row["status"], row["error_code"]) == ("key", "failed", "PACS_GONE")
    assert [each["file"] for each in place.ledger.rows()] == ["key"]
    assert place.value("ptx_inbox_films_total", status="failed") == place.value("ptx_inbox_set_aside_total") == 1


def test_a_row_that_a_kill_kept_from_the_table_is_in_the_ledger(place):
    def killed(row):
        raise OSError("no table")

    place.put("a.dcm", b"A")
    place.rows = type("Rows", (list,), {"append": lambda self, row: killed(row)})()
    with pytest.raises(SettingsError, match="start again") as raised:
        place.inbox().run(threading.Event())
    assert raised.value.code == "OUTPUT_UNWRITABLE"
    assert [row["file"] for row in place.ledger.rows()] == [key_of(b"A")]


def test_an_inbox_folder_that_vanishes_is_waited_for(place):
    place.folder.rmdir()
    place.run(lambda: "INBOX_UNREADABLE" in place.health.problems())
    place.folder.mkdir()
    place.put("a.dcm", b"A")
    place.run(lambda: len(place.rows) == 1)
    assert place.health.problems() == []


def test_each_film_is_told_to_the_audit_trail_before_it_is_read(place, tmp_path):
    trail = Trail(tmp_path / "trail", "a key that only the operator of this test has")
    place.log = Log(trail, by="ptx watch")
    place.put("a.dcm", b"A")
    place.run(lambda: len(place.rows) == 1)
    opened, written = (line.record for line in trail.lines())
    assert {(each["film"], each["by"]) for each in (opened, written)} == {(trail.film(b"A"), "ptx watch")}
    assert (opened["event"], opened["how"]) == ("film opened", "inbox")
    assert (written["event"], written["result"], written["files"]) == ("result written", "flagged", ["mask.png"])
    assert place.ledger.audit_name(key_of(b"A")) == trail.film(b"A")

    (tmp_path / "trail" / "head.json").unlink()
    place.put("b.dcm", b"B")
    with pytest.raises(AuditError):
        place.inbox().run(threading.Event())
    assert place.maker.made == [b"A"]
    assert place.ledger.status(key_of(b"B")) is None


def test_a_ledger_of_the_first_version_is_taken_over(tmp_path):
    with closing(sqlite3.connect(tmp_path / "l")) as old:
        old.executescript(f"{_STEPS[0]} PRAGMA user_version = 1;")
        old.execute('INSERT INTO films (key, place, result) VALUES (\'a\', 1, \'{"file": "a", "status": "ok"}\')')
        old.execute("INSERT INTO sending (key) VALUES ('a')")
        old.commit()
    for _ in range(2):
        with Ledger(tmp_path / "l") as ledger:
            assert (ledger.unsent(3), ledger.status("a"), ledger.audit_name("a")) == (["a"], "ok", None)
            ledger.begin("b", "name")
            assert ledger.audit_name("b") == "name"


@pytest.mark.parametrize("content", [b"no database at all, but long enough to be one" * 40, None])
def test_a_ledger_that_is_damaged_or_of_another_version_is_said_to_be(tmp_path, content):
    file = tmp_path / "inbox.sqlite"
    if content is not None:
        file.write_bytes(content)
    else:
        Ledger(file).close()
        other = sqlite3.connect(file)
        other.execute("PRAGMA user_version = 99")
        other.close()
    with pytest.raises(SettingsError) as raised:
        Ledger(file)
    assert raised.value.code == "LEDGER_UNUSABLE"


def test_the_ledger_keeps_all_over_a_restart(tmp_path):
    with Ledger(tmp_path / "l") as ledger:
        for key in ("b", "a"):
            ledger.begin(key)
            ledger.finish(key, {"file": key, "status": "ok"}, send=True)
        ledger.deal_with(b"mark")
        ledger.receive("hash", "a")
        ledger.sent("b")
        assert [ledger.refused("a") for _ in range(3)] == [1, 2, 3]
    with Ledger(tmp_path / "l") as ledger:
        assert [row["file"] for row in ledger.rows()] == ["b", "a"]
        assert (ledger.status("a"), ledger.status("c")) == ("ok", None)
        assert (ledger.dealt_with(), ledger.received("hash"), ledger.received("none")) == ({b"mark"}, "a", None)
        assert (ledger.unsent(3), ledger.unsent(4)) == ([], ["a"])
        ledger.forget_refusals()
        assert ledger.unsent(3) == ["a"]


def test_a_ledger_that_is_full_is_one_sentence_and_keeps_what_it_had(tmp_path):
    with Ledger(tmp_path / "l") as ledger:
        ledger.begin("before")
        ledger.finish("before", {"file": "before", "status": "ok"}, send=False)
        ledger._database.execute("PRAGMA max_page_count = 1")  # SQLite takes the number of pages in use
        with pytest.raises(SettingsError) as raised:
            ledger.receive("hash", "k" * 100_000)
        assert raised.value.code == "LEDGER_UNWRITABLE"
        assert ledger.received("hash") is None
        assert [row["file"] for row in ledger.rows()] == ["before"]


def test_a_file_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    write_atomically(tmp_path / "a", b"first")
    (tmp_path / ".ptx-left.part").write_bytes(b"of a kill")

    def broken(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(OSError, match="No space"):
        write_atomically(tmp_path / "a", b"second")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {
        "a": b"first",
        ".ptx-left.part": b"of a kill",
    }
    delete_parts(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_the_same_film_that_arrives_twice_at_once_is_whole(tmp_path, monkeypatch):
    both, genuine, errors = threading.Barrier(2, timeout=5), os.fsync, []

    def together(descriptor: int) -> None:
        if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            both.wait()  # both have written, neither has renamed
        genuine(descriptor)

    def write(content: bytes) -> None:
        try:
            write_atomically(tmp_path / "a", content)
        except OSError as error:
            errors.append(error)

    monkeypatch.setattr(os, "fsync", together)
    contents = [b"first" * 1000, b"second" * 1000]
    threads = [threading.Thread(target=write, args=(content,)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert (tmp_path / "a").read_bytes() in contents
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_free_space_is_that_of_the_fullest_disk_and_none_where_a_folder_is_gone(tmp_path):
    assert Space((tmp_path,), 1).enough()
    assert not Space((tmp_path,), 1 << 62).enough()
    assert Space((tmp_path, tmp_path / "gone"), 1).free_bytes() == 0


def test_films_that_hang_are_seen_and_an_idle_inbox_is_well(place):
    now, seen = [0.0], []
    place.health = Health(lambda: now[0])
    place.maker.go.clear()
    place.put("a.dcm", b"hangs")

    def hung_and_let_go() -> bool:
        if place.maker.entered.is_set() and not seen:
            now[0] = 301.0
            rounds = time.monotonic() + 0.2
            until(lambda: time.monotonic() > rounds, 60, every=0.01)
            seen.append(place.health.problems())
            place.maker.go.set()
        return len(place.rows) == 1

    place.run(hung_and_let_go)
    assert seen == [["STALLED"]]
    now[0] = 1000.0
    place.run(lambda: place.health.problems() == [])


@pytest.mark.parametrize("kinds", [("seg", "sr"), ("film", "seg", "sr")])
def test_an_archive_gets_no_results_that_belong_to_no_study(place, kinds, monkeypatch, caplog):
    made = replace(OK, outputs={DICOM[kind]: b"object" for kind in kinds})
    monkeypatch.setattr(place.maker, "make", lambda *_, **__: made)
    place.put("a", b"film")
    place.run(lambda: len(place.rows) == 1, send=True, identified_only=True)
    assert bool(place.ledger.unsent(3)) == ("film" not in kinds)
    assert ("not stored" in caplog.text) == ("film" in kinds)
    place.put("b", b"another")
    place.run(lambda: len(place.rows) == 2, send=True)
    assert len(place.ledger.unsent(3)) == 1 + ("film" not in kinds)


def test_metrics_and_health_over_http():
    now = [0.0]
    metrics, health = Metrics(), Health(lambda: now[0])
    metrics.films.labels("ok").inc()
    with served(0, metrics, health) as port:

        def get(path: str) -> tuple[int, str]:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
                    return answer.status, answer.read().decode()
            except urllib.error.HTTPError as error:
                return error.code, error.read().decode()

        status, said = get("/metrics")
        assert status == 200
        assert 'ptx_inbox_films_total{status="ok"} 1.0' in said
        assert 'ptx_inbox_films_total{status="failed"} 0.0' in said
        assert get("/health") == (200, '{"status": "ok", "problems": []}')
        assert health.tell("DISK_FULL", True)
        assert not health.tell("DISK_FULL", True)
        now[0] = 300.0
        assert json.loads(get("/health")[1]) == {"status": "failing", "problems": ["DISK_FULL"]}
        now[0] = 300.1
        assert get("/health") == (503, '{"status": "failing", "problems": ["DISK_FULL", "STALLED"]}')
        health.beat()
        health.tell("DISK_FULL", False)
        assert get("/health")[0] == 200
        assert get("/other")[0] == 404
        with pytest.raises(SettingsError) as raised, served(port, metrics, health):
            pass
        assert raised.value.code == "PORT_TAKEN"

"""ptx watch with an archive as source and as target: a real Orthanc, and an archive that misbehaves."""

import hashlib
import os
import signal
import threading
from dataclasses import replace
from datetime import date

import pytest

from ptx_app.errors import PtxError
from ptx_app.hospital.dicomweb import Instance, Pacs, Series, Study, Worklist
from ptx_app.hospital.dicomweb_http import error_of
from ptx_app.hospital.dicomweb_inbox import ArchiveSource, store_files
from ptx_app.hospital.inbox_files import Space
from ptx_app.hospital.inbox_ledger import Ledger
from ptx_app.hospital.inbox_metrics import Health, Metrics
from ptx_app.hospital.instances import Instances
from ptx_app.hospital.pacs_settings import PacsSettings
from ptx_app.hospital.storage_scu import RefusedError, UnreachableError
from tests.hospital.test_dicomweb import FILM, PATIENT, STUDY, film, uid_of
from tests.support.marked_films import MARK
from tests.support.orthanc import ORTHANC, PASSWORD, USER, dumped
from tests.support.serving import until
from tests.support.watching import PATIENCE, rows_in, watching

TODAY = date.today().strftime("%Y%m%d")
OPTIONS = ("--dicomweb", "--dicomweb-seconds", "0.2")


@pytest.fixture
def folders(tmp_path):
    (tmp_path / "in").mkdir()
    return tmp_path / "in", tmp_path / "out"


@pytest.mark.thorough
@ORTHANC
def test_new_films_are_read_once_even_after_a_kill_and_results_are_stored(orthanc, folders, monkeypatch):
    folder, output = folders
    for name, value in {"ADDRESS": orthanc.address, "USER": USER, "PASSWORD": PASSWORD, "STORE": "true"}.items():
        monkeypatch.setenv(f"PTX_PACS_{name}", value)
    first, second, third = (film(StudyDate=TODAY) for _ in range(3))
    old = film(StudyDate="20200101", StudyInstanceUID="1.2.3", SeriesInstanceUID="1.2.3.1")
    orthanc.put(first, old)
    more = ("--delete-read", "--dicom", "--identified", "--store-to", "dicomweb")
    with watching(folder, output, *OPTIONS, *more) as watch:
        watch.wait_for_rows(1)
        orthanc.put(second)
        watch.wait_for_rows(2)
        log = watch.log
        watch.end(signal.SIGKILL)
    orthanc.put(third)
    with watching(folder, output, *OPTIONS, *more) as watch:
        watch.wait_for_rows(3)
        until(lambda: len(orthanc.objects(STUDY)) == 9, PATIENCE)  # three films, a segmentation and a report of each
        until(lambda: not [path for path in folder.iterdir() if path.suffix == ".dcm"], PATIENCE)
        assert watch.end() == 0
        log += watch.log
    rows = rows_in(output)
    assert [row["status"] for row in rows] == ["ok"] * 3
    assert len({row["file"] for row in rows}) == 3
    stored = [dumped(each) for each in orthanc.objects(STUDY)]
    assert sum("CS [SEG]" in each for each in stored) == sum("CS [SR]" in each for each in stored) == 3
    assert all(f"[{PATIENT['PatientID']}]" in each for each in stored)
    assert len(orthanc.objects("1.2.3")) == 1
    names = "".join(os.fspath(path.relative_to(output)) for path in output.iterdir())
    for private in (MARK.decode(), STUDY, uid_of(first)):
        assert private not in log + names


class Fake:
    """An archive of one study with some films; `fetch` fails as it is told."""

    def __init__(self, *uids: str) -> None:
        self.films_of = dict.fromkeys(uids, FILM)
        self.errors: dict[str, list[str]] = {}
        self.asked: list[str] = []
        self.looks, self.cut = 0, False

    def worklist(self, _filters, _most) -> Worklist:
        series = Series("1.3", "CR", len(self.films_of))
        return Worklist((Study("1.2", "2026-11-20", "10:00", "", "", (series,)),), cut=self.cut)

    def films(self, _study, _series) -> list[Instance]:
        self.looks += 1
        return [Instance("1.2", "1.3", uid) for uid in self.films_of]

    def fetch(self, film: Instance) -> bytes:
        self.asked.append(film.uid)
        if self.errors.get(film.uid):
            raise error_of(self.errors[film.uid].pop(0))
        return self.films_of[film.uid] + film.uid.encode()


def source_of(pacs: Fake, instances: Instances) -> ArchiveSource:
    """A source whose inbox only notes what could not be fetched."""

    def give_up(key: str, error: PtxError) -> None:
        instances.ledger.finish(key, {"file": key, "status": "failed", "error_code": error.code}, send=False)

    return ArchiveSource(pacs, instances, Space((instances.folder,), 0), Metrics(), Health(), give_up)


@pytest.fixture
def source(tmp_path):
    (tmp_path / "in").mkdir()
    with Ledger(tmp_path / "ledger") as ledger:
        instances = Instances(tmp_path / "in", ledger)
        yield source_of(Fake("1", "2", "3"), instances)


def name_of(uid: str) -> str:
    return hashlib.sha256(uid.encode()).hexdigest()[:32]


def rounds(source: ArchiveSource, number: int) -> list[str | None]:
    return [source._problem_of_round(threading.Event()) for _ in range(number)]


def files(source: ArchiveSource) -> int:
    return len(list(source.instances.folder.iterdir()))


def test_a_complete_series_is_not_looked_into_again_until_it_grows(source):
    assert rounds(source, 3) == [None] * 3
    assert (files(source), source.pacs.asked, source.pacs.looks) == (3, ["1", "2", "3"], 1)
    source.pacs.films_of["4"] = FILM
    rounds(source, 2)
    assert (files(source), source.pacs.asked[3:], source.pacs.looks) == (4, ["4"], 2)


def test_a_search_that_does_not_return_all_is_a_problem_after_what_it_returned_is_read(source):
    source.pacs.cut = True
    (said,) = rounds(source, 1)
    assert said.startswith("ARCHIVE_CUT: ")
    assert files(source) == 3
    source.pacs.cut = False
    assert rounds(source, 1) == [None]


def test_a_film_that_cannot_be_fetched_is_tried_three_times_and_keeps_no_other_back(source):
    source.pacs.errors = {"1": ["PACS_NOT_DICOM"] * 9, "2": ["PACS_CUT"]}
    assert rounds(source, 5) == [None] * 5
    assert files(source) == 2
    assert (source.pacs.asked.count("1"), source.pacs.asked.count("2"), source.pacs.asked.count("3")) == (3, 2, 1)
    (row,) = source.instances.ledger.rows()
    assert row == {"file": name_of("1"), "status": "failed", "error_code": "PACS_NOT_DICOM"}


def test_tries_to_fetch_a_film_are_counted_over_restarts(source):
    source.pacs.errors = {"1": ["PACS_NOT_DICOM"] * 9}
    for tries in (1, 2, 3, 3):  # the last start does not try it again
        rounds(source_of(source.pacs, source.instances), 1)
        assert source.pacs.asked.count("1") == tries
    assert [row["file"] for row in source.instances.ledger.rows()] == [name_of("1")]


def test_a_kill_before_the_row_of_a_film_that_was_not_fetched_costs_one_more_try(source):
    for _ in range(3):
        source.instances.fail("1")
    source.pacs.errors = {"1": ["PACS_GONE"]}
    rounds(source, 2)
    assert source.pacs.asked.count("1") == 1
    assert [row["error_code"] for row in source.instances.ledger.rows()] == ["PACS_GONE"]


@pytest.mark.parametrize("code", ["PACS_FAILED", "PACS_TIMEOUT"])
def test_a_film_on_which_the_archive_fails_keeps_no_other_back_and_is_never_given_up(source, code):
    source.pacs.errors = {"1": [code] * 5}
    *failing, well = rounds(source, 6)
    assert all(said and said.startswith(f"{code}: ") for said in failing)
    assert well is None
    assert source.pacs.asked == ["1", "2", "3", "1", "1", "1", "1", "1"]
    assert files(source) == 3


def test_an_archive_that_cannot_be_reached_is_asked_again(source):
    source.pacs.errors = {"2": ["PACS_UNREACHABLE"]}
    said, after = rounds(source, 2)
    assert said is not None
    assert said.startswith("PACS_UNREACHABLE: ")
    assert after is None
    assert files(source) == 3
    assert source.pacs.asked == ["1", "2", "2", "3"]


def test_nothing_is_fetched_while_the_disk_is_full(source):
    full = replace(source, space=Space((source.instances.folder,), 1 << 60))
    assert rounds(full, 1) == [None]
    assert files(source) == 0
    assert rounds(source, 1) == [None]
    assert files(source) == 3


def test_health_tells_while_the_archive_cannot_be_read(source):
    def worklist(*_: object) -> Worklist:
        stop.set()
        raise error_of("PACS_NOT_ALLOWED")

    stop, source.pacs.worklist = threading.Event(), worklist
    source.run(stop)
    assert source.health.problems() == ["ARCHIVE_UNREADABLE"]


@pytest.mark.parametrize(
    ("code", "raised", "told"),
    [
        ("PACS_REFUSED", RefusedError, "PEER_REFUSED"),
        ("PACS_GONE", RefusedError, "PEER_REFUSED"),
        ("PACS_FULL", UnreachableError, "PEER_FULL"),
        ("PACS_NOT_ALLOWED", UnreachableError, "PEER_REJECTS"),
        ("PACS_FAILED", UnreachableError, "PEER_FAILS"),
        ("PACS_TIMEOUT", UnreachableError, "PEER_UNREACHABLE"),
    ],
)
def test_what_is_not_stored_is_kept_or_counted_as_refused(tmp_path, monkeypatch, code, raised, told):
    from ptx_app.hospital.dicomweb import Stored

    (tmp_path / "seg.dcm").write_bytes(FILM)
    pacs = Pacs(PacsSettings(address="http://127.0.0.1:9", store=True))
    studies: list[str] = []
    monkeypatch.setattr(pacs, "store", lambda _, study: studies.append(study) or Stored(code, "No."))
    with pytest.raises(raised) as error:
        store_files([tmp_path / "seg.dcm"], pacs)
    assert error.value.code == told
    assert studies == [STUDY]

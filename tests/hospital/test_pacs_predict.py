"""ptx predict on the films of an archive: a real Orthanc, alone and over a Dask cluster on 127.0.0.1."""

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from distributed import Client, LocalCluster

from ptx_app.__main__ import main
from ptx_app.audit import Trail
from ptx_app.cluster import FilmWorker
from ptx_app.errors import FilmError, SettingsError
from ptx_app.hospital.dicomweb import Instance, Pacs
from ptx_app.hospital.dicomweb_http import PacsError, error_of
from ptx_app.hospital.pacs_settings import PacsSettings
from tests.hospital.test_dicomweb import MARK, PATIENT, SERIES, STUDY, WHEN, WHERE, uid_of
from tests.support.orthanc import ORTHANC, PASSWORD, USER, Orthanc
from tests.support.serving import until
from tests.support.watching import PATIENCE, rows_in
from tests.test_cluster import blended, contents, told, worker_ids

OTHER = {"StudyInstanceUID": "1.2.50", "SeriesInstanceUID": "1.2.50.1", "StudyDate": "20260101"}
TAGS = PATIENT | WHERE | WHEN
GONE = Instance(STUDY, SERIES, "1.2.3.4.5")


@pytest.fixture(scope="module")
def films(archive) -> list[bytes]:
    """What is in the archive: nine films of a study, one of them broken, and an older study."""
    films = [*(blended(number / 7, **TAGS) for number in range(8)), blended(0, **TAGS, Rows=1000)]
    archive.put(*films, blended(1, **TAGS | OTHER))
    return films


@pytest.fixture(scope="module")
def cluster(archive) -> Iterator[LocalCluster]:
    """Two worker processes, which have settings of their own for the archive."""
    own = {"PTX_PACS_ADDRESS": archive.address, "PTX_PACS_USER": USER, "PTX_PACS_PASSWORD": PASSWORD}
    with LocalCluster(
        n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0", env=own
    ) as cluster:
        yield cluster


@pytest.fixture
def here(archive: Orthanc, tmp_path, monkeypatch) -> None:
    """This machine knows the archive under another name than the workers."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PTX_PACS_ADDRESS", archive.address.replace("127.0.0.1", "localhost"))
    monkeypatch.setenv("PTX_PACS_USER", USER)
    monkeypatch.setenv("PTX_PACS_PASSWORD", PASSWORD)


def set_on_workers(cluster: LocalCluster, **values: str) -> None:
    def set_here() -> None:
        for name in ("ADDRESS", "USER", "PASSWORD"):
            os.environ[f"PTX_PACS_{name}"] = values.get(name, "")

    set_here.__module__ = "__main__"  # so that it travels by value
    with Client(cluster.scheduler_address, set_as_default=False) as client:
        client.run(set_here)


def predict(output: str, *options: str) -> int:
    return main(["predict", "--dicomweb", "--since", "2026-11-01", "--output", output, "--json", *options])


@pytest.mark.thorough
@ORTHANC
def test_an_archives_films_give_the_table_of_a_fetched_folder_alone_and_while_a_worker_is_killed(
    here, films, cluster, monkeypatch, capfd
):
    listed = Pacs.films
    monkeypatch.setattr(Pacs, "films", lambda self, *where: [GONE, *listed(self, *where)])
    assert main(["pacs", "fetch", "--since", "2026-11-01", "--output", "films"]) == 1
    assert main(["predict", "films", "--output", "folder", "--json"]) == 1  # one is broken
    assert predict("alone") == 1
    before, done = worker_ids(cluster), []

    def kill_one() -> None:
        until(lambda: len(rows_in(Path("spread"))) >= 2, PATIENCE)
        os.kill(before[0], signal.SIGKILL)
        done.extend(rows_in(Path("spread")))

    killer = threading.Thread(target=kill_one)
    killer.start()
    assert predict("spread", "--scheduler", cluster.scheduler_address) == 1
    killer.join()
    assert len(done) < len(films)
    assert told(rows_in(Path("spread"))) == told(rows_in(Path("alone")))
    rows = told(rows_in(Path("spread")))
    assert [row["status"] for row in rows if row["error_code"] == "PACS_GONE"] == ["failed"]
    others = [row for row in rows if row["error_code"] != "PACS_GONE"]
    assert sorted(row["status"] for row in others) == ["failed", *["ok"] * 8]
    assert others == [{**row, "file": Path(row["file"]).name} for row in told(rows_in(Path("folder")))]
    assert contents("spread") == contents("alone")
    assert contents("alone") == {name: data.replace(b'"films/', b'"') for name, data in contents("folder").items()}
    until(lambda: before[0] not in worker_ids(cluster) and len(worker_ids(cluster)) == 2, PATIENCE)

    with Client(cluster.scheduler_address, set_as_default=False) as client:
        said = str(client.get_worker_logs()) + str(client.get_scheduler_logs())
    said += "".join(capfd.readouterr()) + Path("spread/results.csv").read_text() + "".join(contents("spread"))
    assert "ptx-" in said  # the plugin
    for private in (MARK.decode(), PASSWORD, STUDY, GONE.uid, *map(uid_of, films)):
        assert private not in said

    assert predict("spread", "--resume") == 1
    assert capfd.readouterr().out.startswith("10 files, 9 of them in the earlier run: 8 analysed")


@pytest.mark.thorough
@ORTHANC
def test_a_worker_that_gets_no_film_ends_the_run_with_one_sentence_and_resume_finishes_it(here, films, cluster, capsys):
    good = {"ADDRESS": os.environ["PTX_PACS_ADDRESS"], "USER": USER, "PASSWORD": PASSWORD}
    for code, values in ("PACS_NOT_SET", {}), ("PACS_NOT_ALLOWED", good | {"PASSWORD": "wrong"}):
        set_on_workers(cluster, **values)
        assert predict("out", "--overwrite", "--scheduler", cluster.scheduler_address) == 1
        said = capsys.readouterr().err.splitlines()[-1]
        assert said.startswith(f"{code}: On worker tcp://127.0.0.1:")
    with Client(cluster.scheduler_address, set_as_default=False) as client:
        logs = str(client.get_worker_logs())
    assert "ptx-" in logs  # the plugin
    assert "Compute Failed" not in logs  # with which Dask may name UIDs
    assert "Unexpected" not in logs
    set_on_workers(cluster, **good)
    assert predict("out", "--resume", "--scheduler", cluster.scheduler_address) == 1
    assert capsys.readouterr().out.startswith("9 files: 8 analysed")


@pytest.mark.parametrize(
    ("code", "kind"), [("PACS_GONE", FilmError), ("PACS_BUSY", FilmError), ("PACS_UNREACHABLE", PacsError)]
)
def test_what_is_wrong_with_one_film_is_told_from_what_is_wrong_with_all(monkeypatch, code, kind):
    def fail(*_: object) -> bytes:
        raise error_of(code)

    pacs = Pacs(PacsSettings(address="http://127.0.0.1:9"))
    monkeypatch.setattr(pacs, "fetch", fail)
    with pytest.raises(kind) as raised:
        pacs.bytes_of(GONE)
    assert raised.value.code == code


def test_a_worker_tells_its_own_audit_trail_of_each_film_that_it_fetches(tmp_path, monkeypatch):
    key = "a key that only the operator of this test has"
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("PTX_PACS_ADDRESS", "http://127.0.0.1:9")
    monkeypatch.setenv("PTX_AUDIT_KEY", key)
    monkeypatch.setattr(Pacs, "fetch", lambda *_: b"film")
    worker, trail = FilmWorker(None, archive=True), Trail(tmp_path / "trail", key)
    for folder, untold in (("trail", False), ("file/trail", True)):
        monkeypatch.setenv("PTX_AUDIT_FOLDER", str(tmp_path / folder))
        worker._pacs = worker._opened()
        if untold:
            with pytest.raises(SettingsError, match="On worker") as raised:
                worker._fetched(GONE)
            assert raised.value.code == "AUDIT_UNWRITABLE"
        else:
            assert worker._fetched(GONE) == (b"film", trail.film(b"film"))
    (line,) = trail.lines()
    assert (line.record["event"], line.record["film"]) == ("film opened", trail.film(b"film"))


@ORTHANC
def test_what_is_wrong_here_is_one_sentence(here, films, monkeypatch, capsys):
    def said(*words: str) -> str:
        assert main(["predict", *words, "--output", "out"]) == 1
        assert not list(Path().glob("out/*"))
        return capsys.readouterr().err.splitlines()[-1].partition(":")[0]

    assert said("--dicomweb", "--accession", "nothing") == "NO_FILMS"
    assert said("--dicomweb", "--patient-id", "1") == "PACS_PATIENT_ID"
    assert said("films", "--limit", "3") == "FILTERS_ALONE"
    for words in ([], ["films", "--dicomweb"]):
        with pytest.raises(SystemExit):
            main(["predict", *words, "--output", "out"])
    monkeypatch.setenv("PTX_PACS_PASSWORD", "wrong")
    assert said("--dicomweb") == "PACS_NOT_ALLOWED"
    monkeypatch.setenv("PTX_PACS_ADDRESS", "http://127.0.0.1:9")
    assert said("--dicomweb") == "PACS_UNREACHABLE"
    for name in ("ADDRESS", "USER", "PASSWORD"):
        monkeypatch.delenv(f"PTX_PACS_{name}")
    assert said("--dicomweb") == "PACS_NOT_SET"

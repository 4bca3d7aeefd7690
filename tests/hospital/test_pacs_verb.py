"""ptx pacs against a real Orthanc."""

import csv
import os

import pytest

from ptx_app.__main__ import main
from ptx_app.audit import Trail
from ptx_app.hospital.dicomweb import Pacs, Stored
from tests.hospital.test_dicomweb import PATIENT, STUDY, film, uid_of
from tests.support.marked_films import MARK
from tests.support.orthanc import ORTHANC, PASSWORD, USER, dumped


@pytest.fixture
def set_up(orthanc, monkeypatch):
    monkeypatch.setenv("PTX_PACS_ADDRESS", orthanc.address)
    monkeypatch.setenv("PTX_PACS_USER", USER)
    monkeypatch.setenv("PTX_PACS_PASSWORD", PASSWORD)
    return orthanc


@ORTHANC
def test_list_shows_what_the_operator_allows(set_up, monkeypatch, capsys):
    set_up.put(film(), film())
    assert main(["pacs", "list", "--since", "2026-11-01", "--until", "2026-11-30"]) == 0
    heads, row = capsys.readouterr().out.splitlines()
    assert dict(zip(heads.split("\t"), row.split("\t"), strict=True)) == {
        "date": "2026-11-20", "time": "10:15", "accession_number": "A1", "uid": STUDY, "modalities": "CR", "films": "2",
    }  # fmt: skip
    assert main(["pacs", "list", "--patient-id", PATIENT["PatientID"]]) == 1
    assert capsys.readouterr().err.startswith("PACS_PATIENT_ID: ")
    monkeypatch.setenv("PTX_PACS_PATIENT_ID", "yes")
    assert main(["pacs", "list", "--patient-id", PATIENT["PatientID"]]) == 0
    assert f"\t{PATIENT['PatientID']}\t" in capsys.readouterr().out
    assert main(["pacs", "list", "--accession", "B"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1


@ORTHANC
def test_read_writes_results_without_the_patient_and_stores_when_told(set_up, monkeypatch, tmp_path, capsys):
    mine = film()
    set_up.put(mine)
    assert main(["pacs", "read", STUDY, "--output", str(tmp_path / "a"), "--store"]) == 1
    assert capsys.readouterr().err.startswith("PACS_STORE_OFF: ")
    monkeypatch.setenv("PTX_PACS_STORE", "yes")
    assert main(["pacs", "read", STUDY, "--output", str(tmp_path / "a"), "--store", "--dicom"]) == 1
    assert capsys.readouterr().err.startswith("STORE_DEIDENTIFIED: ")
    assert main(["pacs", "read", STUDY, "--output", str(tmp_path / "a"), "--store", "--all"]) == 1
    assert capsys.readouterr().err.startswith("STORE_OVERRULED: ")
    assert not (tmp_path / "a").exists()

    assert main(["pacs", "read", STUDY, "--output", str(tmp_path / "a"), "--store"]) == 0
    said = capsys.readouterr().out
    assert said.count(": Stored.") == 4
    (row,) = csv.DictReader((tmp_path / "a" / "results.csv").read_text().splitlines())
    assert row["status"] == "ok"
    written = b"".join(path.read_bytes() + os.fsencode(path.name) for path in (tmp_path / "a").iterdir())
    for private in (MARK, STUDY.encode(), uid_of(mine).encode()):
        assert private not in written
    assert MARK.decode() not in said
    stored = [dumped(each) for each in set_up.objects(STUDY)]
    assert len(stored) == 5
    assert all(f"[{PATIENT['PatientName']}]" in each for each in stored)
    assert sum(uid_of(mine) in each for each in stored) >= 4  # the film, and what refers to it

    # What was stored is not read as a film.
    assert main(["pacs", "read", STUDY, "--output", str(tmp_path / "b")]) == 0
    assert len((tmp_path / "b" / "results.csv").read_text().splitlines()) == 2
    assert len(set_up.objects(STUDY)) == 5


@ORTHANC
def test_films_that_fit_are_fetched_once_for_predict(set_up, tmp_path, capsys):
    other = {"StudyInstanceUID": "1.2.50", "SeriesInstanceUID": "1.2.50.1", "StudyDate": "20260101"}
    set_up.put(film(), film(), film(**other))
    films = tmp_path / "films"
    assert main(["pacs", "fetch", "--since", "2026-11-01", "--output", str(films)]) == 0
    assert capsys.readouterr().out == "2 fetched\n"
    assert main(["pacs", "fetch", "--output", str(films)]) == 0
    assert capsys.readouterr().out in ("2 already there, 1 fetched\n", "1 fetched, 2 already there\n")
    assert MARK.decode() not in " ".join(path.name for path in films.iterdir())
    assert main(["predict", str(films), "--output", str(tmp_path / "results")]) == 0
    assert capsys.readouterr().out.startswith("3 files: 3 analysed")
    assert main(["pacs", "fetch", "--accession", "nothing", "--output", str(films)]) == 0
    assert capsys.readouterr().out == "No film.\n"


@ORTHANC
def test_the_audit_trail_has_what_is_searched_downloaded_read_and_stored(set_up, monkeypatch, tmp_path, capsys):
    key, mine = "a key that only the operator of this test has", film()
    trail = Trail(tmp_path / "trail", key)
    for name, value in {"AUDIT_FOLDER": str(tmp_path / "trail"), "AUDIT_KEY": key, "PACS_STORE": "yes"}.items():
        monkeypatch.setenv(f"PTX_{name}", value)
    set_up.put(mine)
    answers = iter(["OK", "WARNING", "PACS_FULL", "OK"])
    monkeypatch.setattr(Pacs, "store", lambda *_: Stored(next(answers), "Said."))
    output = ["--output", str(tmp_path / "films")]
    assert main(["pacs", "fetch", *output]) == 0
    assert main(["predict", "--dicomweb", "--output", str(tmp_path / "a")]) == 0
    assert main(["pacs", "read", STUDY, "--output", str(tmp_path / "b"), "--store"]) == 1
    assert trail.verify().faults == ()
    lines = [line.record for line in trail.lines()]
    assert [(line["by"], line["event"]) for line in lines] == [
        ("ptx pacs fetch", "archive searched"),
        ("ptx pacs fetch", "file downloaded"),
        ("ptx predict", "archive searched"),
        ("ptx predict", "film opened"),
        ("ptx predict", "result written"),
        ("ptx pacs read", "film opened"),
        ("ptx pacs read", "result written"),
        ("ptx pacs read", "storing begun"),
        ("ptx pacs read", "storing ended"),
    ]
    assert {line["film"] for line in lines if line["event"] != "archive searched"} == {trail.film(mine)}
    assert [line["files"] for line in lines if line["event"] == "result written"] == [
        ["mask.png", "overlay.png"],
        ["mask.png", "overlay.png", "result.json"],
    ]
    assert lines[-1]["objects"] == {"seg": "OK", "sc": "WARNING", "gsps": "PACS_FULL", "sr": "OK"}

    # What cannot be recorded is not done.
    (tmp_path / "trail" / "head.json").unlink()
    (written,) = (tmp_path / "films").iterdir()
    written.unlink()
    capsys.readouterr()
    for words in (["fetch", *output], ["list"], ["read", STUDY, "--output", str(tmp_path / "c")]):
        assert main(["pacs", *words]) == 1
        said = capsys.readouterr()
        assert "AUDIT_BROKEN: " in said.err
        assert said.out == ""
    assert list((tmp_path / "films").iterdir()) == []


@ORTHANC
def test_errors_are_one_sentence_and_a_bad_film_is_a_row(set_up, monkeypatch, tmp_path, capsys):
    assert main(["pacs", "read", STUDY, "--output", str(tmp_path / "a")]) == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith("PACS_GONE: ")
    assert main(["pacs", "read", "../x", "--output", str(tmp_path / "a")]) == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith("STUDY_UID_INVALID: ")
    set_up.put(film(), film(Rows=1000))
    assert main(["pacs", "read", STUDY, "--output", str(tmp_path / "a")]) == 1
    rows = list(csv.DictReader((tmp_path / "a" / "results.csv").read_text().splitlines()))
    assert sorted(row["status"] for row in rows) == ["failed", "ok"]
    assert main(["pacs", "read", STUDY, "--output", str(tmp_path / "a")]) == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith("OUTPUT_IN_USE: ")
    monkeypatch.setenv("PTX_PACS_PASSWORD", "wrong")
    assert main(["pacs", "list"]) == 1
    assert capsys.readouterr().err.startswith("PACS_NOT_ALLOWED: ")
    for name in ("ADDRESS", "USER", "PASSWORD"):
        monkeypatch.delenv(f"PTX_PACS_{name}")
    assert main(["pacs", "list"]) == 1
    assert capsys.readouterr().err.startswith("PACS_NOT_SET: ")

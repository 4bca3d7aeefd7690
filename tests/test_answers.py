"""The page's "Your reading": its buttons, what is kept, shown, exported and saved."""

import csv
import io
import json
import zipfile

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from ptx_app.data.index import MaskKind, read_index
from ptx_app.inference.decide import Thresholds
from ptx_app.model.manifest import ROOT, load_manifest
from ptx_app.output.feedback import Answer, PackedMask
from ptx_app.output.setting import Setting
from ptx_app.ui import answers
from ptx_app.ui.all_results import all_results
from ptx_app.ui.answers import keep_contour, training_offer
from ptx_app.ui.film_list import entry
from tests.support.films import ct_slice, real_dicom
from tests.test_page import drop, read, visit, words_of


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("PTX_FEEDBACK_DIR", str(tmp_path / "answers"))
    return tmp_path / "answers"


@pytest.fixture
def page() -> AppTest:
    return AppTest.from_file(str(ROOT / "app.py"), default_timeout=60)


@pytest.fixture
def example(page) -> AppTest:
    page.query_params["example"] = "pneumothorax"
    return read(page.run())


def setting() -> Setting:
    weights = load_manifest().entry()
    point = weights.operating_point()
    return Setting.of(weights, point, Thresholds.of(point), "made, cpu")


def exported(page) -> tuple[dict[str, bytes], list[dict[str, str]]]:
    with zipfile.ZipFile(io.BytesIO(all_results(visit(page).cases, setting(), named=False))) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    return files, list(csv.DictReader(io.StringIO(files["results.csv"].decode(), newline="")))


def trained(page, tmp_path):
    (offer,) = training_offer(visit(page))
    with zipfile.ZipFile(io.BytesIO(offer.make())) as archive:
        archive.extractall(tmp_path / "zip")
    return read_index(tmp_path / "zip")


def draw(page, mask: np.ndarray) -> AppTest:
    """As the browser sends it. The test harness has no viewer, so that its answer comes from outside of a run."""
    film = visit(page).current.film
    keep_contour(visit(page), film.shown_as, PackedMask.of(mask).text())
    return page.run()


def test_agreeing_is_said_listed_exported_and_taken_back(example, tmp_path):
    assert training_offer(visit(example)) == []
    example.button(key="agree-1").click().run()
    assert "You agree: a pneumothorax, outlined like this." in words_of(example)
    assert example.button(key="agree-1").proto.type == "primary"
    threshold = setting().thresholds.score
    example.slider(key="score_threshold").set_value(round(threshold - 0.1, 3)).run()
    at = f"You said so at score threshold {threshold:.3f} and mask threshold"
    assert f"outlined as it was then. {at}" in words_of(example)
    assert example.button(key="agree-1").proto.type == "primary"
    example.slider(key="score_threshold").set_value(1.0).run()
    assert f"You said a pneumothorax, at score threshold {threshold:.3f}." in words_of(example)
    assert example.button(key="agree-1").proto.type == "secondary", "of this verdict the reader has said nothing"
    example.button(key="back").click().run()
    case = visit(example).current
    assert entry(case, setting().thresholds, chosen=True).reading == "agree"
    files, (row,) = exported(example)
    assert (row["reading"], row["reading_pneumothorax"]) == ("agree", "1")
    record = json.loads(files["001_result.json"])
    assert record["reading"]["answer"] == "agree"
    assert record["reading"]["operating_point"] == "balanced"
    (film,) = trained(example, tmp_path)
    assert (film.positive, film.mask_kind) == (True, MaskKind.READER_AGREED)
    example.button(key="withdraw-1").click().run()
    assert "You agree" not in words_of(example)
    assert training_offer(visit(example)) == []
    files, (row,) = exported(example)
    assert row["reading"] == ""
    assert "reading" not in json.loads(files["001_result.json"])


def test_disagreeing_turns_the_verdict_that_was_on_the_screen(example, tmp_path):
    example.button(key="disagree-1").click().run()
    assert "You disagree: no pneumothorax." in words_of(example)
    example.slider(key="score_threshold").set_value(1.0).run()
    assert "You said no pneumothorax, at score threshold" in words_of(example), "a threshold moved the reader's answer"
    assert not trained(example, tmp_path)[0].positive
    example.button(key="disagree-1").click().run()
    assert "You disagree: a pneumothorax." in words_of(example)
    (film,) = trained(example, tmp_path)
    assert (film.positive, film.mask_kind, film.mask) == (True, MaskKind.READER_LABEL, None)
    assert visit(example).current.reading.setting.operating_point == "own"


def test_to_adjust_the_contour_asks_the_viewer_once_for_each_click(example, monkeypatch):
    wishes = []
    monkeypatch.setattr("ptx_app.ui.page.viewer", lambda *_, draw, **__: wishes.append(draw))
    example.run()
    example.button(key="draw-1").click().run()
    example.run()
    example.button(key="draw-1").click().run()
    assert wishes[0] == ""
    assert wishes[1] == wishes[2] != ""
    assert wishes[3] not in wishes[:3]


def test_a_contour_is_kept_and_goes_into_every_export(example, tmp_path):
    mask = np.zeros(visit(example).current.film.shape, bool)
    mask[100:140, 30:71] = True
    draw(example, mask)
    assert "Your contour: right side of the patient (left of the picture), " in words_of(example)
    assert np.array_equal(visit(example).current.reading.mask.mask(), mask)
    files, (row,) = exported(example)
    assert (row["reading"], row["reading_pneumothorax"]) == ("contour", "1")
    assert "001_reading.png" in files
    (film,) = trained(example, tmp_path)
    assert film.mask_kind is MaskKind.READER
    draw(example, np.zeros_like(mask))
    assert "Your contour is empty: no pneumothorax." in words_of(example)
    assert not visit(example).current.reading.positive


def test_a_contour_that_is_none_changes_nothing_and_is_said(example):
    example.button(key="agree-1").click().run()
    film = visit(example).current.film
    for sent in (None, "x", PackedMask.of(np.ones((3, 3), bool)).text()):
        keep_contour(visit(example), film.shown_as, sent)
        assert "CONTOUR_INVALID" in words_of(example.run())
        assert visit(example).current.reading.answer is Answer.AGREE
    keep_contour(visit(example), "another film", PackedMask.of(np.ones(film.shape, bool)).text())
    assert visit(example).current.reading.answer is Answer.AGREE
    example.button(key="agree-1").click().run()
    assert "CONTOUR_INVALID" not in words_of(example)


def test_contours_that_are_noise_do_not_fill_the_memory(example, monkeypatch):
    monkeypatch.setattr(answers, "MOST_MASK_BYTES", 10_000)
    mask = np.zeros(visit(example).current.film.shape, bool)
    mask[100:140, 30:71] = True
    draw(example, mask)
    draw(example, np.random.default_rng(1).random(mask.shape) < 0.5)
    assert "CONTOURS_FULL" in words_of(example)
    assert np.array_equal(visit(example).current.reading.mask.mask(), mask)


def test_each_film_keeps_its_own_answer(example):
    drop(example, ("b.dcm", real_dicom()))
    example.button(key="agree-1").click().run()
    visit(example).show(2)
    example.run()
    assert "You agree" not in words_of(example)
    example.button(key="disagree-2").click().run()
    assert [case.reading.answer for case in visit(example).cases] == ["agree", "disagree"]
    visit(example).remove(1)
    assert "of 1 film" in training_offer(visit(example))[0].hint


def test_what_the_film_check_rejects_is_not_for_training(page, folder):
    drop(page, ("x", ct_slice()))
    page.button(key="overrule-1").click()
    read(page.run())
    page.button(key="agree-1").click().run()
    assert "Not for training" in words_of(page)
    assert training_offer(visit(page)) == []
    assert exported(page)[1][0]["reading"] == "agree"
    assert not folder.exists()


def test_the_operators_folder_gets_what_is_answered_and_the_reader_is_told(example, folder):
    assert "keeps your answer" in words_of(example.run())
    assert not folder.exists(), "nothing is saved before an answer"
    example.button(key="agree-1").click().run()
    (film,) = read_index(folder)
    assert film.positive
    assert {path.name for path in folder.iterdir()} == {".lock", "answers.csv", "images", "index.csv", "masks"}
    example.button(key="disagree-1").click().run()
    assert [film.positive for film in read_index(folder)] == [False]
    example.button(key="withdraw-1").click().run()
    assert read_index(folder) == []


def test_a_folder_that_cannot_be_written_costs_no_answer(example, folder):
    folder.write_bytes(b"a file")
    example.button(key="agree-1").click().run()
    said = words_of(example)
    assert "FEEDBACK_UNWRITABLE" in said
    assert "You agree" in said


def test_without_a_folder_nothing_is_said_of_one(example):
    assert "keeps your answer" not in words_of(example)

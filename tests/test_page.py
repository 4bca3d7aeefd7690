"""The page, run with Streamlit's test harness and the bundled weights."""

import io
import threading

import numpy as np
import pytest
import streamlit as st
from PIL import Image
from streamlit.testing.v1 import AppTest

from ptx_app.errors import WeightsError
from ptx_app.model.manifest import ROOT, load_manifest
from ptx_app.pipeline import Detector
from ptx_app.ui import engine, panel
from ptx_app.ui.page import _require_whole
from tests.support.films import broken_dicom, ct_slice, dicom_of, real_dicom, simulated_film
from tests.support.serving import until

FILM = ("film.dcm", dicom_of(simulated_film()), "application/dicom")


@pytest.fixture
def page() -> AppTest:
    return AppTest.from_file(str(ROOT / "app.py"), default_timeout=60)


@pytest.fixture
def example(page) -> AppTest:
    page.query_params["example"] = "pneumothorax"
    return read(page.run())


def drop(page: AppTest, *files: tuple[str, bytes]) -> AppTest:
    page.run()
    page.file_uploader[0].set_value([(name, data, "application/octet-stream") for name, data in files])
    return read(page.run())


def read(page: AppTest) -> AppTest:
    """The page once all its films are read."""
    until(lambda: not visit(page).pending, 60)
    return page.run()


def words_of(page: AppTest) -> str:
    assert not page.exception
    return " ".join(element.proto.body for element in page.get("html"))


def visit(page: AppTest):
    return page.session_state["visit"]


def test_the_empty_page_says_what_it_is_and_where_to_drop(page):
    said = words_of(page.run())
    assert "Not a medical device" in said
    assert page.file_uploader[0].accept_multiple_files
    assert not page.slider


@pytest.mark.parametrize("public", ["true", "false"])
def test_a_public_page_never_keeps_a_patients_header(page, public, monkeypatch):
    monkeypatch.setenv("PTX_PUBLIC_HOST", public)
    page.run()
    switches = [toggle for toggle in page.toggle if toggle.key == "keep_header"]
    assert len(switches) == (public == "false")
    page.session_state["keep_header"] = True
    drop(page, ("film.dcm", real_dicom()))
    assert (visit(page).current.source is not None) == (public == "false")
    assert ("carry the patient’s own header" in words_of(page)) == (public == "false")


def test_an_example_gets_a_verdict_a_score_and_what_is_known_of_it(example):
    said = words_of(example)
    assert "Pneumothorax flagged" in said
    assert "left side of the patient (right of the picture)" in said.lower()
    assert "CC BY-SA 2.5" in said
    assert "films with a pneumothorax were flagged" in said
    assert "Not a medical device" in said
    assert "example" not in example.query_params


def test_a_dropped_film_has_its_result_in_the_same_run(page, monkeypatch):
    monkeypatch.setattr("ptx_app.ui.page._SOON", 60.0)
    page.run().file_uploader[0].set_value([FILM])
    assert "Pneumothorax flagged" in words_of(page.run())


def test_a_film_that_is_done_while_the_page_is_drawn_is_shown(page, monkeypatch):
    may_read = threading.Event()

    def read_late(*arguments):
        may_read.wait(60)
        return engine.read(*arguments)

    def about(**_):
        may_read.set()  # "Reading this film" is drawn by now
        until(lambda: not st.session_state["visit"].pending, 60)

    page.run()
    monkeypatch.setattr("ptx_app.ui.page._SOON", 0.0)
    monkeypatch.setattr("ptx_app.ui.intake.read", read_late)
    monkeypatch.setattr("ptx_app.ui.page.about", about)
    page.file_uploader[0].set_value([FILM])
    assert "Pneumothorax flagged" in words_of(page.run())


def test_a_film_that_is_dropped_with_a_click_on_a_switch_is_taken(page):
    page.run().file_uploader[0].set_value([FILM])
    page.toggle(key="folder").set_value(True)
    read(page.run())
    assert [case.name for case in visit(page).cases] == ["film.dcm"]


def test_a_look_at_the_list_just_after_the_page_was_drawn_draws_all_of_it_again(page, monkeypatch):
    reruns = []
    monkeypatch.setattr("streamlit.rerun", lambda: reruns.append(1))
    drop(page, FILM[:2])
    assert not reruns, "drawing the page itself is no look at a part of it"
    drawn_at = visit(page).drawn_at
    monkeypatch.setattr("time.monotonic", lambda: drawn_at + 0.1)
    _require_whole(visit(page))
    assert len(reruns) == 1
    monkeypatch.setattr("time.monotonic", lambda: drawn_at + 0.4)
    _require_whole(visit(page))
    assert len(reruns) == 1


def test_an_unknown_example_changes_nothing(page):
    page.query_params["example"] = "../../etc"
    assert "Not a medical device" in words_of(page.run())
    assert not visit(page).cases


def test_moving_a_threshold_decides_again_without_the_network(example, monkeypatch):
    monkeypatch.setattr(Detector, "predict", lambda *_: pytest.fail("inferred again"))
    score = visit(example).current.film.prediction.score
    assert example.segmented_control(key="operating_point").label == "Operating point"
    example.slider(key="score_threshold").set_value(1.0).run()
    assert example.segmented_control(key="operating_point").label == "Operating point, changed by hand"
    said = words_of(example)
    assert score < 1.0
    assert "None flagged" in said
    assert "set by hand" in said
    assert "no pneumothorax" not in said.lower().replace("no pneumothorax is known", "")


def test_choosing_a_setting_moves_both_thresholds(example):
    point = load_manifest().entry().operating_point("specific")
    example.segmented_control(key="operating_point").set_value("specific").run()
    assert example.slider(key="score_threshold").value == point.score
    assert example.session_state["mask_threshold"] == point.mask_threshold


def test_the_mask_threshold_changes_the_share_of_the_film(example):
    example.session_state["mask_threshold"] = 0.05
    wide = words_of(example.run())
    example.session_state["mask_threshold"] = 0.95
    assert "of the film" in wide
    assert wide != words_of(example.run())


def test_a_broken_file_gets_a_message_with_a_code_and_the_next_film_is_read(page):
    drop(page, ("a.dcm", broken_dicom()), ("b.dcm", real_dicom()))
    broken, good = visit(page).cases
    assert broken.error.code in words_of(page)
    assert good.film is not None
    visit(page).show(good.number)
    assert "flagged" in words_of(page.run())


def test_a_rejected_film_is_not_analysed_until_the_user_asks(page, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(Detector, "predict", lambda *_: pytest.fail("a rejected film was analysed"))
        drop(page, ("x", ct_slice()))
    said = words_of(page)
    assert "Not analysed" in said
    assert "WRONG_MODALITY" in said
    assert "Pneumothorax flagged" not in said
    page.button(key=f"overrule-{visit(page).current.number}").click()
    read(page.run())
    assert "Score" in words_of(page)


def test_dicom_and_png_of_the_same_film_score_alike(page):
    pixels = engine.read(real_dicom()).pixels
    png = io.BytesIO()
    Image.fromarray((pixels * 65535 + 0.5).astype(np.uint16)).save(png, "PNG")
    drop(page, ("film", real_dicom()), ("film", png.getvalue()))
    first, second = (case.film.prediction.score for case in visit(page).cases)
    assert first == pytest.approx(second, abs=0.01)


def test_a_full_visit_is_reported_and_keeps_its_films(page, monkeypatch):
    monkeypatch.setattr("ptx_app.ui.visit.MOST_FILMS", 1)
    drop(page, ("a", real_dicom()), ("b", dicom_of(simulated_film())))
    first, second = visit(page).cases
    assert first.film is not None
    assert second.error.code == "VISIT_FULL"


def test_clearing_deletes_every_film_at_once(example):
    example.button(key="clear").click().run()
    assert not visit(example).cases
    assert not example.slider


def test_thresholds_stay_while_a_case_without_film_is_shown(example):
    example.slider(key="score_threshold").set_value(0.9).run()
    drop(example, ("empty", b""))
    visit(example).show(2)
    assert "EMPTY_FILE" in words_of(example.run())
    visit(example).show(1)
    assert example.run().slider(key="score_threshold").value == 0.9


def test_missing_weights_are_reported_and_nothing_else_breaks(page, monkeypatch):
    def missing(*_args, **_kwargs):
        raise WeightsError("WEIGHTS_UNAVAILABLE", "No source could provide the weights.")

    engine._build.clear()
    monkeypatch.setattr("ptx_app.pipeline.load_network", missing)
    page.query_params["example"] = "normal"
    said = words_of(read(page.run()))
    assert "WEIGHTS_UNAVAILABLE" in said
    engine._build.clear()


@pytest.mark.parametrize(("said", "shown"), [("1", True), ("0", False)])
def test_a_public_host_warns_against_identifiable_films(page, monkeypatch, said, shown):
    monkeypatch.setenv("PTX_PUBLIC_HOST", said)
    assert ("Do not upload identifiable films" in words_of(page.run())) == shown


def test_a_threshold_that_is_no_number_changes_nothing(monkeypatch):
    monkeypatch.setattr(panel.st, "session_state", {"mask_threshold": 0.4})
    panel.keep_mask_threshold(float("nan"))
    assert panel.st.session_state == {"mask_threshold": 0.4}
    panel.keep_mask_threshold(7.0)
    assert panel.st.session_state == {"mask_threshold": 1.0}


def test_a_wrong_setting_is_reported(page, monkeypatch):
    monkeypatch.setenv("PTX_PUBLIC_HOST", "perhaps")
    assert "SETTING_INVALID" in words_of(page.run())


def test_nothing_heavy_or_of_training_is_imported_for_the_page():
    import subprocess
    import sys

    code = (
        "import sys, ptx_app.ui.page;"
        "print(*(n for n in ('albumentations', 'matplotlib', 'sklearn', 'ptx_app.training') if n in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == ""


def test_an_area_is_said_to_be_no_volume_once(example):
    assert words_of(example).count("of the film's area") == 1
    assert words_of(example).count("An area on a film is not a volume.") == 1


def test_one_film_is_removed_and_its_neighbour_is_shown(example):
    for number in range(2):
        drop(example, (f"{number}.dcm", broken_dicom()))
    assert [case.number for case in visit(example).cases] == [1, 2, 3]
    visit(example).show(2)
    example.run().button(key="remove").click().run()
    assert ([case.number for case in visit(example).cases], visit(example).shown) == ([1, 3], 3)
    example.button(key="remove").click().run()
    assert ([case.number for case in visit(example).cases], visit(example).shown) == ([1], 1)
    example.button(key="remove").click().run()
    assert (visit(example).cases, visit(example).shown) == ([], None)
    assert "where" in words_of(example)

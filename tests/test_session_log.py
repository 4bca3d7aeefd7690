"""The page and the audit trail: everything that is shown, changed or taken away is told before it happens."""

import io
import re
import shutil
import threading
import zipfile
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from ptx_app.audit import Event, Trail
from ptx_app.film.examples import EXAMPLES
from ptx_app.model.manifest import ROOT
from ptx_app.ui import intake
from ptx_app.ui.all_results import all_results
from ptx_app.ui.session_log import SessionLog, end_all
from tests.support.films import broken_dicom, ct_slice, dicom_of, real_dicom, simulated_film
from tests.support.marked_films import FILE_MARK, marked_dicom, markers_in
from tests.support.serving import CHROMIUM, NO_CHROMIUM, all_read, drop, open_page, running_server, until

KEY = "a key that only the operator of this test has"


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("PTX_AUDIT_FOLDER", str(tmp_path / "trail"))
    monkeypatch.setenv("PTX_AUDIT_KEY", KEY)
    return tmp_path / "trail"


@pytest.fixture
def trail(folder) -> Trail:
    return Trail(folder, KEY)


@pytest.fixture
def page(folder) -> AppTest:
    return AppTest.from_file(str(ROOT / "app.py"), default_timeout=60)


@pytest.fixture
def example(page) -> AppTest:
    page.query_params["example"] = "pneumothorax"
    return read(page.run())


def visit(page: AppTest):
    return page.session_state["visit"]


def read(page: AppTest) -> AppTest:
    until(lambda: not visit(page).pending, 60)
    return page.run()


def put(page: AppTest, *files: tuple[str, bytes]) -> AppTest:
    page.run()
    page.file_uploader[0].set_value([(name, data, "application/octet-stream") for name, data in files])
    return read(page.run())


def words_of(page: AppTest) -> str:
    assert not page.exception
    return " ".join(element.proto.body for element in page.get("html"))


def told(trail: Trail, event: Event | None = None) -> list[dict]:
    assert trail.verify().faults == ()
    records = [line.record for line in trail.lines()]
    return [record for record in records if event in {None, record["event"]}]


def spoil(folder: Path) -> None:
    """Make the trail one that nothing can be written to, as on a full disk; tests may run as root."""
    shutil.rmtree(folder)
    folder.write_bytes(b"")


def test_without_an_operators_wish_nothing_is_written(page, folder, monkeypatch):
    monkeypatch.delenv("PTX_AUDIT_FOLDER")
    page.query_params["example"] = "pneumothorax"
    assert "Pneumothorax flagged" in words_of(read(page.run()))
    assert visit(page).current.audit_name is None
    assert not folder.exists()


def test_an_example_is_opened_and_its_result_shown_once(example, trail):
    example.run()
    opened, listed, shown = sorted(told(trail), key=lambda record: (record["event"], record.get("place", "")))
    assert (opened["event"], opened["how"]) == ("film opened", "example")
    assert opened["film"] == trail.film(EXAMPLES[0].data())
    assert (listed["place"], shown["place"]) == ("list", "viewer")
    for record in (listed, shown):
        assert (record["event"], record["result"], record["film"]) == ("result shown", "flagged", opened["film"])
        assert record["score"] == pytest.approx(visit(example).current.film.prediction.score, abs=1e-4)
    assert len({record["session"] for record in told(trail)}) == 1


def test_an_answer_is_told_before_it_is_kept(example, trail, folder):
    next(button for button in example.button if button.label == "Agree").click()
    example.run()
    (answered,) = told(trail, Event.FILM_ANSWERED)
    assert (answered["answer"], answered["film"]) == ("agree", visit(example).current.audit_name)
    assert visit(example).current.reading is not None
    next(button for button in example.button if button.label == "Take back").click()
    example.run()
    assert [record["answer"] for record in told(trail, Event.FILM_ANSWERED)] == ["agree", "taken back"]
    assert visit(example).current.reading is None
    next(button for button in example.button if button.label == "Agree").click()
    example.run()
    spoil(folder)
    next(button for button in example.button if button.label == "Take back").click()
    example.run()
    assert visit(example).current.reading is not None, "it is still there, and can be taken back later"
    assert "AUDIT" in words_of(example)
    visit(example).current.reading = None
    next(button for button in example.button if button.label == "Disagree").click()
    example.run()
    assert visit(example).current.reading is None
    assert "AUDIT" in words_of(example)


def test_dropped_and_packed_films_are_opened_by_their_content(page, trail):
    film, packed = real_dicom(), dicom_of(simulated_film())
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("inner.dcm", packed)
    put(page, ("a.dcm", film), ("b.zip", target.getvalue()))
    opened = {record["film"]: record["how"] for record in told(trail, Event.FILM_OPENED)}
    assert opened == {trail.film(film): "dropped", trail.film(packed): "zip"}


def test_a_film_is_in_the_trail_before_it_is_read(page, trail, monkeypatch):
    def die(*_args) -> None:
        raise RuntimeError("killed")

    monkeypatch.setattr("ptx_app.ui.intake.read", die)
    put(page, ("a.dcm", real_dicom()))
    (opened,) = told(trail, Event.FILM_OPENED)
    assert opened["film"] == trail.film(real_dicom())


def test_what_could_not_be_read_or_was_refused_is_told_with_its_code(page, trail):
    put(page, ("broken", broken_dicom()), ("slice", ct_slice()))
    listed = {record["film"]: record for record in told(trail, Event.RESULT_SHOWN) if record["place"] == "list"}
    assert listed[trail.film(broken_dicom())]["result"] == "not read"
    assert listed[trail.film(broken_dicom())]["code"] == visit(page).cases[0].error.code
    assert listed[trail.film(ct_slice())]["result"] == "not analysed"
    assert listed[trail.film(ct_slice())]["code"] == "WRONG_MODALITY"


def test_a_changed_threshold_is_told_with_both_values_and_what_was_shown_then(example, trail):
    former = example.slider(key="score_threshold").value
    example.slider(key="score_threshold").set_value(1.0).run()
    (changed,) = told(trail, Event.SETTING_CHANGED)
    assert changed["score_threshold"] == [former, 1.0]
    assert "mask_threshold" not in changed
    last = told(trail)[-1]
    assert (last["event"], last["result"], last["score_threshold"]) == ("result shown", "none flagged", 1.0)
    example.session_state["mask_threshold"] = 0.9
    example.run()
    assert told(trail, Event.SETTING_CHANGED)[-1]["mask_threshold"][1] == 0.9
    example.segmented_control(key="operating_point").set_value("specific").run()
    assert told(trail, Event.SETTING_CHANGED)[-1]["operating_point"][1] == "specific"


def test_going_back_to_a_film_is_told_again(example, trail):
    put(example, ("a.dcm", real_dicom()))
    for number in (2, 1):
        visit(example).show(number)
        example.run()
    films = [record["film"] for record in told(trail, Event.RESULT_SHOWN) if record["place"] == "viewer"]
    first, second = trail.film(EXAMPLES[0].data()), trail.film(real_dicom())
    assert films == [first, second, first]


def test_an_overruled_check_is_told_with_its_codes(page, trail):
    put(page, ("slice", ct_slice()))
    page.button(key="overrule-1").click()
    read(page.run())
    (overruled,) = told(trail, Event.CHECK_OVERRULED)
    assert overruled["film"] == trail.film(ct_slice())
    assert "WRONG_MODALITY" in overruled["codes"]
    assert told(trail)[-1]["overruled"] is True


def test_an_overruled_films_result_in_the_list_is_told_even_if_another_film_is_on_the_screen(page, trail, monkeypatch):
    put(page, ("slice", ct_slice()), ("a.dcm", real_dicom()))
    gate, genuine = threading.Event(), intake._engine
    monkeypatch.setattr(intake, "_engine", lambda case: gate.wait(60) and genuine(case))
    page.button(key="overrule-1").click().run()
    visit(page).show(2)
    gate.set()
    read(page)
    assert visit(page).cases[0].overruled
    listed = [record for record in told(trail, Event.RESULT_SHOWN) if record["place"] == "list"]
    assert (listed[-1]["film"], listed[-1]["overruled"]) == (trail.film(ct_slice()), True)
    assert listed[-1]["result"] != "not analysed"


def test_a_film_that_is_done_while_all_are_handed_out_is_not_among_them(example, trail, monkeypatch):
    put(example, ("a.dcm", real_dicom()))
    late, tell, zips = visit(example).cases[1], SessionLog.tell, []
    late.job, late.running = lambda _: None, True

    def then_it_is_done(log, event, **facts) -> None:
        tell(log, event, **facts)
        if event is Event.FILE_DOWNLOADED:
            late.job = None

    monkeypatch.setattr(SessionLog, "tell", then_it_is_done)
    monkeypatch.setattr("ptx_app.ui.page.all_results", lambda *a, **b: zips.append(all_results(*a, **b)) or zips[0])
    example.session_state["all-wanted"] = {"name": "films.zip", "serial": "1"}
    example.run()
    (downloaded,) = told(trail, Event.FILE_DOWNLOADED)
    with zipfile.ZipFile(io.BytesIO(zips[0])) as archive:
        masks = [name for name in archive.namelist() if name.endswith("_mask.png")]
    assert len(masks) == len(downloaded["films"]) == 1


def test_removed_and_cleared_films_are_told(example, trail):
    put(example, ("a.dcm", real_dicom()))
    example.button(key="remove").click().run()
    example.button(key="clear").click().run()
    removed, cleared = told(trail, Event.FILMS_CLEARED)
    assert removed["films"] == [trail.film(EXAMPLES[0].data())]
    assert cleared["films"] == [trail.film(real_dicom())]


def test_a_download_is_told_before_it_is_made(example, trail):
    example.session_state["downloads-wanted"] = {"name": "film-1-mask.png", "serial": "1"}
    example.run()
    example.session_state["all-wanted"] = {"name": "films.zip", "serial": "2"}
    example.run()
    one, everything = told(trail, Event.FILE_DOWNLOADED)
    film = trail.film(EXAMPLES[0].data())
    assert (one["film"], one["what"]) == (film, "Mask PNG")
    assert (everything["films"], everything["what"]) == ([film], "Download all films")


def test_the_trail_tells_whether_a_file_had_the_patients_header(page, trail, monkeypatch):
    monkeypatch.setenv("PTX_PUBLIC_HOST", "false")
    page.run()
    page.session_state["keep_header"] = True
    put(page, ("a.dcm", real_dicom()))
    page.session_state["downloads-wanted"] = {"name": "film-1-dicom.zip", "serial": "1"}
    page.run()
    visit(page).current.source = None
    page.session_state["downloads-wanted"] = {"name": "film-1-dicom.zip", "serial": "2"}
    page.run()
    files = [record["what"] for record in told(trail, Event.FILE_DOWNLOADED)]
    assert files == ["DICOM with the patient's own header", "DICOM"]


def test_all_sessions_end_with_the_server(example, trail):
    end_all()
    end_all()
    (ended,) = told(trail, Event.SESSION_ENDED)
    assert ended["why"] == "server stopped"


def test_a_film_is_not_read_if_that_cannot_be_told(page, folder, monkeypatch):
    monkeypatch.setattr("ptx_app.ui.intake.read", lambda *_: pytest.fail("read without a trace"))
    folder.write_bytes(b"")
    put(page, ("a.dcm", real_dicom()))
    assert "AUDIT_UNWRITABLE" in words_of(page)
    assert visit(page).current.film is None


@pytest.mark.parametrize("what", ["threshold", "film", "download", "overrule"])
def test_nothing_more_is_shown_changed_or_handed_out_if_that_cannot_be_told(page, folder, monkeypatch, what):
    film = ct_slice() if what == "overrule" else real_dicom()
    put(page, ("a.dcm", film))
    put(page, ("b.dcm", dicom_of(simulated_film())))
    spoil(folder)
    if what == "threshold":
        page.slider(key="score_threshold").set_value(1.0).run()
    elif what == "film":
        visit(page).show(2)
        page.run()
    elif what == "download":
        monkeypatch.setattr("ptx_app.ui.panel.mask_picture", lambda *_: pytest.fail("handed out without a trace"))
        page.session_state["downloads-wanted"] = {"name": "film-1-mask.png", "serial": "1"}
        page.run()
    else:
        page.button(key="overrule-1").click()
        read(page.run())
        assert visit(page).cases[0].film.prediction is None
    said = words_of(page)
    assert "AUDIT_UNWRITABLE" in said
    assert "Tell the operator" in said
    if what in ("threshold", "film"):
        assert "Pneumothorax flagged" not in said
        assert "None flagged" not in said


def test_films_can_be_deleted_even_if_that_cannot_be_told_and_the_page_says_so(example, folder):
    spoil(folder)
    example.button(key="clear").click().run()
    assert visit(example).cases == []
    assert "AUDIT_UNWRITABLE" in words_of(example)
    assert "AUDIT_UNWRITABLE" not in words_of(example.run())


def test_a_trail_without_a_good_key_opens_no_page(page, monkeypatch):
    monkeypatch.setenv("PTX_AUDIT_KEY", "short")
    said = words_of(page.run())
    assert "AUDIT_KEY_INVALID" in said
    assert not page.file_uploader


def test_nothing_of_the_patient_is_in_the_trail(page, folder, trail):
    put(page, (f"{FILE_MARK}-film.dcm", marked_dicom()), (f"{FILE_MARK}-broken.dcm", broken_dicom()))
    page.button(key="clear").click().run()
    assert told(trail, Event.FILM_OPENED)
    for path in folder.rglob("*"):
        assert not markers_in(path.name.encode())
        assert not markers_in(path.read_bytes())
    text = "".join(path.read_text() for path in folder.glob("audit-*"))
    fields = set(re.findall(r'"([a-z_]+)":', text))
    known = "n at event before seal session film films how place result code score score_threshold mask_threshold"
    assert fields <= set(known.split())


@pytest.mark.thorough
@pytest.mark.skipif(not CHROMIUM, reason=NO_CHROMIUM)
def test_a_visit_in_a_browser_is_told_from_its_first_film_to_its_end(folder, trail, browser):
    with running_server(options=["--server.disconnectedSessionTTL=3"]) as server:
        page = open_page(browser, server.address)
        drop(page, ("film.dcm", dicom_of(simulated_film())))
        all_read(page, 1)
        page.locator(".stage[data-film]").wait_for()
        with page.expect_download():
            page.get_by_role("button", name="Result JSON").click()
        page.get_by_role("radio", name="Specific").click()
        until(lambda: told(trail, Event.SETTING_CHANGED) != [], 30)
        page.get_by_role("button", name="Remove this film").click()
        page.get_by_text("No film at hand?").wait_for()
        page.context.close()
        until(lambda: told(trail, Event.SESSION_ENDED) != [], 30)
    events = [record["event"] for record in told(trail)]
    assert events[0] == "film opened"
    assert events[-1] == "session ended"
    assert set(events) == {"film opened", "result shown", "file downloaded", "setting changed", "films cleared", "session ended"}  # fmt: skip  # noqa: E501
    assert told(trail)[-1]["why"] == "page closed"

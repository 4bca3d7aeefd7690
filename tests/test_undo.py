"""A film that was removed by a slip comes back as it was, for some seconds."""

import threading

import pytest
from streamlit.testing.v1 import AppTest

from ptx_app.audit import Event, Trail
from ptx_app.model.manifest import ROOT
from ptx_app.ui import background
from ptx_app.ui import visit as visits
from tests.support.films import dicom_of, real_dicom, simulated_film
from tests.support.serving import CHROMIUM, NO_CHROMIUM, all_read, films_of, open_again, until
from tests.support.serving import drop as drop_in_browser
from tests.test_film_list import film, of
from tests.test_page import drop, visit, words_of

FILM, OTHER = real_dicom(), dicom_of(simulated_film())


@pytest.fixture
def page() -> AppTest:
    return AppTest.from_file(str(ROOT / "app.py"), default_timeout=60)


@pytest.fixture
def two(page) -> AppTest:
    return drop(page, ("a.dcm", FILM), ("b.dcm", OTHER))


def offered(page) -> bool:
    return any(button.key == "undo-remove" for button in page.button)


def test_a_film_comes_back_to_its_place_with_its_answer_and_is_shown(two):
    two.button(key="disagree-1").click().run()
    before = visit(two).cases[0]
    assert not offered(two)
    two.button(key="remove").click().run()
    assert "Film 1 is removed." in words_of(two)
    assert [case.number for case in visit(two).cases] == [2]
    two.button(key="undo-remove").click().run()
    assert not offered(two)
    assert [case.number for case in visit(two).cases] == [1, 2]
    assert visit(two).cases[0] is before
    assert (visit(two).shown, before.removed) == (1, False)
    assert "You disagree: a pneumothorax." in words_of(two)


def test_the_last_film_comes_back_from_the_empty_page(page):
    drop(page, ("a.dcm", FILM))
    page.button(key="remove").click().run()
    assert "where" in words_of(page)
    page.button(key="undo-remove").click().run()
    assert "1 · a.dcm" in words_of(page)


@pytest.mark.parametrize("act", ["time", "drop", "remove", "clear"])
def test_after_some_seconds_or_the_next_action_the_film_is_gone(two, monkeypatch, act):
    two.button(key="remove").click().run()
    if act == "time":
        monkeypatch.setattr(visits.time, "monotonic", lambda: visit(two).removed.until)
        two.run()
    elif act == "drop":
        drop(two, ("a.dcm", FILM))
        assert [case.number for case in visit(two).cases] == [2, 3]
    else:
        two.button(key=act).click().run()
    assert visit(two).removed is None or visit(two).removed.case.number == 2
    assert offered(two) == (act == "remove")
    if act != "remove":
        assert visit(two).bring_back() is None


def test_it_is_deleted_though_no_browser_asks(two, monkeypatch):
    monkeypatch.setattr("ptx_app.ui.page.UNDO_SECONDS", 0.2)
    monkeypatch.setattr(visits, "UNDO_SECONDS", 0.2)
    two.button(key="remove").click().run()
    until(lambda: visit(two).removed is None, 10)


def test_looking_at_another_film_keeps_it(page):
    drop(page, ("a.dcm", FILM), ("b.dcm", OTHER))
    visit(page).show(2)
    page.run().button(key="remove").click().run()
    visit(page).show(1)
    assert offered(page.run())


def test_a_film_that_is_read_goes_on_when_it_is_brought_back_at_once():
    visit, order = of(film(), film())
    started, go_on = threading.Event(), threading.Event()
    read = visit.cases[0].job

    def slow(case):
        started.set()
        go_on.wait(10)
        case.say("")
        return read(case)

    visit.cases[0].job = slow
    visit.hire(1)
    thread = threading.Thread(target=background._work, args=(visit,))
    thread.start()
    started.wait(10)
    visit.remove(1)
    visit.bring_back()
    go_on.set()
    thread.join(10)
    assert order == [1, 2]
    assert all(case.done for case in visit.cases)
    assert visit.readers == 0


def test_a_film_whose_reading_has_stopped_is_read_again_when_it_is_brought_back():
    visit, order = of(film())
    read = visit.cases[0].job

    def removed_meanwhile(case):
        visit.remove(1)
        case.job = read
        case.say("")

    visit.cases[0].job = removed_meanwhile
    visit.hire(1)
    background._work(visit)
    assert order == []
    back = visit.bring_back()
    assert (back.running, back.done) == (False, False)
    assert visit.hire(1) == 1
    background._work(visit)
    assert order == [1]
    assert back.done


def test_the_trail_says_that_it_was_brought_back_or_it_is_not(page, tmp_path, monkeypatch):
    key = "a key that only the operator of this test has"
    monkeypatch.setenv("PTX_AUDIT_FOLDER", str(tmp_path / "trail"))
    monkeypatch.setenv("PTX_AUDIT_KEY", key)
    drop(page, ("a.dcm", FILM))
    page.button(key="remove").click().run()
    page.button(key="undo-remove").click().run()
    trail = Trail(tmp_path / "trail", key)
    told = [line.record for line in trail.lines()]
    assert [each["how"] for each in told if each["event"] == Event.FILM_OPENED] == ["dropped", "brought back"]
    assert {each["film"] for each in told if "film" in each} == {trail.film(FILM)}
    page.button(key="remove").click().run()
    for file in (tmp_path / "trail").iterdir():
        file.unlink()
    (tmp_path / "trail").rmdir()
    (tmp_path / "trail").write_bytes(b"")
    page.button(key="undo-remove").click().run()
    assert "AUDIT" in words_of(page)
    assert visit(page).cases == []
    assert offered(page), "it can be tried again"


def apart(over, *others) -> bool:
    """Whether something on the page lies over none of the others."""
    left, top, right, bottom = edges(over)
    return all(
        right <= its_left or its_right <= left or bottom <= its_top or its_bottom <= top
        for its_left, its_top, its_right, its_bottom in map(edges, others)
    )


def edges(element) -> tuple[float, float, float, float]:
    box = element.bounding_box()
    return box["x"], box["y"], box["x"] + box["width"], box["y"] + box["height"]


@pytest.mark.thorough
@pytest.mark.skipif(not CHROMIUM, reason=NO_CHROMIUM)
def test_in_a_browser_it_is_offered_moves_nothing_and_goes_by_itself(tab, address):
    page = open_again(tab, address)
    drop_in_browser(page, ("a.dcm", FILM), ("b.dcm", OTHER))
    all_read(page, 2)
    page.locator(".stage[data-film]").wait_for()
    page.locator("[data-go=close]").click()
    until(lambda: page.locator(".stage").bounding_box()["y"] < 12, 10)
    was = page.locator(".stage").bounding_box()
    page.get_by_role("button", name="Remove this film").click()
    page.get_by_text("Film 1 is removed.").wait_for()
    until(lambda: films_of(page).count() == 1, 10)
    assert page.locator(".stage").bounding_box() == was
    for size in ((3840, 2160), (820, 1180), (1280, 800)):
        page.set_viewport_size({"width": size[0], "height": size[1]})
        until(lambda: apart(page.locator(".st-key-undo"), page.locator(".list"), page.locator(".stage")), 10)
    page.get_by_role("button", name="Undo", exact=True).click()
    until(lambda: films_of(page).count() == 2, 10)
    page.get_by_text("Film 1 is removed.").wait_for(state="hidden")
    page.get_by_role("button", name="Remove this film").click()
    page.get_by_text("Film 1 is removed.").wait_for()
    page.get_by_text("Film 1 is removed.").wait_for(state="hidden", timeout=30_000)
    assert films_of(page).count() == 1

"""The same file opened twice in one visit is listed once."""

import io
import zipfile

import pytest
from streamlit.testing.v1 import AppTest

from ptx_app.film.examples import EXAMPLES
from ptx_app.model.manifest import ROOT
from ptx_app.ui.visit import Case, Visit
from tests.support.films import broken_dicom, dicom_of, real_dicom, simulated_film
from tests.support.serving import CHROMIUM, NO_CHROMIUM, all_read, open_again
from tests.support.serving import drop as drop_in_browser
from tests.test_page import drop, read, visit

FILM, OTHER = real_dicom(), dicom_of(simulated_film())


@pytest.fixture
def page() -> AppTest:
    return AppTest.from_file(str(ROOT / "app.py"), default_timeout=60)


def numbers(page) -> list[int]:
    return [case.number for case in visit(page).cases]


def packed(**files: bytes) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return target.getvalue()


def test_the_same_file_is_listed_once_whatever_its_name(page):
    drop(page, ("a.dcm", FILM), ("b.dcm", OTHER))
    assert visit(page).again == []
    read_already = visit(page).cases[0].film
    drop(page, ("renamed.dcm", FILM), ("c.dcm", broken_dicom()))
    assert numbers(page) == [1, 2, 3]
    assert visit(page).again == [1]
    assert visit(page).cases[0].film is read_already
    assert visit(page).shown == 1


def test_two_copies_in_one_drop_are_one_film(page):
    drop(page, ("a.dcm", FILM), ("copy.dcm", FILM), ("another copy.dcm", FILM))
    assert (numbers(page), visit(page).again) == ([1], [1, 1])


def test_the_note_goes_with_the_next_action(page):
    for act in (lambda: visit(page).show(1), lambda: drop(page, (f"{len(numbers(page))}.dcm", OTHER))):
        drop(page, ("a.dcm", FILM), ("b.dcm", FILM))
        assert visit(page).again
        act()
        assert visit(page).again == []


def test_a_film_that_was_removed_can_be_dropped_again(page):
    drop(page, ("a.dcm", FILM), ("b.dcm", OTHER))
    page.button(key="remove").click().run()
    drop(page, ("a.dcm", FILM))
    assert (numbers(page), visit(page).again) == ([2, 3], [])
    page.button(key="clear").click().run()
    drop(page, ("a.dcm", FILM))
    assert len(numbers(page)) == 1
    assert visit(page).current.film is not None


def test_a_film_of_a_zip_is_known_by_its_content_too(page):
    drop(page, ("a.dcm", FILM))
    drop(page, ("films.zip", packed(x=FILM, y=OTHER, z=OTHER)))
    assert [case.name for case in visit(page).cases] in (["a.dcm", "y"], ["a.dcm", "z"]), "two threads read at once"
    assert sorted(visit(page).again)[0] == 1
    assert len(visit(page).again) == 2
    drop(page, ("b.dcm", OTHER))
    assert len(numbers(page)) == 2
    drop(page, ("films.zip", packed(x=FILM, y=OTHER)))
    assert len(numbers(page)) == 2
    assert len(visit(page).again) == 2


def test_a_file_that_could_not_be_read_is_tried_again(page):
    drop(page, ("a.dcm", broken_dicom()))
    drop(page, ("a.dcm", broken_dicom()))
    assert (numbers(page), visit(page).again) == ([1, 2], [])


def test_an_example_is_opened_once_also_as_a_file(page):
    page.query_params["example"] = "normal"
    read(page.run())
    (normal,) = (example for example in EXAMPLES if example.name == "normal")
    drop(page, ("normal.png", normal.data()))
    assert (numbers(page), visit(page).again) == ([1], [1])


def test_with_the_patients_header_it_is_another_film(page, monkeypatch):
    monkeypatch.setenv("PTX_PUBLIC_HOST", "false")
    drop(page, ("a.dcm", FILM))
    page.toggle(key="keep_header").set_value(True).run()
    drop(page, ("a.dcm", FILM))
    drop(page, ("a.dcm", FILM))
    assert (numbers(page), visit(page).again) == ([1, 2], [2])


def test_a_film_that_turns_out_to_be_there_already_leaves_the_screen_for_it():
    there, packed_one, removed = Case(1, "a", identity="x"), Case(2, "b"), Case(3, "c")
    visit = Visit([there, packed_one], shown=2)
    assert not visit.claim(packed_one, "x")
    assert (visit.cases, visit.shown, visit.again, packed_one.removed) == ([there], 1, [1], True)
    assert not visit.claim(removed, "x")
    assert visit.again == [1], "the reader has removed it: nothing is said"
    assert visit.claim(there, "x")


@pytest.mark.thorough
@pytest.mark.skipif(not CHROMIUM, reason=NO_CHROMIUM)
def test_the_list_says_so(tab, address):
    page = open_again(tab, address)
    drop_in_browser(page, ("a.dcm", FILM))
    all_read(page, 1)
    assert not page.locator(".note").is_visible()
    drop_in_browser(page, ("b.dcm", FILM))
    page.get_by_text("Already in the list: film 1.").wait_for()
    drop_in_browser(page, ("c.dcm", OTHER))
    all_read(page, 2).nth(1).click()
    page.get_by_text("2 · c.dcm").wait_for()
    assert not page.locator(".note").is_visible()

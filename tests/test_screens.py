"""Every screen in a real browser: what must fit, be legible, be named and be still, at all sizes and settings."""

from typing import Any

import cv2
import pytest

from ptx_app.model.manifest import ROOT
from tests.support.contrast import contrasts, mark_contrasts
from tests.support.films import broken_dicom, ct_slice, dicom_of, simulated_film
from tests.support.serving import (
    CHROMIUM,
    NO_CHROMIUM,
    QUIET,
    all_read,
    drop,
    films_of,
    open_again,
    open_page,
    running_server,
    settled,
    until,
)

pytestmark = pytest.mark.skipif(not CHROMIUM, reason=NO_CHROMIUM)

# The last is a laptop at 200 %.
SIZES = [(1280, 800), (3840, 2160), (820, 1180), (390, 844), (640, 400)]
DARK, LIGHT = "rgb(16, 17, 18)", "rgb(243, 244, 245)"
_HEADINGS = """() => {
  const found = [];
  const walk = (root) => {
    for (const each of root.querySelectorAll("*")) {
      if (each.shadowRoot) walk(each.shadowRoot);
      if (each.matches("h1") && each.checkVisibility()) found.push(each.textContent);
    }
  };
  walk(document);
  return found;
}"""
_TOO_WIDE = """() => ["documentElement", "main"].filter((which) => {
  const element = which === "main" ? document.querySelector("[data-testid=stMain]") : document.documentElement;
  return element.scrollWidth > element.clientWidth;
})"""


def screens(page: Any) -> Any:
    """The screens of the page one after the other, by name."""
    page.get_by_role("navigation", name="About this page").wait_for()
    page.get_by_role("button", name="Normal film").wait_for()
    yield "empty"
    film = dicom_of(cv2.resize(simulated_film(), (800, 850), interpolation=cv2.INTER_AREA))
    drop(page, ("film.dcm", film), ("broken.dcm", broken_dicom()), ("ct.dcm", ct_slice()))
    all_read(page, 3)
    page.locator(".stage[data-film]").wait_for()
    yield "verdict"
    films_of(page).nth(1).click()
    page.get_by_role("heading", name="Not read").wait_for()
    yield "not read"
    films_of(page).nth(2).click()
    page.get_by_role("heading", name="Not analysed").wait_for()
    page.locator(".stage[data-film]").wait_for()
    yield "not analysed"


def test_every_screen_has_one_main_heading_and_no_sideways_scrolling(page):
    for screen in screens(page):
        assert len(page.evaluate(_HEADINGS)) == 1, screen
        for width, height in SIZES:
            page.set_viewport_size({"width": width, "height": height})
            settled(page)
            assert page.evaluate(_TOO_WIDE) == [], (screen, width)
        assert page.get_by_role("note").get_by_text("Not a medical device").is_visible(), screen
        page.get_by_role("navigation", name="About this page").wait_for()
        assert page.get_by_role("main").count() == 1, screen
        assert page.get_by_role("main").get_by_role("heading", level=1).count() == 1, screen
        if screen == "verdict":
            for name in ("Film viewer", "List of films", "Verdict, settings and downloads", "Tour of the viewer"):
                assert page.get_by_role("region", name=name).count() == 1, name


_SMALLEST_TEXT = """() => {
  const found = [];
  const walk = (root) => {
    for (const each of root.querySelectorAll("*")) {
      if (each.shadowRoot) walk(each.shadowRoot);
      const own = [...each.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.data.trim());
      const box = each.getBoundingClientRect();
      if (own && box.width > 1 && each.checkVisibility({ visibilityProperty: true, opacityProperty: true }))
        found.push([parseFloat(getComputedStyle(each).fontSize), each.textContent.trim().slice(0, 40)]);
    }
  };
  walk(document.body);
  return found.sort((a, b) => a[0] - b[0])[0];
}"""


@pytest.mark.thorough
def test_on_4k_the_film_fills_most_of_the_window_and_all_text_is_large(tab, address):
    page = open_again(tab, address, 3840, 2160)
    for screen in screens(page):
        if screen == "verdict":
            page.keyboard.press("r")
            page.mouse.move(800, 900)
            page.mouse.down()
            page.mouse.move(1200, 1000, steps=4)
            page.mouse.up()
            page.locator(".film svg text").wait_for()
        smallest, text = page.evaluate(_SMALLEST_TEXT)
        assert smallest > 0.77 * 26, (screen, text)
        if screen != "empty":
            box = page.locator(".stage, .nofilm").first.bounding_box()
            assert box["width"] * box["height"] > 0.5 * 3840 * 2160, screen


def ground_of(page: Any) -> str:
    """The colour of the page around the film."""
    return str(page.evaluate("getComputedStyle(document.querySelector('.stApp')).backgroundColor"))


def choose_light(page: Any) -> None:
    page.get_by_role("button", name="Light page").click()
    page.get_by_role("button", name="Dark page").wait_for()
    until(lambda: ground_of(page) == LIGHT, 10)


@pytest.mark.parametrize("choice", ["dark", "light"])
def test_all_text_and_all_marks_can_be_seen_and_the_film_lies_on_black(page, choice):
    def faint() -> list[tuple[float, str]]:
        texts, marks = contrasts(page), mark_contrasts(page)
        assert len(texts) > 5
        return [each for each in texts if each[0] < 4.5] + [each for each in marks if each[0] < 3]

    def check(screen: str) -> None:
        found = faint()
        for _ in range(100):  # while the page is drawn again, Streamlit fades what may go
            if not found:
                break
            page.wait_for_timeout(100)
            found = faint()
        assert found == [], screen
        for film in page.locator(".stage, .nofilm").all():
            assert film.evaluate("film => getComputedStyle(film).backgroundColor") == "rgb(0, 0, 0)", screen

    page.emulate_media(reduced_motion="reduce")  # nothing is measured while it fades in or out
    for screen in screens(page):
        if screen == "empty" and choice == "light":
            choose_light(page)
        assert ground_of(page) == (LIGHT if choice == "light" else DARK)
        check(screen)
        if screen == "empty":
            page.get_by_role("button", name="Privacy").click()
            check("privacy")
            page.keyboard.press("Escape")
        if screen == "verdict":
            assert len(mark_contrasts(page)) == 2, "the bar's parts"
            page.keyboard.press("Tab")  # from here on, what has the focus shows it
            for each in (".stage", ".list button", "[data-go=next]", ".row button", ".links button"):
                page.locator(each).first.focus()
                assert len(mark_contrasts(page)) == 3, "there is no frame"
                check(f"focus on {each}")
            page.keyboard.press("h")
            page.get_by_text("About this film").click()
            page.get_by_text("Report text").click()
            page.locator("table.tags").wait_for()
            check("expanded")
            page.keyboard.press("?")
            check("keys")
            page.keyboard.press("Escape")
            page.get_by_role("button", name="Disagree").click()
            page.get_by_text("You disagree:").wait_for()
            page.keyboard.press("b")
            page.get_by_role("button", name="Done").wait_for()
            check("drawing")
            page.get_by_role("button", name="What it can and cannot do").click()
            check("limits")
            page.keyboard.press("Escape")
            page.get_by_role("button", name="Clear all films").click()
            page.get_by_role("button", name="Delete all").wait_for()
            check("clear")
            page.keyboard.press("Escape")


def test_the_contrast_of_a_text_is_what_it_is(browser):
    page = browser.new_context().new_page()
    page.set_content(
        "<body style='background:#fff'><p style='color:#767676'>just</p><p style='color:#777'>not</p>"
        "<div style='background:#0008'><p style='color:#fff8'>twice</p></div></body>"
    )
    just, below, twice = [ratio for ratio, _ in contrasts(page)]
    assert just == pytest.approx(4.54, abs=0.01)
    assert below == pytest.approx(4.48, abs=0.01)
    assert twice == pytest.approx(2.45, abs=0.01)
    page.context.close()


@pytest.mark.parametrize("how", ["system", "address", "saved"])
def test_the_page_is_dark_until_its_reader_chooses_otherwise(browser, address, how):
    context = browser.new_context(color_scheme="light" if how == "system" else "dark")
    if how == "saved":
        context.add_init_script("localStorage.setItem('stActiveTheme-/-v2', JSON.stringify('Light'))")
    page = context.new_page()
    page.goto(address + ("/?embed_options=light_theme" if how == "address" else ""))
    page.get_by_test_id("stFileUploaderDropzone").wait_for()
    assert ground_of(page) == DARK
    assert [each for each in contrasts(page) if each[0] < 4.5] == []
    context.close()


@pytest.mark.thorough
def test_the_first_visit_is_dark_too_where_a_host_runs_the_entry_as_a_script(browser):
    with running_server(ROOT / "hosts" / "community-cloud" / "streamlit_app.py") as server:
        page = open_page(browser, server.address, color_scheme="light")
        until(lambda: ground_of(page) == DARK, 20)
        page.context.close()


def test_the_choice_of_light_keeps_the_films_and_lasts(page, address):
    drop(page, ("film.dcm", dicom_of(simulated_film())))
    all_read(page, 1)
    page.locator(".stage[data-film]").wait_for()
    film = page.locator(".stage").get_attribute("data-film")
    page.locator(".stage").evaluate("stage => { stage.before = true; }")
    choose_light(page)
    assert page.locator(".stage").evaluate("stage => stage.before")
    assert page.locator(".stage").get_attribute("data-film") == film
    assert films_of(page).count() == 1

    page.goto(address)
    page.get_by_role("button", name="Dark page").wait_for()
    assert ground_of(page) == LIGHT
    page.get_by_role("button", name="Dark page").click()
    page.get_by_role("button", name="Light page").wait_for()
    until(lambda: ground_of(page) == DARK, 10)
    assert {cookie["name"] for cookie in page.context.cookies()} == {"_streamlit_xsrf"}


_MOVING = """() => {
  const found = [];
  const long = (times) => times.split(",").some((time) => parseFloat(time) > 0.001);
  const walk = (root) => {
    for (const each of root.querySelectorAll("*")) {
      if (each.shadowRoot) walk(each.shadowRoot);
      const { transitionDuration, animationName, animationDuration } = getComputedStyle(each);
      if (long(transitionDuration) || (animationName !== "none" && long(animationDuration)))
        found.push(each.outerHTML.slice(0, 80));
    }
  };
  walk(document.body);
  return found;
}"""


@pytest.mark.thorough
def test_nothing_moves_for_a_reader_who_asked_for_that(browser, address):
    page = open_page(browser, address, reduced_motion="reduce")
    for screen in screens(page):
        assert page.evaluate(_MOVING) == [], screen
    page.emulate_media(reduced_motion="no-preference")
    assert page.evaluate(_MOVING), "this would be seen"
    page.context.close()


@pytest.mark.thorough
def test_the_text_size_of_the_browser_counts_and_everything_stays_in_reach(browser, address):
    large = browser.browser_type.launch(executable_path=CHROMIUM, args=[*QUIET, "--blink-settings=defaultFontSize=32"])
    page = open_page(large, address)
    assert page.evaluate("getComputedStyle(document.documentElement).fontSize") == "28px"
    page.get_by_role("button", name="Large pneumothorax").click()
    page.get_by_role("heading", name="Pneumothorax flagged").wait_for()
    page.locator(".stage[data-film]").wait_for()
    assert page.evaluate(_TOO_WIDE) == []
    assert page.locator(".stage").bounding_box()["height"] > 250
    last = page.get_by_role("button", name="Tour of the keys")
    last.scroll_into_view_if_needed()
    box = last.bounding_box()
    assert 0 <= box["y"] <= 800 - box["height"]
    assert 0 <= box["x"] <= 1280 - box["width"]
    large.close()


@pytest.mark.thorough
def test_on_a_phone_the_verdict_is_on_the_first_screen(browser, address):
    page = open_page(browser, address, viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    for number in range(6):
        drop(page, (f"{number}.dcm", dicom_of(simulated_film()) if number == 0 else broken_dicom()))
        all_read(page, number + 1)
    page.locator(".stage[data-film]").wait_for()
    page.locator("[data-go=close]").click()
    verdict = page.get_by_role("heading", name="Pneumothorax flagged")
    until(lambda: verdict.bounding_box()["y"] + verdict.bounding_box()["height"] < 844, 10)
    page.context.close()

"""The texts about the page: their figures are the manifest's, and what they say of the browser is so."""

import re

import cv2
import pytest

from ptx_app.inference.decide import border
from ptx_app.model.manifest import Weights, load_manifest
from ptx_app.ui.about_texts import limits, privacy
from tests.support.films import dicom_of, simulated_film
from tests.support.serving import CHROMIUM, NO_CHROMIUM, all_read, drop, open_again, open_page, until

needs_browser = pytest.mark.skipif(not CHROMIUM, reason=NO_CHROMIUM)


@pytest.fixture
def weights() -> Weights:
    return load_manifest().entry()


def words(html: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", html).split())


def test_the_figures_are_those_of_the_manifest(weights):
    said, figures = words(limits(weights)), weights.figures["validation_films"]
    for name, point in ((point.name.capitalize(), point) for point in weights.operating_points):
        found, passed = point.sensitivity * point.positives, point.specificity * (point.films - point.positives)
        default = " (default)" if point.name == weights.default_operating_point else ""
        assert f"{name}{default} {found:.0f} of {point.positives} (" in said
        assert f"{passed:.0f} of {point.films - point.positives} (" in said
    assert "AUC {:.3f} ({:.3f} to {:.3f})".format(figures.auc, *figures.auc_interval) in said
    assert f"Mean Dice {figures.dice_positive:.3f}" in said
    assert weights.name in said


def test_other_weights_have_other_figures(weights):
    point = weights.operating_point().model_copy(update={"sensitivity": 0.5, "sensitivity_interval": (0.4, 0.6)})
    figures = weights.figures["validation_films"].model_copy(update={"auc": 0.777, "auc_interval": None})
    other = weights.model_copy(update={"operating_points": (point,), "figures": {"validation_films": figures}})
    said = words(limits(other))
    half = point.positives // 2
    assert f"{half} of {point.positives} (40 % to 60 %)" in said
    assert f"{half} of {point.positives} films with a pneumothorax were missed" in said
    assert "AUC 0.777:" in said


def test_weights_that_were_not_measured_say_so(weights):
    nothing = dict.fromkeys(
        (
            "sensitivity",
            "specificity",
            "sensitivity_interval",
            "specificity_interval",
            "films",
            "positives",
            "measured_on",
        )
    )
    point = weights.operating_point().model_copy(update=nothing)
    said = words(limits(weights.model_copy(update={"operating_points": (point,), "figures": {}})))
    assert "No figures were measured for these weights." in said
    assert "were missed" not in said
    assert "AUC" not in said


def test_text_of_a_manifest_is_no_html(weights):
    assert "<script>" not in limits(weights.model_copy(update={"provenance": "<script>x()</script>"}))


def test_the_named_borderline_scores_are_of_the_default_operating_point(weights):
    lowest, highest = border(weights.operating_point().score)
    assert f"At “{weights.default_operating_point}” these are scores from {lowest:.3f} to {highest:.3f}." in words(
        limits(weights)
    )


def test_privacy_says_how_long_and_warns_on_a_public_host():
    private, public = (
        words(privacy(60, public=False, answers_saved=False)),
        words(privacy(45, public=True, answers_saved=True)),
    )
    assert "at most 60 seconds" in private
    assert "at most 45 seconds" in public
    assert "Do not upload identifiable films" in public
    assert "Do not upload identifiable films" not in private
    assert "Keep the patient’s header" in private
    assert "Keep the patient’s header" not in public  # which has no such switch
    assert "leaves their names out" in public
    assert "puts it into the table" in private
    assert "archive" not in private
    assert "Nothing is stored in the archive unless you are asked" in words(privacy(60, public=False, archive=True))


@needs_browser
def test_a_text_opens_over_the_films_and_leaves_them_as_they_are(page):
    pixels = cv2.resize(simulated_film(), (800, 850), interpolation=cv2.INTER_AREA)
    films = [(f"film-{number}.dcm", dicom_of(pixels)) for number in range(6)]
    drop(page, *films)
    page.locator(".stage[data-film]").wait_for()
    opener = page.get_by_role("button", name="What it can and cannot do")
    opener.click()
    text = page.get_by_role("dialog", name="What it can and cannot do")
    assert load_manifest().entry().name in text.inner_text()
    text.evaluate("dialog => { dialog.scrollTop = 300; }")
    all_read(page, 6)
    film, window = page.locator(".stage").get_attribute("data-film"), page.locator("[data-say=window]").inner_text()
    for key in ("j", "ArrowRight", "i", "2", "?"):
        page.keyboard.press(key)
    assert text.is_visible(), "the page was drawn again while films were read"
    assert text.evaluate("dialog => dialog.scrollTop") > 0
    assert page.get_by_role("dialog").count() == 1
    page.keyboard.press("Escape")
    text.wait_for(state="hidden")
    assert opener.evaluate("button => button.getRootNode().activeElement === button")
    assert page.locator(".stage").get_attribute("data-film") == film
    assert page.locator("[data-say=window]").inner_text() == window
    page.keyboard.press("j")
    until(lambda: page.locator(".stage").get_attribute("data-film") not in (film, None), 30)
    for close in (lambda: text.get_by_role("button", name="Close").click(), lambda: page.mouse.click(5, 5)):
        opener.click()
        text.wait_for()
        close()
        text.wait_for(state="hidden")


@needs_browser
def test_the_browser_keeps_what_the_privacy_text_says_and_no_more(page):
    drop(page, ("secret-name.dcm", dicom_of(simulated_film())))
    all_read(page, 1)
    page.locator(".stage[data-film]").wait_for()
    page.locator("[data-go=close]").click()
    assert {cookie["name"] for cookie in page.context.cookies()} == {"_streamlit_xsrf"}
    kept = page.evaluate("() => ({ long: { ...localStorage }, tab: { ...sessionStorage } })")
    assert set(kept["tab"]) == {"ptx-tour-closed"}
    # what the graphics card can do, the level of a library's log, Streamlit's theme
    assert set(kept["long"]) <= {"cornerstone3D.renderingCapabilities", "loglevel", "stActiveTheme-/-v2"}
    assert "secret-name" not in str(kept)
    assert page.evaluate("indexedDB.databases()") == []


@needs_browser
def test_the_tour_comes_once_goes_on_when_a_step_was_tried_and_comes_again_on_request(tab, address):
    page = open_again(tab, address)
    tour = page.get_by_role("region", name="Tour of the viewer")
    assert tour.count() == 0, "there is no film yet"
    page.get_by_role("button", name="Normal film").click()
    page.locator(".stage[data-film]").wait_for()
    tour.wait_for()
    step, stage = tour.get_by_role("status"), page.locator(".stage")
    with_tour = stage.bounding_box()["height"]
    assert tour.bounding_box()["y"] >= stage.bounding_box()["y"] + with_tour, "the tour lies on the film"
    assert page.evaluate("document.querySelector('[data-testid=stMain]').scrollHeight") <= 800
    said = [step.inner_text()]
    page.get_by_role("button", name="Next", exact=True).focus()
    for _ in range(4):
        page.keyboard.press("Enter")
        until(lambda: step.inner_text() != said[-1], 10)
        said.append(step.inner_text())
    assert [text.partition(" of ")[0] for text in said] == ["1", "2", "3", "4", "5"]
    for number, key in enumerate(("Drag", "Wheel", "Hold U", "J and K", "?")):
        assert key in said[number]
    page.keyboard.press("Enter")  # the focus has moved on to Close
    until(lambda: tour.count() == 0, 10)
    until(lambda: stage.bounding_box()["height"] > with_tour, 10)

    page.reload()
    page.get_by_role("button", name="Normal film").click()
    page.locator(".stage[data-film]").wait_for()
    page.get_by_role("button", name="Tour of the keys").wait_for()
    assert tour.count() == 0
    page.get_by_role("button", name="Tour of the keys").click()
    assert step.inner_text().startswith("1 of 5")
    box = stage.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.wheel(0, -100)  # not what this step is about
    page.keyboard.press("f")
    assert step.inner_text().startswith("1 of 5")
    page.mouse.down()
    page.mouse.move(x + 20, y)
    page.mouse.up()
    until(lambda: step.inner_text().startswith("2 of 5"), 10)
    page.mouse.wheel(0, -100)
    until(lambda: step.inner_text().startswith("3 of 5"), 10)
    page.keyboard.press("u")
    until(lambda: step.inner_text().startswith("4 of 5"), 10)
    page.keyboard.press("j")
    until(lambda: step.inner_text().startswith("5 of 5"), 10)
    page.keyboard.press("j")
    assert step.inner_text().startswith("5 of 5")
    page.get_by_role("button", name="Close", exact=True).press("Escape")
    until(lambda: tour.count() == 0, 10)

    page.keyboard.press("?")
    keys = page.get_by_role("dialog", name="Keys and gestures")
    keys.get_by_role("button", name="Tour of the keys").click()
    keys.wait_for(state="hidden")
    tour.wait_for()
    assert step.inner_text().startswith("1 of 5")


@needs_browser
def test_the_tour_names_gestures_where_there_is_no_mouse(browser, address):
    page = open_page(browser, address, viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    page.get_by_role("button", name="Normal film").tap()
    tour = page.get_by_role("region", name="Tour of the viewer")
    tour.wait_for()
    assert "One finger" in tour.get_by_role("status").inner_text()
    for name in ("Next", "Close"):
        box = tour.get_by_role("button", name=name).bounding_box()
        assert min(box["width"], box["height"]) >= 44
    page.context.close()

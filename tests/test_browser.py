"""The page in a real browser against a real server."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.support.films import broken_dicom, dicom_of, simulated_film
from tests.support.serving import CHROMIUM, NO_CHROMIUM, drop, until

pytestmark = pytest.mark.skipif(not CHROMIUM, reason=NO_CHROMIUM)


@pytest.fixture(scope="module")
def film() -> bytes:
    return dicom_of(cv2.resize(simulated_film(), (1000, 1062), interpolation=cv2.INTER_AREA))


def downloaded(page, label: str) -> bytes:
    with page.expect_download() as caught:
        page.get_by_role("button", name=label).click()
    return Path(caught.value.path()).read_bytes()


def test_a_dropped_dicom_is_outlined_and_the_downloads_are_right(page, film):
    drop(page, ("film.dcm", film))
    page.get_by_role("heading", name="Pneumothorax flagged").wait_for()
    page.locator('.stage[data-film][data-size="1000 × 1062"]').wait_for()

    mask = cv2.imdecode(np.frombuffer(downloaded(page, "Mask PNG"), np.uint8), cv2.IMREAD_UNCHANGED)
    overlay = cv2.imdecode(np.frombuffer(downloaded(page, "Overlay PNG"), np.uint8), cv2.IMREAD_COLOR)
    result = json.loads(downloaded(page, "Result JSON"))
    assert mask.shape == (1062, 1000)
    assert set(np.unique(mask)) == {0, 255}
    assert overlay.shape == (1062, 1000, 3)
    assert result["area_share"] == pytest.approx((mask > 0).mean(), abs=1e-5)
    line = (overlay == (0, 176, 255)).all(axis=2)
    assert line.any()
    assert not (line & (mask > 0)).any()

    words = page.locator(".verdict")
    was = words.inner_text()
    slider = page.get_by_role("slider", name="Mask threshold")
    slider.focus()
    slider.press("PageUp")
    until(lambda: words.inner_text() != was, 30)
    smaller = cv2.imdecode(np.frombuffer(downloaded(page, "Mask PNG"), np.uint8), cv2.IMREAD_UNCHANGED)
    assert (smaller > 0).sum() < (mask > 0).sum()


def test_many_files_are_a_strip_and_a_bad_one_is_a_sentence(page, film):
    drop(page, ("film.dcm", film), ("broken.dcm", broken_dicom()), ("note.txt", b"a shopping list"))
    items = page.get_by_role("group", name="Films of this visit").get_by_role("button")
    items.nth(2).wait_for()
    items.nth(1).click()
    page.get_by_role("alert").wait_for()
    assert "Traceback" not in page.content()
    page.locator("body").press("ArrowRight")
    page.get_by_text("FORMAT_UNKNOWN").wait_for()
    page.locator("body").press("ArrowLeft")
    page.locator("body").press("ArrowLeft")
    page.get_by_role("heading", name="Pneumothorax flagged").wait_for()
    page.get_by_role("button", name="Clear all films").click()
    page.get_by_role("button", name="Delete all").click()
    page.get_by_text("No film at hand?").wait_for()


def test_an_example_is_one_click_away_and_fits_a_laptop_without_scrolling(page):
    page.get_by_role("button", name="Large pneumothorax").click()
    page.get_by_role("heading", name="Pneumothorax flagged").wait_for()
    page.locator(".stage[data-film]").wait_for()
    for scroller in ("document.scrollingElement", "document.querySelector('[data-testid=stMain]')"):
        assert page.evaluate(f"{scroller}.scrollHeight") <= 800
    stage = page.locator(".stage").bounding_box()
    assert stage["width"] > 0.6 * 1280
    assert stage["height"] > 0.7 * 800
    assert page.get_by_role("note").get_by_text("Not a medical device").is_visible()
    assert page.get_by_test_id("stToolbar").count() == 0 or not page.get_by_test_id("stToolbar").is_visible()

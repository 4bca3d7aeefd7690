"""The viewer's brush in a real browser: what is drawn is what arrives, by mouse, pen and fingers."""

import io
import zipfile
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import pytest

from ptx_app.film import read_film
from ptx_app.film.examples import EXAMPLES
from tests.support.films import dicom_of, simulated_film
from tests.support.serving import CHROMIUM, NO_CHROMIUM, PATIENCE, downloaded, open_again, until
from tests.test_viewer import SHAPE, another_point, canvas, drag, middle, opened, press, settled, window, zoom

pytestmark = pytest.mark.skipif(not CHROMIUM, reason=NO_CHROMIUM)

RADIUS = 10
# Of a stroke, from the middle of the stage in px: on the patient's right, where the model finds nothing.
FROM, TO = (-120, -60), (-60, 40)


@pytest.fixture(scope="module")
def film() -> bytes:
    return dicom_of(cv2.resize(simulated_film(), SHAPE[::-1], interpolation=cv2.INTER_AREA))


@pytest.fixture(scope="module")
def clear_film() -> bytes:
    """Not flagged."""
    normal = next(example for example in EXAMPLES if example.name == "normal").load(read_film)
    return dicom_of(cv2.resize(normal.pixels, SHAPE[::-1], interpolation=cv2.INTER_AREA))


def resize_brush(page: Any) -> None:
    size = page.locator("[data-set=size]")
    size.evaluate(f"input => {{ input.value = {RADIUS}; input.dispatchEvent(new Event('input')); }}")
    settled(page)


def ready(page: Any, *films: bytes) -> None:
    """At 1:1, with a brush of 10 px of the film, and nothing drawn yet."""
    opened(page, *films)
    press(page, "b")
    press(page, "a")
    assert zoom(page) == 100
    resize_brush(page)


def stroke(page: Any, start: tuple[float, float] = FROM, end: tuple[float, float] = TO) -> None:
    x, y = middle(page)
    page.mouse.move(x + start[0], y + start[1])
    page.mouse.down()
    page.mouse.move(x + end[0], y + end[1], steps=5)
    page.mouse.up()
    settled(page)


def painted(page: Any) -> np.ndarray:
    """The pixels whose centre is within the brush of the stroke, from where the film is on the screen at 1:1."""
    box = page.locator(".stage").bounding_box()
    size = canvas(page, "film").shape
    x, y = middle(page)
    left, top = box["x"] + (size[1] - SHAPE[1]) // 2, box["y"] + (size[0] - SHAPE[0]) // 2
    a, b = (np.array([x + dx - left, y + dy - top]) for dx, dy in (FROM, TO))
    rows, columns = np.indices(SHAPE)
    centres = np.stack([columns + 0.5, rows + 0.5], axis=-1) - a
    along = np.clip(centres @ (b - a) / ((b - a) @ (b - a)), 0, 1)
    return np.hypot(*np.moveaxis(centres - along[..., None] * (b - a), -1, 0)) <= RADIUS


def done(page: Any) -> np.ndarray:
    """Press Done, and take the mask from the download for training."""
    page.get_by_role("button", name="Done").click()
    page.get_by_text("Your contour: ").wait_for()
    return for_training(page)


def for_training(page: Any) -> np.ndarray:
    with zipfile.ZipFile(io.BytesIO(downloaded(page, "For training"))) as archive:
        name = max(name for name in archive.namelist() if name.startswith("masks/"))
        return cv2.imdecode(np.frombuffer(archive.read(name), np.uint8), cv2.IMREAD_UNCHANGED) > 0


def models(page: Any) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(downloaded(page, "Mask PNG"), np.uint8), cv2.IMREAD_UNCHANGED) > 0


def differing(first: np.ndarray, second: np.ndarray) -> int:
    """Pixels that differ. 2 may where they come from the model's contour: OpenCV rounds the last bits differently."""
    return int(np.count_nonzero(first != second))


def bar(page: Any) -> Any:
    return page.get_by_role("toolbar", name="Your contour")


def show(page: Any, key: str, name: str) -> None:
    page.keyboard.press(key)
    page.get_by_text(name).first.wait_for()
    page.locator(".stage[data-film]").wait_for()
    settled(page)


def test_a_stroke_arrives_pixel_by_pixel_and_starts_from_the_models_contour(page, film):
    ready(page, film)
    expected = painted(page)
    stroke(page)
    arrived, model = done(page), models(page)
    assert model.any()
    assert not (model & expected).any()
    assert expected.sum() > 2000
    assert differing(arrived, model | expected) <= 2
    assert not bar(page).is_visible()
    seen = canvas(page, "overlay")
    assert ((seen[..., 0] > 240) & (seen[..., 1] > 190) & (seen[..., 2] < 110)).any(), (
        "the reader's contour is not shown"
    )
    assert page.locator(".list .answer").inner_text() == "✎"


def test_the_eraser_undo_and_cancel(page, film):
    ready(page, film)
    start = canvas(page, "overlay")
    undo = bar(page).get_by_role("button", name="Undo")
    assert undo.is_disabled()
    stroke(page)
    drawn = canvas(page, "overlay")
    assert not np.array_equal(drawn, start)
    press(page, "e")
    stroke(page)
    assert np.array_equal(canvas(page, "overlay"), start), "what was drawn is not erased"
    press(page, "Control+z")
    assert np.array_equal(canvas(page, "overlay"), drawn)
    undo.click()
    settled(page)
    assert np.array_equal(canvas(page, "overlay"), start)
    press(page, "e")
    stroke(page)
    bar(page).get_by_role("button", name="Cancel").click()
    settled(page)
    assert not bar(page).is_visible()
    assert page.get_by_role("button", name="For training").count() == 0
    press(page, "b")
    press(page, "a")
    assert np.array_equal(canvas(page, "overlay"), start), "a cancelled drawing came back"


def test_the_page_asks_to_draw_and_the_contour_stays_with_its_film(page, film, clear_film):
    opened(page, film, clear_film)
    page.get_by_role("button", name="Adjust contour").click()
    bar(page).wait_for()
    until(lambda: page.locator(".stage").get_attribute("data-mode") == "brush", 10)
    press(page, "a")
    resize_brush(page)
    expected = painted(page)
    stroke(page)
    show(page, "j", "2 · 1.dcm")  # without Done
    assert not bar(page).is_visible()
    show(page, "k", "1 · 0.dcm")
    assert bar(page).is_visible(), "a drawing that was not done is lost"
    arrived, model = done(page), models(page)
    assert differing(arrived, model | expected) <= 2
    another_point(page, "Specific")
    show(page, "j", "2 · 1.dcm")
    show(page, "k", "1 · 0.dcm")
    assert not bar(page).is_visible(), "a wish was granted twice"
    press(page, "b")
    page.get_by_role("button", name="Done").click()
    settled(page)
    assert np.array_equal(for_training(page), arrived), "drawing on does not start from the reader's contour"


@pytest.mark.thorough
def test_a_film_that_is_not_flagged_starts_empty_and_done_without_a_stroke_answers_nothing(page, clear_film):
    ready(page, clear_film)
    page.locator("body").press("d")
    page.get_by_text("You disagree: a pneumothorax.").wait_for()
    page.get_by_role("button", name="Done").click()
    settled(page)
    assert not bar(page).is_visible()
    assert page.get_by_text("You disagree: a pneumothorax.").is_visible()
    press(page, "b")
    press(page, "a")
    expected = painted(page)
    stroke(page)
    assert page.locator(".ring").is_visible()
    assert np.array_equal(done(page), expected)
    assert page.locator(".ring").is_hidden()


@pytest.mark.thorough
def test_a_contour_that_was_erased_says_none(page, clear_film):
    ready(page, clear_film)
    press(page, "a")
    stroke(page)
    press(page, "e")
    stroke(page)
    page.get_by_role("button", name="Done").click()
    page.get_by_text("Your contour is empty: no pneumothorax.").wait_for()


@pytest.mark.thorough
def test_window_zoom_and_size_work_while_drawing(page, film):
    ready(page, film)
    before, start = window(page), canvas(page, "overlay")
    press(page, "w")
    drag(page, 60, 20)
    assert window(page) != before
    assert np.array_equal(canvas(page, "overlay"), start), "windowing drew"
    press(page, "2")
    assert bar(page).is_visible()
    press(page, "b")
    drag(page, 0, -60, "right")
    assert zoom(page) != 100
    press(page, "f")
    press(page, "a")
    size = page.locator("[data-set=size] + output")
    press(page, "]")
    assert float(size.inner_text().split()[0]) > 2 * RADIUS
    press(page, "[")
    assert size.inner_text() == f"{2 * RADIUS} px"
    expected = painted(page)
    x, y = middle(page)
    page.mouse.dblclick(x + FROM[0], y + FROM[1])
    assert zoom(page) == 100, "two quick dots fitted the film"
    press(page, "Control+z")
    press(page, "Control+z")
    stroke(page)
    press(page, "Enter")
    page.get_by_text("Your contour: ").wait_for()
    assert differing(for_training(page), models(page) | expected) <= 2


@pytest.mark.thorough
def test_zooming_in_draws_finer(page, clear_film):
    ready(page, clear_film)
    page.mouse.move(*middle(page))
    while zoom(page) < 350:
        press(page, "+")
    larger = zoom(page) / 100
    page.mouse.down()
    page.mouse.up()
    assert int(done(page).sum()) == pytest.approx(np.pi * (RADIUS / larger) ** 2, rel=0.2)


def pen(page: Any, points: list[tuple[float, float]]) -> None:
    device = page.context.new_cdp_session(page)
    kinds = ["mousePressed", *["mouseMoved"] * (len(points) - 1), "mouseReleased"]
    for kind, (x, y) in zip(kinds, [*points, points[-1]], strict=True):
        device.send(
            "Input.dispatchMouseEvent",
            {"type": kind, "x": x, "y": y, "pointerType": "pen", "button": "left", "buttons": 1, "clickCount": 1},
        )
    settled(page)


def fingers(page: Any, *steps: list[tuple[float, float]]) -> None:
    """What touches the screen at each step; the fingers are lifted at the end."""
    device, before = page.context.new_cdp_session(page), 0
    for points in [*steps, []]:
        kind = "touchStart" if len(points) > before else "touchMove" if points else "touchEnd"
        where = [{"x": x, "y": y, "id": number} for number, (x, y) in enumerate(points)]
        device.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": where})
        before = len(points)
        settled(page)


def line(page: Any) -> list[tuple[float, float]]:
    x, y = middle(page)
    return [tuple((np.add((x, y), FROM) + np.subtract(TO, FROM) * step / 5).tolist()) for step in range(6)]


@pytest.fixture(scope="module")
def touched(browser) -> Iterator[Any]:
    """A tab of a screen that can be touched."""
    tab = browser.new_context(has_touch=True).new_page()
    tab.set_default_timeout(PATIENCE)
    yield tab
    tab.context.close()


@pytest.mark.parametrize("how", [pytest.param("pen", marks=pytest.mark.thorough), "finger"])
def test_pen_and_finger_draw(touched, address, clear_film, how):
    page = open_again(touched, address)
    ready(page, clear_film)
    if how == "pen":
        pen(page, line(page))
    else:
        fingers(page, *[[point] for point in line(page)])
    expected = painted(page)
    assert np.array_equal(done(page), expected)


@pytest.mark.thorough
def test_the_pens_eraser_erases(page, clear_film):
    ready(page, clear_film)
    start = canvas(page, "overlay")
    stroke(page)
    # Chromium cannot play an eraser from outside, so its events are made.
    page.locator(".stage").evaluate(
        """(stage, points) => {
          stage.setPointerCapture = () => undefined;
          const eraser = { pointerType: "pen", pointerId: 9, isPrimary: true, button: 5, buttons: 32, bubbles: true };
          const say = (type, [clientX, clientY]) =>
            stage.dispatchEvent(new PointerEvent(type, { ...eraser, clientX, clientY }));
          say("pointerdown", points[0]);
          for (const point of points) say("pointermove", point);
          say("pointerup", points.at(-1));
        }""",
        [list(point) for point in line(page)],
    )
    settled(page)
    assert np.array_equal(canvas(page, "overlay"), start)


def test_two_fingers_zoom_and_draw_nothing(touched, address, clear_film):
    page = open_again(touched, address)
    ready(page, clear_film)
    x, y = middle(page)
    apart = [[(x - 40 - 15 * step, y), (x + 40 + 15 * step, y)] for step in range(6)]
    fingers(page, [(x - 40, y)], *apart)
    assert zoom(page) > 120
    assert not canvas(page, "overlay").any()
    assert page.get_by_role("button", name="Undo", exact=True).first.is_disabled(), "there is no stroke"


@pytest.mark.thorough
def test_strokes_on_a_large_film_are_drawn_and_undone(page):
    large = cv2.resize(simulated_film(), (2500, 3000), interpolation=cv2.INTER_AREA)
    opened(page, dicom_of(large))
    press(page, "b")
    start = canvas(page, "overlay")
    for number in range(4):
        stroke(page, (-100 + 10 * number, -80), (-90 + 10 * number, 60))
    assert not np.array_equal(canvas(page, "overlay"), start)
    for _ in range(4):
        press(page, "Control+z")
    until(lambda: np.array_equal(canvas(page, "overlay"), start), 10)

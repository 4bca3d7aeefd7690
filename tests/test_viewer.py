"""The viewer in a real browser: its keys and gestures, and the pixels that they give."""

import base64
import re
import shutil
import subprocess
import urllib.request
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from ptx_app.film import read_film
from ptx_app.film.radiograph import grey_picture
from ptx_app.model.manifest import ROOT, load_manifest
from tests.support.films import dicom_of, simulated_film
from tests.support.serving import CHROMIUM, NO_CHROMIUM, all_read, drop, settled, until

SOURCES, ASSETS = ROOT / "viewer", ROOT / "ptx_app" / "ui" / "assets"
needs_browser = pytest.mark.skipif(not CHROMIUM, reason=NO_CHROMIUM)
SHAPE = 440, 400


@pytest.mark.skipif(
    not shutil.which("node") or not (SOURCES / "node_modules").is_dir(),
    reason="node or the viewer's packages are missing: run `npm ci` in the folder viewer",
)
def test_the_bundle_is_what_the_sources_build(tmp_path):
    subprocess.run(["node", "build.mjs", str(tmp_path)], cwd=SOURCES, check=True, capture_output=True)
    built = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert built == {path.name: path.read_bytes() for path in ASSETS.iterdir()}


@pytest.fixture(scope="module")
def films() -> dict[str, bytes]:
    """A flagged film of 12 bits with a window, its spacing at the detector; without spacing; with a sigmoid."""
    film = cv2.resize(simulated_film(), SHAPE[::-1], interpolation=cv2.INTER_AREA)
    twelve = {"BitsStored": 12, "HighBit": 11, "WindowCenter": 2200, "WindowWidth": 3000}
    levels = np.round(film * 4095) / 65535
    return {
        "measured": dicom_of(levels, **twelve, ImagerPixelSpacing=[0.75, 0.75]),
        "bare": dicom_of(levels, **twelve),
        "doubtful": dicom_of(levels, **twelve, ImagerPixelSpacing=[0.01, 0.01]),
        "sigmoid": dicom_of(levels, **twelve, VOILUTFunction="SIGMOID"),
    }


def opened(page, *films: bytes) -> Any:
    drop(page, *((f"{number}.dcm", film) for number, film in enumerate(films)))
    all_read(page, len(films))
    page.locator(".stage[data-film]").wait_for()
    settled(page)
    return page


def press(page, key: str) -> None:
    page.keyboard.press(key)
    settled(page)


def canvas(page, which: str) -> np.ndarray:
    source = page.locator({"film": ".film canvas", "overlay": "canvas.overlay"}[which]).first.evaluate(
        "canvas => canvas.toDataURL()"
    )
    return cv2.imdecode(np.frombuffer(base64.b64decode(source.partition(",")[2]), np.uint8), cv2.IMREAD_UNCHANGED)


def shown(page) -> np.ndarray:
    """The film's pixels on the screen at 1:1, as grey."""
    grey = canvas(page, "film")[..., 0]
    top, left = (grey.shape[0] - SHAPE[0]) // 2, (grey.shape[1] - SHAPE[1]) // 2
    return grey[top : top + SHAPE[0], left : left + SHAPE[1]].astype(int)


def said(page, what: str) -> str:
    return page.locator(f"[data-say={what}]").inner_text()


def window(page) -> tuple[float, float]:
    centre, width = re.match(r"C (\S+) W (\S+)", said(page, "window")).groups()
    return float(centre.replace("−", "-")), float(width)


def zoom(page) -> float:
    return float(said(page, "zoom").split()[0])


def middle(page) -> tuple[float, float]:
    box = page.locator(".stage").bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def drag(page, dx: float, dy: float, button: str = "left") -> None:
    x, y = middle(page)
    page.mouse.move(x, y)
    page.mouse.down(button=button)
    page.mouse.move(x + dx, y + dy, steps=4)
    page.mouse.up(button=button)
    settled(page)


def under(page) -> tuple[int, int, str]:
    column, row, value = re.match(r"x (\d+) y (\d+) grey (\S+)", said(page, "grey")).groups()
    return int(column), int(row), value


@needs_browser
def test_the_bundle_is_fetched_once_and_kept(page, address, films):
    opened(page, films["bare"])
    (bundle,) = ASSETS.glob("viewer-*.js")
    with urllib.request.urlopen(
        f"{address}/_stcore/bidi-components/ptx_app.viewer/{bundle.name}", timeout=20
    ) as answer:
        assert "immutable" in answer.headers["Cache-Control"]
        assert answer.read() == bundle.read_bytes()


@needs_browser
@pytest.mark.parametrize("name", ["measured", "sigmoid"])
def test_the_headers_own_window_is_the_networks_picture(page, films, name):
    opened(page, films[name])
    press(page, "a")
    assert zoom(page) == 100
    expected = grey_picture(read_film(films[name]).pixels)
    assert np.abs(shown(page) - expected).max() <= 1
    press(page, "5")
    assert np.abs(255 - shown(page) - expected).max() <= 1
    press(page, "1")
    assert np.abs(shown(page) - expected).max() <= 1


@needs_browser
def test_presets_and_invert_are_on_the_keys(page, films):
    opened(page, films["measured"])
    modality = read_film(films["measured"]).modality
    press(page, "a")
    assert window(page) == (2200, 3000)
    assert lit_preset(page) == ["Default1"]
    press(page, "2")
    assert lit_preset(page) == ["Full2"]
    centre, width = window(page)
    assert centre - width / 2 == pytest.approx(modality.lowest, abs=1)
    assert centre + width / 2 == pytest.approx(modality.highest, abs=2)
    full = (modality.levels + modality.intercept - modality.lowest) / (modality.highest - modality.lowest)
    assert np.abs(shown(page) - 255 * full).max() <= 1.5
    press(page, "i")
    assert np.abs(255 - shown(page) - 255 * full).max() <= 1.5
    press(page, "3")
    lung = window(page)
    press(page, "4")
    bone = window(page)
    assert lung[0] < bone[0]
    assert bone[0] > 2200
    assert bone[1] == pytest.approx(0.6 * 3000, abs=2)
    press(page, "i")
    assert lit_preset(page) == [], "another window than any preset"


@needs_browser
@pytest.mark.parametrize(
    ("greys", "tags"),
    [
        ("bright", {}),
        pytest.param("dark", {}, marks=pytest.mark.thorough),
        pytest.param("bright", {"PhotometricInterpretation": "MONOCHROME1"}, marks=pytest.mark.thorough),
        ("bright", {"RescaleSlope": "-2", "RescaleIntercept": "9000", "PhotometricInterpretation": "MONOCHROME1"}),
        ("padded", {"PixelPaddingValue": 0}),
        pytest.param("flat", {}, marks=pytest.mark.thorough),
    ],
)
def test_the_lung_preset_is_fitted_to_the_film_whatever_its_exposure(page, greys, tags):
    film = cv2.resize(simulated_film(), SHAPE[::-1], interpolation=cv2.INTER_AREA)
    made = {"bright": 0.6 + 0.4 * film, "dark": 0.6 * film, "padded": np.maximum(film, 0.01), "flat": 0 * film + 0.5}[
        greys
    ]
    if greys == "padded":
        made[:, :200] = 0
    levels = np.round(made * 4095) / 65535
    data = dicom_of(levels, BitsStored=12, HighBit=11, WindowCenter=2048, WindowWidth=4096, **tags)
    opened(page, data)
    press(page, "3")
    centre, width = window(page)
    radiograph = read_film(data)
    modality = radiograph.modality
    height, across = SHAPE
    top, left = height // 10, across // 10
    middle = np.s_[top : height - top, left : across - left]
    chosen = modality.levels[middle]
    values = modality.slope * chosen[chosen != modality.outside].astype(float) + modality.intercept
    lower, upper = modality.black, modality.white
    shares = (1, 75) if not modality.inverted else (99, 25)
    dark, light = np.clip(np.percentile(values, shares), lower, upper)
    black = np.clip(dark - 0.15 * (light - dark), lower, upper)
    ends = sorted((black, light)) if greys != "flat" else [lower, upper]
    assert (centre - width / 2, centre + width / 2) == pytest.approx(ends, abs=12)
    assert "Lung3" in lit_preset(page)
    if greys == "bright" and "RescaleSlope" not in tags and not modality.inverted:
        assert centre - width / 2 > 0.5 * 4096, "the dark 60 % of the window would show hardly any lung"


def lit_preset(page) -> list[str]:
    return [" ".join(each.split()) for each in page.locator(".presets [aria-pressed=true]").all_inner_texts()]


@needs_browser
def test_a_drag_windows_and_the_greys_follow(page, films):
    opened(page, films["measured"])
    press(page, "a")
    before = shown(page).mean()
    drag(page, 120, 0)
    centre, width = window(page)
    assert width > 3000
    assert centre == pytest.approx(2200, abs=2)
    drag(page, 0, 100)
    assert window(page)[0] > centre
    assert shown(page).mean() < before


@needs_browser
def test_wheel_pinch_and_keys_zoom_at_the_pointer(page, films):
    opened(page, films["measured"])
    fitted = zoom(page)
    x, y = middle(page)
    page.mouse.move(x + 60, y - 90)
    settled(page)
    at = under(page)
    for step in (lambda: page.mouse.wheel(0, -300), lambda: press(page, "+")):
        before = zoom(page)
        step()
        until(lambda: zoom(page) > before, 10)  # noqa: B023  (used at once)
        settled(page)
        assert np.abs(np.subtract(under(page)[:2], at[:2])).max() <= 1
    before = zoom(page)
    press(page, "-")
    assert fitted < zoom(page) < before
    assert np.abs(np.subtract(under(page)[:2], at[:2])).max() <= 1
    press(page, "f")
    assert zoom(page) == fitted
    page.keyboard.down("Control")  # as a trackpad's pinch arrives
    page.mouse.wheel(0, -60)
    page.keyboard.up("Control")
    until(lambda: zoom(page) > fitted, 10)
    drag(page, 0, -80, "right")
    page.mouse.dblclick(x, y)
    until(lambda: zoom(page) == fitted, 10)


@pytest.mark.thorough
@needs_browser
def test_middle_button_shift_and_the_pan_tool_move_the_film(page, films):
    opened(page, films["measured"])
    press(page, "a")
    page.mouse.move(*middle(page))
    settled(page)
    for how in ("middle", "shift", "tool"):
        press(page, "f")
        press(page, "a")
        page.mouse.move(*middle(page))
        settled(page)
        start = under(page)
        if how == "shift":
            page.keyboard.down("Shift")
        if how == "tool":
            press(page, "p")
        drag(page, 40, 25, "middle" if how == "middle" else "left")
        page.keyboard.up("Shift")
        page.mouse.move(*middle(page))
        settled(page)
        assert np.subtract(start[:2], under(page)[:2]) == pytest.approx((40, 25), abs=1), how
        press(page, "Escape")
    assert window(page) == (2200, 3000)


@pytest.mark.thorough
@needs_browser
def test_arrows_with_shift_move_and_with_alt_window_and_neither_leaves_the_film(page, films):
    opened(page, films["measured"], films["bare"])
    where, film = page.url, page.locator(".stage").get_attribute("data-film")
    press(page, "a")
    page.mouse.move(*middle(page))
    settled(page)
    score = page.get_by_role("slider", name="Score threshold")
    score.focus()
    before = score.get_attribute("aria-valuenow")
    start = under(page)
    for key, (right, down) in (("Right", (20, 0)), ("Down", (20, 20)), ("Left", (0, 20)), ("Up", (0, 0))):
        press(page, f"Shift+Arrow{key}")
        assert np.subtract(start[:2], under(page)[:2]) == pytest.approx((right, down), abs=1), key
    assert window(page) == (2200, 3000)
    step = 20 / 600 * (np.ptp(read_film(films["measured"]).modality.levels))
    for key, (centre, width) in (("Right", (0, 1)), ("Down", (1, 1)), ("Left", (1, 0)), ("Up", (0, 0))):
        press(page, f"Alt+Arrow{key}")
        assert window(page) == pytest.approx((2200 + centre * step, 3000 + width * step), abs=2), key
    press(page, "?")
    press(page, "Shift+ArrowRight")
    press(page, "Escape")
    page.mouse.move(2, 2)
    page.mouse.move(*middle(page))
    settled(page)
    assert under(page)[:2] == pytest.approx(start[:2], abs=1), "it moved behind the list of keys"
    assert (score.get_attribute("aria-valuenow"), page.url) == (before, where)
    assert page.locator(".stage").get_attribute("data-film") == film


@needs_browser
def test_fingers_window_pinch_and_move(browser, address, films):
    context = browser.new_context(viewport={"width": 820, "height": 1180}, has_touch=True)
    page = context.new_page()
    page.goto(address)
    page.get_by_test_id("stFileUploaderDropzone").wait_for()
    opened(page, films["measured"])
    x, y = middle(page)
    fingers = context.new_cdp_session(page)

    def touch(kind: str, *points: tuple[float, float]) -> None:
        where = [{"x": px, "y": py, "id": number} for number, (px, py) in enumerate(points)]
        fingers.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": where})
        settled(page)

    touch("touchStart", (x, y))
    for step in range(1, 6):
        touch("touchMove", (x + 25 * step, y))
    touch("touchEnd")
    assert window(page)[1] > 3000
    fitted, (aside, below) = zoom(page), (x + 50, y - 80)
    page.mouse.move(aside, below)
    settled(page)
    at = under(page)
    touch("touchStart", (aside - 40, below), (aside + 40, below))
    for step in range(1, 6):
        touch("touchMove", (aside - 40 - 15 * step, below), (aside + 40 + 15 * step, below))
    touch("touchEnd")
    assert zoom(page) > 1.2 * fitted
    page.mouse.move(aside, below)
    settled(page)
    assert np.abs(np.subtract(under(page)[:2], at[:2])).max() <= 2
    page.get_by_role("button", name="1:1").tap()
    settled(page)
    assert zoom(page) == 100
    page.get_by_role("button", name="Ruler").tap()
    touch("touchStart", (x, y))
    for step in range(1, 6):
        touch("touchMove", (x + 20 * step, y))
    touch("touchEnd")
    length = page.locator(".film svg text").first
    length.wait_for()
    assert " ".join(length.locator("tspan").all_text_contents()) == "75.0 mm at the detector"
    page.get_by_role("button", name="Magnifier").tap()
    touch("touchStart", (x, y))
    glass = page.locator(".magnifyTool canvas")
    glass.wait_for()
    touch("touchEnd")
    until(lambda: glass.count() == 0, 10)
    press(page, "Delete")
    press(page, "Escape")
    assert page.locator(".stage").get_attribute("data-mode") == "window"
    greys = shown(page)
    touch("touchStart", (x - 40, y), (x + 40, y))
    for step in range(1, 6):
        touch("touchMove", (x - 40 + 6 * step, y + 4 * step), (x + 40 + 6 * step, y + 4 * step))
    touch("touchEnd")
    assert zoom(page) == pytest.approx(100, abs=2)
    (right, down), sure = cv2.phaseCorrelate(greys.astype(float), shown(page).astype(float))
    assert (right, down) == pytest.approx((30, 20), abs=8)
    assert sure > 0.3
    context.close()


@needs_browser
def test_the_status_says_the_grey_under_the_pointer(page, films):
    opened(page, films["measured"])
    press(page, "a")
    levels = read_film(films["measured"]).modality
    x, y = middle(page)
    for dx, dy in ((0, 0), (-57, 33), (80, -120)):
        page.mouse.move(x + dx, y + dy)
        settled(page)
        column, row, value = under(page)
        assert float(value) == levels.levels[row, column] + levels.intercept
    page.mouse.move(2, 2)
    settled(page)
    assert said(page, "grey") == ""


@needs_browser
def test_the_overlay_goes_and_comes_and_can_be_looked_under(page, films):
    opened(page, films["measured"])
    contour = canvas(page, "overlay")
    amber = (contour[..., 2] > 240) & (contour[..., 1] > 160) & (contour[..., 0] < 20) & (contour[..., 3] > 240)
    halo = (contour[..., :3].max(axis=2) < 30) & (contour[..., 3] > 120)
    assert amber.any()
    assert halo.any()
    ring = cv2.dilate(amber.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    assert (contour[ring & ~amber][:, 3] > 60).mean() > 0.9, "the halo is not all around the contour"
    press(page, "o")
    assert not canvas(page, "overlay").any()
    press(page, "o")
    assert np.array_equal(canvas(page, "overlay"), contour)
    page.keyboard.down("u")
    settled(page)
    assert not canvas(page, "overlay").any()
    page.keyboard.up("u")
    settled(page)
    assert np.array_equal(canvas(page, "overlay"), contour)
    press(page, "c")
    filled = canvas(page, "overlay")
    assert np.count_nonzero(filled[..., 3]) > 2 * np.count_nonzero(contour[..., 3])
    opaque = np.median(filled[..., 3][(filled[..., 3] > 0) & (contour[..., 3] == 0)])
    assert opaque == pytest.approx(0.45 * 255, abs=2)
    press(page, "[")
    paler = canvas(page, "overlay")
    assert np.median(paler[..., 3][(filled[..., 3] > 0) & (contour[..., 3] == 0)]) == pytest.approx(0.4 * 255, abs=2)
    assert not page.locator(".scale").is_visible()
    press(page, "h")
    assert page.locator(".scale").is_visible()
    assert page.locator(".scale").inner_text().split() == ["1", "0.5", "0"]
    assert not np.array_equal(canvas(page, "overlay"), paler)


@needs_browser
def test_the_other_keys_and_buttons_do_what_they_say(page, films):
    opened(page, films["measured"])
    fitted = zoom(page)
    press(page, "=")
    assert zoom(page) == pytest.approx(1.25 * fitted, abs=1)
    page.get_by_role("button", name="Fit").click()
    settled(page)
    assert zoom(page) == fitted
    page.get_by_role("button", name="1:1").click()
    settled(page)
    assert zoom(page) == 100
    press(page, "r")
    x, y = middle(page)
    for below in (-90, 0, 90):
        page.mouse.move(x, y + below)
        page.mouse.down()
        page.mouse.move(x + 60, y + below, steps=4)
        page.mouse.up()
    ruler = page.locator(".film svg text")
    until(lambda: ruler.count() == 3, 10)
    press(page, "Backspace")
    until(lambda: ruler.count() == 0, 10)
    threshold = page.locator("[data-set=threshold] + output")
    was = float(threshold.inner_text())
    press(page, ",")
    assert float(threshold.inner_text()) == pytest.approx(was - 0.01)
    press(page, ".")
    assert float(threshold.inner_text()) == pytest.approx(was)


@pytest.mark.thorough
@needs_browser
def test_opacity_follows_its_slider_and_key_and_look_under_is_held(page, films):
    opened(page, films["measured"])
    contour = canvas(page, "overlay")[..., 3]
    press(page, "c")
    slider, written = page.locator("[data-set=opacity]"), page.locator("[data-set=opacity] + output")

    def opacity() -> float:
        filled = canvas(page, "overlay")[..., 3]
        return float(np.median(filled[(filled > 0) & (contour == 0)])) / 255

    assert opacity() == pytest.approx(0.45, abs=0.01)
    press(page, "]")
    assert (opacity(), written.inner_text()) == (pytest.approx(0.5, abs=0.01), "50 %")
    slider.fill("20")
    settled(page)
    assert (opacity(), written.inner_text()) == (pytest.approx(0.2, abs=0.01), "20 %")
    page.get_by_role("button", name="Look under").hover()
    page.mouse.down()
    settled(page)
    assert not canvas(page, "overlay").any()
    page.mouse.up()
    settled(page)
    assert opacity() == pytest.approx(0.2, abs=0.01)


_RUNS = """async ([path, threshold, kept]) => {
  const { runsOf, stretched } = await import(path);
  const data = globalThis.ptxFilm, length = new DataView(data.buffer, data.byteOffset, 4).getUint32(0, true);
  const film = JSON.parse(new TextDecoder().decode(data.subarray(4, 4 + length)));
  const at = 4 + length + film.parts[0] + film.parts[1];
  const stream = new Blob([data.slice(at, at + film.parts[2])]).stream();
  const bytes = await new Response(stream.pipeThrough(new DecompressionStream("deflate"))).arrayBuffer();
  const [top, left, bottom, right] = film.field, width = right - left;
  const wide = stretched(new Float32Array(bytes), film.side, width);
  const runs = runsOf(wide, film.side, width, bottom - top, threshold, kept);
  return runs.map(({ row, from, to }) => [row + top, from + left, to + left]);
}"""


@needs_browser
def test_the_threshold_redraws_in_the_browser_and_the_mask_is_the_servers(page, films):
    opened(page, films["measured"])
    before = canvas(page, "overlay")
    threshold = page.locator("[data-set=threshold]")
    threshold.evaluate("input => { input.value = 0.6; input.dispatchEvent(new Event('input')); }")
    settled(page)
    after = canvas(page, "overlay")
    assert not np.array_equal(before, after), "the outline waits for the server"
    threshold.dispatch_event("change")
    words = page.locator(".verdict")
    was = words.inner_text()
    until(lambda: words.inner_text() != was, 30)

    with page.expect_download() as caught:
        page.get_by_role("button", name="Mask PNG").click()
    mask = cv2.imdecode(np.frombuffer(Path(caught.value.path()).read_bytes(), np.uint8), cv2.IMREAD_UNCHANGED) > 0
    (bundle,) = ASSETS.glob("viewer-*.js")
    point = load_manifest().entry().operating_point()
    kept = {
        "smallest": point.smallest_region,
        "surest": point.surest_pixel,
        "relative": point.smallest_relative,
    }
    runs = page.evaluate(_RUNS, [f"/_stcore/bidi-components/ptx_app.viewer/{bundle.name}", 0.6, kept])
    drawn = np.zeros(SHAPE, bool)
    for row, start, end in runs:
        drawn[row, start:end] = True
    assert mask.any()
    assert np.count_nonzero(drawn != mask) <= 2, "OpenCV rounds the last bits differently, no more"
    assert np.array_equal(canvas(page, "overlay"), after), "the page's answer changed what was drawn"
    press(page, ".")
    assert page.locator("[data-set=threshold] + output").inner_text() == "0.61"


@needs_browser
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("measured", "75.0 mm at the detector"),
        ("bare", "100 px no pixel spacing in the file"),
        ("doubtful", "100 px pixel spacing not plausible"),
    ],
)
def test_the_ruler_is_in_mm_only_where_spacing_can_be_believed(page, films, name, expected):
    opened(page, films[name])
    press(page, "a")
    press(page, "r")
    drag(page, 100, 0)
    label = page.locator(".film svg text")
    until(lambda: label.count() > 0, 10)
    assert " ".join(label.first.locator("tspan").all_text_contents()) == expected
    press(page, "Delete")
    until(lambda: label.count() == 0, 10)
    assert window(page) == (2200, 3000)


@needs_browser
def test_the_magnifier_is_there_while_the_button_is_down(page, films):
    opened(page, films["sigmoid"])
    press(page, "m")
    x, y = middle(page)
    page.mouse.move(x, y)
    page.mouse.down()
    glass = page.locator(".magnifyTool canvas")
    glass.wait_for()
    page.mouse.move(x + 20, y, steps=3)
    settled(page)
    box, stage = glass.bounding_box(), page.locator(".stage").bounding_box()
    assert (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2) == pytest.approx((x + 20, y), abs=2)
    source = glass.evaluate("canvas => canvas.toDataURL()").partition(",")[2]
    seen = cv2.imdecode(np.frombuffer(base64.b64decode(source), np.uint8), cv2.IMREAD_GRAYSCALE)
    # What is under the pointer is in its middle, three times as large.
    left, top, half = round(x + 20 - stage["x"]), round(y - stage["y"]), round(box["width"] / 6)
    around = canvas(page, "film")[top - half : top + half, left - half : left + half, 0]
    enlarged = cv2.resize(around, seen.shape[::-1], interpolation=cv2.INTER_LINEAR)
    assert np.corrcoef(enlarged.ravel(), seen.ravel())[0, 1] > 0.95
    # It covers the overlay, whose contour is not enlarged.
    page.locator(".overlay").evaluate("overlay => { overlay.style.pointerEvents = 'auto'; }")
    top = "(stage, [x, y]) => stage.getRootNode().elementsFromPoint(x, y).map((each) => each.className)"
    order = page.locator(".stage").evaluate(top, [x, y])
    lens = next(place for place, name in enumerate(order) if "magnifyTool" in name)
    assert lens < order.index("overlay")
    page.mouse.up()
    until(lambda: glass.count() == 0, 10)


def current(page) -> str:
    return page.locator("[aria-current=true]").inner_text()


@needs_browser
def test_the_film_changes_by_key_wherever_the_focus_is(page, films):
    opened(page, films["measured"], films["bare"])
    first = page.locator(".stage").get_attribute("data-film")
    opacity = page.locator("[data-set=opacity]")
    score = page.get_by_role("slider", name="Score threshold")
    for focus, key, back in ((opacity, "ArrowRight", "ArrowLeft"), (score, "j", "k"), (score, "ArrowRight", "k")):
        values = opacity.input_value(), score.get_attribute("aria-valuenow")
        focus.focus()
        page.keyboard.press(key)
        until(lambda: page.locator(".stage").get_attribute("data-film") not in (first, None), 30)
        until(lambda: current(page).startswith("2"), 30)
        focus.focus()
        page.keyboard.press(back)
        until(lambda: page.locator(".stage").get_attribute("data-film") == first, 30)
        until(lambda: current(page).startswith("1"), 30)
        assert (opacity.input_value(), score.get_attribute("aria-valuenow")) == values


@needs_browser
def test_question_mark_shows_the_keys(page, films):
    opened(page, films["bare"])
    press(page, "?")
    keys = page.get_by_role("dialog")
    assert keys.is_visible()
    assert "Look underneath" in keys.inner_text()
    press(page, "Escape")
    assert not keys.is_visible()


def another_point(page, name: str) -> None:
    """Choose an operating point, and wait until the page has answered."""
    rates = page.locator(".score ~ p").first
    was = rates.inner_text()
    page.get_by_text(name, exact=True).click()
    until(lambda: rates.inner_text() != was, 30)
    until(lambda: page.get_by_test_id("stApp").get_attribute("data-test-script-state") == "notRunning", 30)
    settled(page)


@needs_browser
def test_what_is_seen_survives_a_run_of_the_page(page, films):
    opened(page, films["measured"])
    page.mouse.move(*middle(page))
    page.mouse.wheel(0, -300)
    drag(page, 60, 30)
    press(page, "c")
    before = said(page, "zoom"), window(page), canvas(page, "film")
    another_point(page, "Sensitive")
    assert (said(page, "zoom"), window(page)) == before[:2]
    assert np.array_equal(canvas(page, "film"), before[2])
    assert page.get_by_role("button", name="Fill").get_attribute("aria-pressed") == "true"


@needs_browser
def test_a_new_flagged_film_shows_its_overlay(page, films):
    opened(page, films["measured"], films["bare"])
    press(page, "c")
    press(page, "o")
    first = page.locator(".stage").get_attribute("data-film")
    page.keyboard.press("j")
    until(lambda: page.locator(".stage").get_attribute("data-film") not in (first, None), 30)
    settled(page)
    assert page.get_by_role("button", name="Overlay", exact=True).get_attribute("aria-pressed") == "true"
    assert canvas(page, "overlay").any()
    assert page.get_by_role("button", name="Fill").get_attribute("aria-pressed") == "true", "a preference stays"


_WATCH = """() => {
  const roots = [document];
  const find = (selector) => {
    for (const root of roots) { const found = root.querySelector(selector); if (found) return found; }
    for (const host of document.querySelectorAll("*"))
      if (host.shadowRoot && !roots.includes(host.shadowRoot)) roots.push(host.shadowRoot);
    return roots.map((root) => root.querySelector(selector)).find(Boolean);
  };
  globalThis.seen = [];
  const look = () => {
    const film = find(".stage")?.dataset.film ?? "";
    globalThis.seen.push([film, document.querySelector(".name")?.innerText ?? ""]);
    requestAnimationFrame(look);
  };
  look();
}"""


@needs_browser
def test_no_film_stands_beside_anothers_verdict(page, films):
    opened(page, films["measured"], films["bare"])
    of_film = {page.locator(".stage").get_attribute("data-film"): "1"}
    page.evaluate(_WATCH)
    for key in "jkjk":
        page.keyboard.press(key)
        number = "2" if key == "j" else "1"
        page.get_by_text(re.compile(rf"^{number} · ")).first.wait_for()
        page.locator(".stage[data-film]").wait_for()
        until(lambda: current(page).startswith(number), 30)  # noqa: B023  (used at once)
        settled(page)
        of_film.setdefault(page.locator(".stage").get_attribute("data-film"), number)
    seen = page.evaluate("seen")
    assert len(of_film) == 2
    assert len([1 for (film, _), (after, _) in pairwise(seen) if film != after]) >= 8
    wrong = [(film, name) for film, name in seen if film and name and not name.startswith(of_film[film])]
    assert wrong == []


@pytest.mark.thorough
@needs_browser
def test_a_run_of_the_page_does_not_send_the_film_again(browser, address):
    page = browser.new_context(viewport={"width": 1280, "height": 800}).new_page()
    page.set_default_timeout(180_000)
    received: list[int] = []
    page.on("websocket", lambda socket: socket.on("framereceived", lambda data: received.append(len(data))))
    page.goto(address)
    page.get_by_test_id("stFileUploaderDropzone").wait_for()
    noisy = np.random.default_rng(0).normal(0, 0.02, (1062, 1000)).astype(np.float32)
    film = np.clip(cv2.resize(simulated_film(), (1000, 1062), interpolation=cv2.INTER_AREA) + noisy, 0, 1)
    opened(page, dicom_of(film))
    assert sum(received) > 1_000_000
    until(lambda: page.get_by_test_id("stApp").get_attribute("data-test-script-state") == "notRunning", 30)
    page.wait_for_timeout(500)
    received.clear()
    another_point(page, "Specific")
    page.wait_for_timeout(500)
    assert 500 < sum(received) < 60_000
    page.context.close()


@needs_browser
def test_nothing_lies_over_the_side_marks(page, films):
    opened(page, films["measured"])
    press(page, "h")
    alone = """mark => {
      const box = mark.getBoundingClientRect(), root = mark.getRootNode();
      mark.style.pointerEvents = "auto";
      const top = root.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2);
      mark.style.pointerEvents = "";
      const apart = [...root.querySelectorAll(".status, .scale")].every((other) => {
        const its = other.getBoundingClientRect();
        return its.right <= box.left || its.left >= box.right || its.top >= box.bottom || its.bottom <= box.top;
      });
      return top === mark && apart;
    }"""
    for width, height in ((1280, 800), (3840, 2160), (820, 1180), (390, 844)):
        page.set_viewport_size({"width": width, "height": height})
        settled(page)
        marks = page.locator(".side").all()
        assert [mark.evaluate(alone) for mark in marks] == [True, True], (width, height)


@needs_browser
def test_a_layer_is_off_with_the_overlay_and_brings_it_back(page, films):
    opened(page, films["measured"])
    lit = page.locator("[data-toggle][aria-pressed=true]")
    press(page, "h")
    with_heat = canvas(page, "overlay")
    assert lit.all_inner_texts() == ["Overlay", "Heat map"]
    press(page, "o")
    assert lit.all_inner_texts() == []
    assert not canvas(page, "overlay").any()
    press(page, "h")
    assert lit.all_inner_texts() == ["Overlay", "Heat map"]
    assert np.array_equal(canvas(page, "overlay"), with_heat)


@needs_browser
def test_why_shows_what_made_the_score_instead_of_the_heat_map(page, films):
    opened(page, films["measured"])
    plain, scale = canvas(page, "overlay"), page.locator(".scale")
    button = page.get_by_role("button", name="Why")
    assert button.is_enabled()
    press(page, "h")
    heat = canvas(page, "overlay")
    press(page, "y")
    why = canvas(page, "overlay")
    assert button.get_attribute("aria-pressed") == "true"
    assert page.get_by_role("button", name="Heat map").get_attribute("aria-pressed") == "false"
    assert scale.locator(".most").inner_text() == "most"
    assert (why != plain).any()
    assert (why != heat).any()
    press(page, "y")
    assert not scale.is_visible()
    assert np.array_equal(canvas(page, "overlay"), plain)

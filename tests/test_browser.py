"""The page in a real browser against a real server."""

import csv
import io
import json
import signal
import zipfile

import cv2
import numpy as np
import pytest
from pydicom import dcmread

from tests.support.films import broken_dicom, dicom_of, simulated_film
from tests.support.serving import (
    CHROMIUM,
    NO_CHROMIUM,
    all_read,
    downloaded,
    drop,
    films_of,
    open_page,
    running_server,
    until,
)

pytestmark = pytest.mark.skipif(not CHROMIUM, reason=NO_CHROMIUM)


@pytest.fixture(scope="module")
def film() -> bytes:
    return dicom_of(cv2.resize(simulated_film(), (1000, 1062), interpolation=cv2.INTER_AREA))


def test_a_dropped_dicom_is_outlined_and_the_downloads_are_right(page, film):
    drop(page, ("film.dcm", film))
    page.get_by_role("heading", name="Pneumothorax flagged").wait_for()
    page.locator('.stage[data-film][data-size="1000 × 1062"]').wait_for()

    mask = cv2.imdecode(np.frombuffer(downloaded(page, "Mask PNG"), np.uint8), cv2.IMREAD_UNCHANGED)
    overlay = cv2.imdecode(np.frombuffer(downloaded(page, "Overlay PNG"), np.uint8), cv2.IMREAD_COLOR)
    result = json.loads(downloaded(page, "Result JSON"))
    assert mask.shape == (1062, 1000)
    assert set(np.unique(mask)) == {0, 255}
    assert (overlay.shape[1], overlay.shape[0] > 1062) == (1000, True), "with a caption below the film"
    overlay = overlay[:1062]
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


def patients_of(archive: bytes) -> set[str]:
    """The patients' IDs in a zip of DICOM objects."""
    with zipfile.ZipFile(io.BytesIO(archive)) as objects:
        return {str(dcmread(io.BytesIO(objects.read(name))).PatientID) for name in objects.namelist()}


@pytest.mark.thorough
def test_dicom_downloads_have_the_patients_header_only_where_the_reader_asked_for_it(page):
    study = {"StudyInstanceUID": "1.2.3.4", "SeriesInstanceUID": "1.2.3.4.5"}
    film = dicom_of(simulated_film(), PatientID="MRN-4711", **study)
    drop(page, ("before.dcm", film))
    page.locator(".stage[data-film]").wait_for()
    assert "MRN-4711" not in patients_of(downloaded(page, "DICOM"))
    page.get_by_text("Keep the patient’s header").click()
    drop(page, ("after.dcm", film))
    all_read(page, 2).nth(1).click()
    page.get_by_text("2 · after.dcm").wait_for()
    assert patients_of(downloaded(page, "DICOM")) == {"MRN-4711"}
    drop(page, ("incomplete.dcm", dicom_of(simulated_film(), PatientID="MRN-4711")))
    all_read(page, 3).nth(2).click()
    page.get_by_text("3 · incomplete.dcm").wait_for()
    page.get_by_text("its header is incomplete").wait_for()
    assert "MRN-4711" not in patients_of(downloaded(page, "DICOM"))
    assert "MRN-4711" not in page.content()


@pytest.mark.thorough
def test_an_upload_goes_on_while_the_reader_changes_to_folders(page, film):
    begun = []
    page.route("**/_stcore/upload_file/**", lambda route: begun.append(route))
    drop(page, ("film.dcm", film))
    until(lambda: page.evaluate("1") and begun, 30)
    page.get_by_text("A whole folder").click()
    page.get_by_label("Drop a folder of chest films").first.wait_for()
    for upload in begun:
        upload.continue_()
    page.unroute("**/_stcore/upload_file/**")
    assert all_read(page, 1).first.get_attribute("title") == "film.dcm"


def test_a_dropped_folder_is_read_with_the_folders_in_it(page, film, tmp_path):
    (tmp_path / "study" / "series").mkdir(parents=True)
    (tmp_path / "study" / "first.dcm").write_bytes(film)
    (tmp_path / "study" / "series" / "second.dcm").write_bytes(broken_dicom())
    page.get_by_text("A whole folder").click()
    zone = page.get_by_test_id("stFileUploaderDropzone").filter(visible=True)
    until(lambda: "folder" in (zone.locator("xpath=..").inner_text() + zone.inner_text()).lower(), 30)
    box = zone.bounding_box()
    where = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2}
    what = {"items": [], "files": [str(tmp_path / "study")], "dragOperationsMask": 1}
    mouse = page.context.new_cdp_session(page)
    for kind in ("dragEnter", "dragOver", "drop"):  # only the browser itself can make a folder to drop
        mouse.send("Input.dispatchDragEvent", {"type": kind, **where, "data": what})
    titles = [each.get_attribute("title") for each in all_read(page, 2).all()]
    assert sorted(title.rsplit("/", 1)[-1] for title in titles) == ["first.dcm", "second.dcm"]


def test_many_files_are_a_list_and_a_bad_one_is_a_sentence(page, film):
    drop(page, ("film.dcm", film), ("broken.dcm", broken_dicom()), ("note.txt", b"a shopping list"))
    items = all_read(page, 3)
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


def test_a_film_is_answered_by_key_and_the_answer_is_lit(page, film):
    drop(page, ("film.dcm", film))
    all_read(page, 1)
    page.get_by_role("heading", name="Pneumothorax flagged").wait_for()
    page.locator("body").press("g")
    page.get_by_text("You agree: a pneumothorax").wait_for()
    lit = page.locator(".st-key-reading [data-testid=stBaseButton-primary]").first
    assert lit.inner_text().startswith("Agree")
    page.locator("body").press("d")
    page.get_by_text("You disagree: no pneumothorax").wait_for()


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


def sized(number: int) -> bytes:
    """A film whose width tells it from the others."""
    return dicom_of(cv2.resize(simulated_film(), (400 + 2 * number, 425), interpolation=cv2.INTER_AREA))


@pytest.mark.thorough
def test_forty_films_are_read_while_the_reader_goes_on_and_nothing_moves(page):
    drop(page, *((f"film-{number}.dcm", sized(number)) for number in range(40)))
    page.locator('.stage[data-film][data-size="400 × 425"]').wait_for()
    films, counts = films_of(page), page.locator(".counts")
    assert films.count() == 40
    assert "to be read" in counts.inner_text(), "the first film is shown before the last is read"
    threshold = page.locator(".score b")
    was = threshold.get_attribute("style")
    page.get_by_text("Sensitive").click()
    until(lambda: threshold.get_attribute("style") != was, 30)
    assert page.locator('.stage[data-film][data-size="400 × 425"]').count() == 1, "a setting changes no film"
    assert films.count() == 40
    films.nth(30).click()
    page.locator('.stage[data-film][data-size="460 × 425"]').wait_for()
    assert page.get_by_text("31 · film-30.dcm").is_visible()
    page.keyboard.press("j")
    page.locator('.stage[data-film][data-size="462 × 425"]').wait_for()
    all_read(page, 40)
    assert page.locator('.stage[data-film][data-size="462 × 425"]').count() == 1, "the end of reading changes no film"
    assert counts.inner_text().startswith("40 films")
    assert "to be read" not in counts.inner_text()
    labels = [film.get_attribute("aria-label") for film in films.all()]
    seen = [label for label in labels if "not seen" not in label]
    assert [label.partition(",")[0] for label in seen] == ["Film 1", "Film 31", "Film 32"]


def test_the_list_is_ordered_and_filtered_and_keys_follow_its_order(page):
    drop(page, ("broken.dcm", broken_dicom()), ("first.dcm", sized(1)), ("second.dcm", sized(2)))
    films = all_read(page, 3)
    titles = lambda: [film.get_attribute("title") for film in films.all()]  # noqa: E731
    assert titles() == ["broken.dcm", "first.dcm", "second.dcm"]
    page.locator("select[data-set=order]").select_option("score")
    until(lambda: titles()[2] == "broken.dcm", 10)
    by_score = titles()
    films.first.click()
    page.get_by_text(f"· {by_score[0]}").wait_for()
    for title in by_score[1:]:
        page.locator("body").press("j")
        page.get_by_text(f"· {title}").wait_for()
    shown = page.locator("select[data-set=filter]")
    shown.select_option("problem")
    until(lambda: titles() == ["broken.dcm"], 10)
    shown.select_option("flagged")
    until(lambda: sorted(titles()) == ["first.dcm", "second.dcm"], 10)
    shown.select_option("borderline")
    page.get_by_text("No film matches").wait_for()


def test_nothing_changes_its_place_under_the_pointer(page):
    drop(page, ("broken.dcm", broken_dicom()), ("first.dcm", sized(1)))
    films = all_read(page, 2)
    titles = lambda: [film.get_attribute("title") for film in films.all()]  # noqa: E731
    page.locator("select[data-set=order]").select_option("score")
    until(lambda: titles() == ["first.dcm", "broken.dcm"], 10)
    page.locator(".list").hover()
    drop(page, ("second.dcm", sized(2)))
    all_read(page, 3)
    assert titles() == ["first.dcm", "broken.dcm", "second.dcm"], "what is new comes last"
    page.mouse.move(5, 5)
    drop(page, ("third.dcm", sized(3)))
    all_read(page, 4)
    until(lambda: titles()[3] == "broken.dcm", 10)


@pytest.mark.thorough
def test_every_key_counts_however_quick_it_follows(page):
    drop(page, *((f"film-{number}.dcm", sized(number)) for number in range(6)))
    all_read(page, 6)
    for _ in range(2):
        for _ in range(5):
            page.locator("body").press("j")
        page.get_by_text("6 · film-5.dcm").wait_for()
        for _ in range(5):
            page.locator("body").press("k")
        page.get_by_text("1 · film-0.dcm").wait_for()


@pytest.mark.thorough
def test_until_the_next_film_is_here_no_verdict_can_be_read_or_answered(browser):
    with running_server() as server:
        page = open_page(browser, server.address)
        drop(page, ("first.dcm", sized(1)), ("second.dcm", sized(2)))
        all_read(page, 2)
        page.locator(".st-key-case .verdict").wait_for()
        parts = "() => [...document.querySelectorAll('.st-key-case > *')].map(each => getComputedStyle(each).opacity)"
        assert set(page.evaluate(parts)) == {"1"}
        server.process.send_signal(signal.SIGSTOP)
        try:
            page.locator("body").press("j")
            page.locator("body").press("g")
            assert set(page.evaluate(parts)) == {"0"}
            assert page.locator(".st-key-case .verdict").is_hidden()  # screen readers do not find it either
            assert page.locator("button[aria-current=true][data-id]").get_attribute("title") == "second.dcm"
        finally:
            server.process.send_signal(signal.SIGCONT)
        page.get_by_text("2 · second.dcm").wait_for()
        until(lambda: set(page.evaluate(parts)) == {"1"}, 30)
        page.locator("body").press("g")
        films_of(page).nth(1).locator(".answer", has_text="✓").wait_for()
        assert films_of(page).nth(0).locator(".answer").text_content() == ""
        page.context.close()


def test_names_can_be_read_in_the_list_and_films_that_the_reader_disagrees_with_are_found(page):
    long = "1.2.840.113619.2.5.1762583153.215519.978957063.0012.dcm"
    drop(page, (long, sized(1)), ("<b>é😀.dcm", sized(2)))
    films = all_read(page, 2)
    assert [name.text_content() for name in films.locator(".name").all()] == [long, "<b>é😀.dcm"]
    for film in films.all():
        # Both at once: the page may move its parts while it is drawn.
        box, end = film.evaluate(
            "film => [film, [...film.querySelectorAll('.name bdi')].at(-1)].map(each => each.getBoundingClientRect())"
        )
        assert end["x"] + end["width"] <= box["x"] + box["width"], "the name's end is never cut off"
        assert end["y"] + end["height"] <= box["y"] + box["height"]
    shown = page.locator("select[data-set=filter]")
    shown.select_option("disagree")
    page.get_by_text("No film matches").wait_for()
    shown.select_option("all")
    page.get_by_role("heading", name="Pneumothorax flagged").wait_for()
    page.locator("body").press("d")
    page.get_by_text("You disagree: no pneumothorax").wait_for()
    shown.select_option("disagree")
    until(lambda: [film.get_attribute("title") for film in films.all()] == [long], 10)
    page.locator("body").press("g")
    page.get_by_text("You agree: a pneumothorax").wait_for()
    films.locator(".answer", has_text="✓").wait_for()  # the list hears of it after the panel
    shown.select_option("flagged")
    shown.select_option("disagree")
    page.get_by_text("No film matches").wait_for()


@pytest.mark.thorough
def test_a_film_is_removed_and_all_are_cleared_while_others_are_read(page):
    drop(page, *((f"film-{number}.dcm", sized(number)) for number in range(20)))
    page.locator('.stage[data-film][data-size="400 × 425"]').wait_for()
    page.get_by_role("button", name="Remove this film").click()
    page.locator('.stage[data-film][data-size="402 × 425"]').wait_for()
    until(lambda: films_of(page).count() == 19, 10)
    page.get_by_role("button", name="Clear all films").click()
    page.get_by_role("button", name="Delete all").click()
    page.get_by_text("No film at hand?").wait_for()
    drop(page, ("next.dcm", sized(3)))
    assert all_read(page, 1).first.get_attribute("title") == "next.dcm"


def test_an_archive_is_read_and_all_results_come_in_one(page):
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for number in range(3):
            archive.writestr(f"study/film-{number}.dcm", sized(number))
        archive.writestr("study/notes.txt", "a shopping list")
    drop(page, ("study.zip", target.getvalue()))
    all_read(page, 4)
    page.locator(".stage[data-film]").wait_for()
    single = json.loads(downloaded(page, "Result JSON"))
    with zipfile.ZipFile(io.BytesIO(downloaded(page, "Download all films"))) as results:
        names = results.namelist()
        table = list(csv.DictReader(io.StringIO(results.read("results.csv").decode(), newline="")))
        record = json.loads(results.read("001_film-0.dcm_result.json"))
        assert record["film"].pop("file") == "film-0.dcm"
        assert record == single, "a single download has no name"
    assert len([name for name in names if name.endswith("_mask.png")]) == 3
    assert [row["status"] for row in table] == ["ok", "ok", "ok", "failed"]

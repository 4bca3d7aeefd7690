""" "Read first": nothing of a result reaches the reader before the reader's own reading."""

import json

import pytest
from streamlit.testing.v1 import AppTest

from ptx_app.audit import Event, Trail
from ptx_app.data.index import MaskKind
from ptx_app.model.manifest import ROOT
from ptx_app.output.packed import message
from ptx_app.ui import downloads
from ptx_app.ui.film_list import entry
from tests.support.films import ct_slice, dicom_of, real_dicom, simulated_film
from tests.support.serving import CHROMIUM, NO_CHROMIUM, all_read, films_of, open_again, until
from tests.support.serving import drop as drop_in_browser
from tests.test_answers import setting
from tests.test_page import drop, read, visit, words_of

THRESHOLDS = setting().thresholds
TOLD = (
    "pneumothorax flagged",
    "none flagged",
    "score 0",
    "operating point",
    "hemithorax",
    "of the film's area",
    "side of the patient",
    "mediastinum",
)


@pytest.fixture
def page() -> AppTest:
    return AppTest.from_file(str(ROOT / "app.py"), default_timeout=60)


@pytest.fixture
def first(page, monkeypatch) -> AppTest:
    """The page with the switch on and an example, and what its components were given in the latest run."""
    page.run().toggle(key="read_first").set_value(True)
    page.query_params["example"] = "pneumothorax"
    return read(page.run())


@pytest.fixture
def sent(monkeypatch) -> dict:
    """What the components of the page are given, by key."""
    given: dict = {}
    for where in ("downloads._mount", "film_list._mount", "viewer._mount", "viewer._send"):
        monkeypatch.setattr(f"ptx_app.ui.{where}", lambda *, key, data, **_: given.__setitem__(key, data))
    return given


def keys(page) -> set[str]:
    return {button.key for button in page.button}


def test_it_is_off_and_then_nothing_is_hidden(page, sent):
    page.query_params["example"] = "pneumothorax"
    read(page.run())
    assert not page.toggle(key="read_first").value
    assert "Pneumothorax flagged" in words_of(page)
    assert not any(offer["closed"] for offer in sent["downloads"]["offers"] + sent["all"]["offers"])


def test_before_the_reading_nothing_of_the_result_is_said_or_sent(first, sent):
    said = words_of(first.run())
    assert "Your reading first" in said
    assert [word for word in TOLD if word in said.lower()] == []
    assert not first.slider
    assert not first.code
    assert "agree-1" not in keys(first)
    film = visit(first).current.film
    assert sent["viewer"]["key"] == film.key
    assert not sent["viewer"]["flagged"]
    assert "flagged" not in sent["viewer"]["alt"]
    assert sent["film_data_sent"] == message(film.key, film.greys, spacing=film.spacing, prediction=None)
    (listed,) = sent["films"]["films"]
    assert (listed["standing"], listed["score"], listed["where"], listed["below"]) == ("result hidden", None, "", False)
    assert listed["title"] == "Example", "its name says what it shows"
    assert [offer["label"] for offer in sent["downloads"]["offers"]] == [
        "Overlay PNG",
        "Mask PNG",
        "Result JSON",
        "DICOM",
    ]
    for offer in sent["downloads"]["offers"] + sent["all"]["offers"]:
        assert offer["closed"]
        assert offer["hint"].startswith("Available once you have read")


@pytest.mark.parametrize(
    ("button", "said", "answer", "kind"),
    [
        ("first-yes-1", "You said a pneumothorax; the model agrees.", "agree", MaskKind.READER_LABEL),
        ("first-no-1", "You said no pneumothorax; the model disagrees.", "disagree", MaskKind.READER),
    ],
)
def test_an_own_reading_shows_the_result_and_is_kept(first, sent, button, said, answer, kind):
    first.button(key=button).click().run()
    shown = words_of(first)
    assert "Pneumothorax flagged" in shown
    assert said in shown
    reading = visit(first).current.reading
    assert (reading.answer, reading.mask_kind, reading.mask) == (answer, kind, None)
    assert first.button(key="agree-1").proto.type == first.button(key="disagree-1").proto.type == "secondary"
    assert f"own reading, {'a' if 'yes' in button else 'no'} pneumothorax; {answer}s." in first.code[0].value
    assert sent["viewer"]["key"] == visit(first).current.film.shown_as
    assert sent["films"]["films"][0]["reading"] == answer
    assert not any(offer["closed"] for offer in sent["downloads"]["offers"] + sent["all"]["offers"])
    first.button(key="withdraw-1").click().run()
    assert "Pneumothorax flagged" in words_of(first), "what was seen is not hidden again"


def test_an_own_reading_is_compared_with_the_verdict_at_the_thresholds_in_use(first):
    first.session_state["score_threshold"] = 1.0
    first.session_state["mask_threshold"] = 0.5
    first.run().button(key="first-no-1").click().run()
    assert "You said no pneumothorax; the model agrees." in words_of(first)
    assert visit(first).current.reading.answer == "agree"


def test_the_result_can_be_had_without_a_reading(first):
    first.button(key="reveal-1").click().run()
    assert "Pneumothorax flagged" in words_of(first)
    assert visit(first).current.reading is None
    assert entry(visit(first).current, THRESHOLDS, chosen=True).standing == "flagged"


def test_each_film_is_hidden_for_itself_and_all_films_wait_for_the_last(first, sent):
    drop(first, ("b.dcm", real_dicom()))
    first.button(key="first-yes-1").click().run()
    assert [film["standing"] for film in sent["films"]["films"]] == ["flagged", "result hidden"]
    assert not any(offer["closed"] for offer in sent["downloads"]["offers"])
    everything, training = sent["all"]["offers"]
    assert (everything["closed"], training["closed"]) == (True, False)
    assert everything["hint"] == "Available once you have read 1 more film"
    visit(first).show(2)
    assert "Your reading first" in words_of(first.run())


def test_a_file_that_is_asked_for_nevertheless_is_not_made(first, sent):
    for key, name in (("all", "films.zip"), ("downloads", "film-1-result.json"), ("downloads", "Result JSON")):
        first.session_state[f"{key}-wanted"] = {"name": name, "serial": "x"}
        first.run()
        assert "file" not in sent[key]
        assert f"{key}-wanted" not in first.session_state
    offer = downloads.Offer("a", "b", "c", "d", lambda: pytest.fail("made"), closed="not yet")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(downloads.st, "session_state", {"x-wanted": {"name": "c", "serial": "1"}})
        downloads.downloads("x", [offer], lambda **_: pytest.fail("told"))
    assert sent["x"]["offers"] == [{"name": "c", "label": "a", "hint": "not yet", "closed": True}]


def test_switching_it_off_shows_everything(first):
    first.toggle(key="read_first").set_value(False).run()
    assert "Pneumothorax flagged" in words_of(first)
    first.toggle(key="read_first").set_value(True).run()
    assert "Your reading first" in words_of(first)


def test_it_stays_on_when_all_films_are_cleared(first):
    first.button(key="clear").click().run()
    assert first.toggle(key="read_first").value


def test_films_without_a_result_are_as_always(page, sent):
    page.run().toggle(key="read_first").set_value(True)
    drop(page, ("x", ct_slice()), ("y", b""))
    assert "Not analysed" in words_of(page)
    assert [film["standing"] for film in sent["films"]["films"]] == ["not analysed", "not read"]
    page.button(key="overrule-1").click()
    read(page.run())
    said = words_of(page)
    assert "Your reading first" in said
    assert "Analysed although the film check rejected it" in said
    assert "Not for training" in said


def test_the_trail_says_when_the_result_was_seen(page, tmp_path, monkeypatch):
    key = "a key that only the operator of this test has"
    monkeypatch.setenv("PTX_AUDIT_FOLDER", str(tmp_path / "trail"))
    monkeypatch.setenv("PTX_AUDIT_KEY", key)
    page.run().toggle(key="read_first").set_value(True)
    page.query_params["example"] = "pneumothorax"
    read(page.run())
    trail = Trail(tmp_path / "trail", key)

    def shown() -> list[tuple[str, str]]:
        records = [line.record for line in trail.lines()]
        return sorted((each["place"], each["result"]) for each in records if each["event"] == Event.RESULT_SHOWN)

    assert shown() == [("list", "hidden"), ("viewer", "hidden")]
    assert "score" not in json.dumps([line.record for line in trail.lines()])
    page.button(key="first-yes-1").click().run()
    assert shown() == [("list", "flagged"), ("list", "hidden"), ("viewer", "flagged"), ("viewer", "hidden")]
    assert visit(page).current.reading is not None


@pytest.mark.thorough
@pytest.mark.skipif(not CHROMIUM, reason=NO_CHROMIUM)
def test_in_a_browser_the_film_stays_as_it_was_and_the_result_comes_by_key(tab, address):
    page = open_again(tab, address)
    page.get_by_text("Read first").click()
    film = simulated_film()
    drop_in_browser(page, ("a.dcm", dicom_of(film)), ("b.dcm", real_dicom()), ("c.dcm", dicom_of(0.9 * film)))
    all_read(page, 3)
    page.get_by_role("heading", name="Your reading first").wait_for()
    page.locator(".stage[data-film]").wait_for()
    assert page.locator(".counts").inner_text() == "3 films · 3 hidden"
    for name in ("Overlay PNG", "DICOM", "Download all films"):
        assert page.get_by_role("button", name=name, exact=True).is_disabled()
    assert not page.locator("[data-act=heat]").is_visible()
    assert not page.get_by_role("slider", name="Mask threshold").is_visible()
    page.keyboard.press("+")
    page.keyboard.press("3")
    zoom, window = page.locator("[data-say=zoom]"), page.locator("[data-say=window]")
    percent = lambda: int(zoom.inner_text().split()[0])  # noqa: E731
    was = percent(), window.inner_text()
    page.locator("body").press("x")
    page.get_by_text("You said a pneumothorax").wait_for()
    page.locator(".stage[data-film$=-analysed]").wait_for()
    assert window.inner_text() == was[1]
    assert percent() > 0.9 * was[0], "the toolbar takes a little of the height, but the film is not fitted again"
    assert page.get_by_role("button", name="Overlay PNG").is_enabled()
    assert page.get_by_role("button", name="Download all films").is_disabled()
    page.locator("body").press("j")
    page.get_by_role("heading", name="Your reading first").wait_for()
    page.locator("body").press("s")
    until(lambda: "1 hidden" in page.locator(".counts").inner_text(), 30)
    page.locator("body").press("j")
    page.get_by_role("heading", name="Your reading first").wait_for()
    page.locator("body").press("n")
    page.get_by_text("You said no pneumothorax").wait_for()
    until(lambda: "hidden" not in page.locator(".counts").inner_text(), 30)
    assert page.get_by_role("button", name="Download all films").is_enabled()
    assert "not seen" not in (films_of(page).nth(1).get_attribute("aria-label") or "")

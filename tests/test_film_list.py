"""Films are read in the background, and the list says of each how far it is; nothing moves under the reader's hand."""

import csv
import io
import json
import threading
import zipfile
from dataclasses import replace

import cv2
import numpy as np
import pytest
from PIL import Image

from ptx_app.errors import FilmError
from ptx_app.film.radiograph import FilmNote, Radiograph
from ptx_app.inference.decide import Side, Thresholds, decide
from ptx_app.inference.lungs import Lungs
from ptx_app.inference.predict import Prediction
from ptx_app.model.manifest import load_manifest
from ptx_app.output.feedback import PackedMask, Reading
from ptx_app.output.setting import Setting
from ptx_app.output.table import RESULT_COLUMNS
from ptx_app.pipeline import Examination
from ptx_app.ui.all_results import all_results
from ptx_app.ui.background import _outcome, _work
from ptx_app.ui.film_list import entry
from ptx_app.ui.visit import Case, Film, Visit

ENTRY = load_manifest().entry()
THRESHOLDS = Thresholds(0.5, 0.5, 0.0)
PATIENT_RIGHT, PATIENT_LEFT = (5, 5, 20, 20), (44, 5, 59, 20)


def film(
    score: float = 0.9,
    *boxes: tuple[int, int, int, int],
    analysed: bool = True,
    lungs: bool = False,
    frontal: bool = True,
) -> Film:
    probability = np.zeros((64, 64), np.float32)
    for left, top, right, bottom in boxes:
        probability[top:bottom, left:right] = 0.9
    pair = None
    if lungs:
        masks = np.zeros((2, 64, 64), bool)
        masks[0, 5:45, 5:25] = masks[1, 5:45, 39:59] = True
        pair = Lungs(*masks)
    rejections = () if analysed else (FilmNote("WRONG_MODALITY", "This is a CT."),)
    prediction = Prediction(score, probability, 0.0, frontal=frontal) if analysed else None
    return Film.of(Examination(Radiograph(np.full((128, 128), 0.5, np.float32)), rejections, prediction, pair))


def done(number: int, what: Film | FilmError, name: str = "a.dcm") -> Case:
    is_film = isinstance(what, Film)
    return Case(number, name, film=what if is_film else None, error=None if is_film else what)


def listed(case: Case, thresholds: Thresholds = THRESHOLDS):
    return entry(case, thresholds, chosen=False)


def of(*outcomes) -> tuple[Visit, list[int]]:
    """A visit with a case for each outcome, which its job returns or raises; and the order in which they were read."""
    order: list[int] = []

    def job(outcome):
        def read(case):
            order.append(case.number)
            if isinstance(outcome, Exception):
                raise outcome
            return outcome

        return read

    visit = Visit()
    visit.take(0, [(f"{place}.dcm", job(outcome)) for place, outcome in enumerate(outcomes)])
    return visit, order


def test_all_films_are_read_and_an_error_is_its_own_films_alone():
    bad = FilmError("EMPTY_FILE", "This file is empty.")
    visit, _ = of(film(), bad, ValueError("a bug"), film())
    assert visit.hire(1) == 1
    _work(visit)
    assert [case.error and case.error.code for case in visit.cases] == [None, "EMPTY_FILE", "UNEXPECTED", None]
    assert [case.done for case in visit.cases] == [True] * 4
    assert (visit.pending, visit.readers) == (0, 0)


def ends(visit: Visit, change) -> bool:
    """Whether a wait for the film on the screen goes on until the change, and ends with it."""
    waiting = threading.Thread(target=visit.wait_for_shown, args=(60,), daemon=True)
    waiting.start()
    waiting.join(0.05)
    began = waiting.is_alive()
    change()
    waiting.join(10)
    return began and not waiting.is_alive()


def test_the_page_waits_for_the_film_on_the_screen_until_it_is_done_or_away():
    visit, _ = of(film(), film())
    first, second = visit.cases
    visit.finish(second, film())
    visit.wait_for_shown(0.01)  # comes back although the first film is not done
    assert ends(visit, lambda: visit.finish(first, film()))
    visit.wait_for_shown(60)  # comes back at once
    for change in (lambda visit: visit.remove(1), lambda visit: visit.clear()):
        visit, _ = of(film())
        assert ends(visit, lambda: change(visit))  # noqa: B023  (called at once)


def test_only_a_new_film_on_the_screen_is_waited_for():
    visit, _ = of(film(), film())
    assert visit.awaited == visit.shown == 1
    visit.awaited = None
    visit.take(1, [("later", lambda _: film())])
    visit.show(2)
    assert visit.awaited is None
    visit.finish(visit.cases[1], film())
    visit.redo(2, lambda _: film())
    assert visit.awaited == 2


def test_the_film_on_the_screen_is_read_first():
    visit, order = of(film(), film(), film())
    visit.show(3)
    visit.hire(1)
    _work(visit)
    assert order == [3, 1, 2]


def test_as_many_threads_are_hired_as_there_are_films_for_and_no_more():
    visit, _ = of(film(), film(), film())
    assert [visit.hire(2), visit.hire(2)] == [2, 0]
    alone, _ = of(film())
    assert alone.hire(2) == 1


def test_a_new_drop_does_not_change_the_film_on_the_screen():
    visit, _ = of(film())
    assert visit.shown == 1
    visit.take(1, [("later", lambda _: film())])
    assert (visit.shown, visit.counter) == (1, 2)


def test_files_of_a_past_round_are_not_taken_twice():
    visit, _ = of(film())
    visit.take(0, [("again", lambda _: film())])
    assert len(visit.cases) == 1


@pytest.mark.parametrize("how", ["remove", "clear"])
def test_a_film_that_is_removed_while_it_waits_is_not_read_on(how):
    visit, _ = of(film())
    went_on = []

    def job(case):
        visit.remove(1) if how == "remove" else visit.clear()
        case.say("waiting")
        went_on.append(1)

    visit.cases[0].job = job
    visit.hire(1)
    _work(visit)
    assert (went_on, visit.cases, visit.readers) == ([], [], 0)


def test_the_limit_of_a_visit_counts_what_is_read_at_the_same_time(monkeypatch):
    monkeypatch.setattr("ptx_app.ui.visit.MOST_FILMS", 2)
    visit, _ = of(film(), film(), film())
    running = [visit.begin_next() for _ in range(3)]
    outcomes = [_outcome(visit, case) for case in running]
    assert [isinstance(outcome, Film) for outcome in outcomes] == [True, True, False]
    assert outcomes[2].code == "VISIT_FULL"


def test_two_threads_read_every_film_once():
    visit, order = of(*[film()] * 20)
    threads = [threading.Thread(target=_work, args=(visit,)) for _ in range(visit.hire(2))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(order) == list(range(1, 21))
    assert visit.readers == 0


def test_a_film_says_how_far_it_is():
    case = Case(1, "a", lambda _: film())
    assert listed(case).standing == "waiting"
    case.running = True
    assert listed(case).standing == "reading"
    case.say("2 films ahead")
    assert (listed(case).standing, listed(case).mark) == ("2 films ahead", "waiting")


@pytest.mark.parametrize(
    ("case", "standing", "mark", "score"),
    [
        (done(1, film(0.9)), "flagged", "flagged", 0.9),
        (done(1, film(0.52)), "borderline", "borderline", 0.52),
        (done(1, film(0.1)), "none flagged", "clear", 0.1),
        (done(1, FilmError("EMPTY_FILE", "Empty.")), "not read", "problem", None),
        (done(1, film(analysed=False)), "not analysed", "problem", None),
    ],
)
def test_standing_score_and_mark(case, standing, mark, score):
    found = listed(case)
    assert (found.standing, found.mark, found.score) == (standing, mark, score)


def test_an_overruled_film_says_so():
    overruled = replace(film(analysed=False), prediction=Prediction(0.9, np.zeros((64, 64), np.float32), 0.0))
    assert listed(done(1, overruled)).standing == "overruled, flagged"


@pytest.mark.parametrize(
    ("what", "where"),
    [
        (film(0.9, PATIENT_RIGHT), "Right, 5 % of film"),
        (film(0.9, PATIENT_RIGHT, lungs=True), "Right, 28 % of hemithorax"),
        (film(0.9, PATIENT_RIGHT, PATIENT_LEFT), "R 5 %, L 5 % of film"),
        (film(0.9, PATIENT_RIGHT, (44, 5, 49, 20), lungs=True), "R 28 %, L 9 % of hemithorax"),
        (film(0.9, (5, 5, 8, 8)), "Right, < 1 % of film"),
        (film(0.9), "no outline"),
        (film(0.1, PATIENT_RIGHT), ""),
    ],
)
def test_side_and_size_in_a_few_words(what, where):
    assert listed(done(1, what)).where == where


def test_side_and_size_follow_the_thresholds():
    case = done(1, film(0.9, PATIENT_RIGHT))
    assert listed(case).where == "Right, 5 % of film"
    assert listed(case, Thresholds(0.5, 0.95, 0.0)).where == "no outline"
    assert listed(case, Thresholds(0.95, 0.5, 0.0)).where == ""


@pytest.mark.parametrize(("score", "flagged"), [(0.9, True), (0.1, False)])
def test_a_film_differs_where_the_readers_verdict_is_not_the_models(score, flagged):
    case = done(1, film(score, PATIENT_RIGHT))
    assert not listed(case).differs
    setting = Setting.of(ENTRY, ENTRY.operating_point(), THRESHOLDS, "made")
    finding = decide(case.film.prediction, case.film.shape, THRESHOLDS)
    empty = PackedMask.of(np.zeros(case.film.shape, bool))
    drawn = PackedMask.of(np.ones(case.film.shape, bool))
    for reading, differs in (
        (Reading.agree(finding, setting), False),
        (Reading.disagree(finding, setting), True),
        (Reading.contour(empty, (), finding, setting), flagged),
        (Reading.contour(drawn, (Side.LEFT,), finding, setting), not flagged),
        (Reading.first(True, finding, setting), not flagged),
        (Reading.first(False, finding, setting), flagged),
    ):
        case.reading = reading
        assert listed(case).differs is differs
        assert listed(case, Thresholds(1.0 if flagged else 0.0, 0.5, 0.0)).differs is differs, "as the mark in the list"


def results(visit: Visit, *, named: bool) -> tuple[dict[str, bytes], list[dict[str, str]]]:
    setting = Setting.of(ENTRY, ENTRY.operating_point(), THRESHOLDS, "made")
    with zipfile.ZipFile(io.BytesIO(all_results(visit.cases, setting, named=named))) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    return files, list(csv.DictReader(io.StringIO(files["results.csv"].decode(), newline="")))


@pytest.fixture
def visit() -> Visit:
    cases = [
        done(1, film(0.9, PATIENT_RIGHT), "folder/Ann Smith.dcm"),
        done(2, FilmError("EMPTY_FILE", "Empty."), "=b.dcm"),
        done(3, film(analysed=False), "c.dcm"),
        Case(4, "d.dcm", lambda _: film()),
    ]
    return Visit(cases)


def test_one_download_has_a_row_for_each_film_that_is_done_and_its_files(visit):
    files, rows = results(visit, named=False)
    assert set(files) == {"001_mask.png", "001_overlay.jpg", "001_result.json", "results.csv"}
    assert tuple(rows[0]) == RESULT_COLUMNS
    assert [(row["file"], row["status"], row["error_code"]) for row in rows] == [
        ("film 1", "ok", ""),
        ("film 2", "failed", "EMPTY_FILE"),
        ("film 3", "rejected", "WRONG_MODALITY"),
    ]
    assert {row["weights_sha256"] for row in rows} == {ENTRY.sha256}
    mask = cv2.imdecode(np.frombuffer(files["001_mask.png"], np.uint8), cv2.IMREAD_UNCHANGED)
    assert mask.shape == (128, 128)
    assert float(rows[0]["area_share"]) == pytest.approx((mask > 0).mean(), abs=1e-5)
    record = json.loads(files["001_result.json"])
    assert record["side"] == rows[0]["side"] == "patient-right"
    assert record["film"]["file"] == rows[0]["file"]


def test_the_pictures_in_the_download_say_with_what_they_were_made(visit):
    files, rows = results(visit, named=True)
    line = Setting.of(ENTRY, ENTRY.operating_point(), THRESHOLDS, "made").line()
    stem = rows[0]["mask"].removesuffix("_mask.png")
    with Image.open(io.BytesIO(files[f"{stem}_mask.png"])) as mask:
        assert mask.text["Comment"] == line
    with Image.open(io.BytesIO(files[f"{stem}_overlay.jpg"])) as overlay:
        assert overlay.info["comment"].decode() == line


@pytest.mark.parametrize(
    ("what", "right", "left"),
    [
        (film(0.9, PATIENT_RIGHT, lungs=True), "0.281250", "0.000000"),
        (film(0.9, PATIENT_RIGHT, (44, 5, 49, 20), lungs=True), "0.281250", "0.093750"),
        (film(0.9, PATIENT_LEFT), "0.000000", ""),
        (film(0.9, lungs=True), "0.000000", "0.000000"),
        (film(0.1, PATIENT_RIGHT, lungs=True), "0.000000", "0.000000"),
        (film(0.9, PATIENT_RIGHT, PATIENT_LEFT, frontal=False), "", ""),
    ],
)
def test_the_table_has_the_share_of_each_hemithorax_and_nothing_where_it_is_not_known(what, right, left):
    _, rows = results(Visit([done(1, what)]), named=True)
    assert (rows[0]["right_hemithorax_share"], rows[0]["left_hemithorax_share"]) == (right, left)


def test_names_of_files_are_in_it_only_if_asked_for(visit):
    files, _ = results(visit, named=False)
    assert not any(word in name.encode() + content for name, content in files.items() for word in (b"Ann", b"Smith"))
    files, rows = results(visit, named=True)
    assert "001_Ann_Smith.dcm_mask.png" in files
    assert json.loads(files["001_Ann_Smith.dcm_result.json"])["film"]["file"] == "folder/Ann Smith.dcm"
    assert [row["file"] for row in rows] == ["folder/Ann Smith.dcm", "./=b.dcm", "c.dcm"]

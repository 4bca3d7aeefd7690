"""What the page makes of an archive's answers. Films that it mixes up, or corrects while they are open, are never taken
for another patient's.
"""

import io
import re
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pydicom
import pytest

from ptx_app.film import read_film
from ptx_app.film.reading import read_source
from ptx_app.hospital.dicomweb import Instance, Series, Stored, Study
from ptx_app.pipeline import Examination
from ptx_app.ui import archive
from ptx_app.ui.visit import Archived, Case, Film, Visit
from tests.hospital.test_dicomweb import SERIES, STUDY, film, uid_of


def study(number: int) -> Study:
    return Study(f"1.2.{number}", "2026-11-20", "10:00", "", "", (Series(f"1.2.{number}.1", "CR", 1),))


class Corrected:
    """An archive in which study 2 was given to the patient of study 3 after it was found among those of study 1."""

    def __init__(self) -> None:
        self.others = {"1.2.1": [2], "1.2.2": [3]}

    def priors(self, uid: str) -> list[Study]:
        return [study(number) for number in self.others[uid]]

    def films(self, uid: str, series: list[str]) -> list[Instance]:
        return [Instance(uid, series[0], f"{uid}.1.1")]


def test_films_that_the_archive_has_given_to_another_patient_are_not_compared_any_more(monkeypatch):
    drawn = SimpleNamespace(button=lambda *_, **__: True, spinner=lambda *_: nullcontext(), html=lambda *_: None)
    monkeypatch.setattr(archive, "st", drawn)
    monkeypatch.setattr(archive, "_pacs", Corrected)

    def take(visit: Visit, in_round: int, films: Any) -> None:
        visit.take(in_round, [(name, lambda _: None) for name, _, _ in films], archived=[to for _, _, to in films])

    monkeypatch.setattr(archive, "take_archived", take)
    visit = Visit()
    visit.cases.append(Case(99, "first", archived=Archived(Instance("1.2.1", "1.2.1.1", "1.2.1.1.1"), study(1))))
    archive.offer_priors(visit, visit.cases[0])
    first, second = (case.archived for case in visit.cases)
    assert first.patient == second.patient != ""
    archive.offer_priors(visit, visit.cases[1])
    first, second, third = (case.archived for case in visit.cases)
    assert second.patient == third.patient
    assert first.patient != second.patient


@pytest.mark.parametrize(
    ("pieces", "texts"),
    [
        ([(1 << 20, 2 << 20), (2 << 20, 2 << 20)], ["receiving, 50 %", "receiving, 100 %"]),
        ([(2 << 20, None)], ["receiving, 2 MB"]),
    ],
)
def test_a_film_that_comes_tells_how_far_it_is(pieces, texts):
    class Archive:
        def fetch(self, _film: Instance, progress: Any) -> bytes:
            for piece in pieces:
                progress(*piece)
            return b"film"

    said: list[str] = []
    assert archive._fetch(Archive(), Instance("1", "2", "3"), said.append) == b"film"
    assert said == ["asking the archive", *texts, ""]


def test_each_objects_answer_is_listed_and_what_was_refused_looks_so():
    answers = {kind: Stored("OK", "Stored.") for kind in ("seg", "sc", "gsps", "sr")}
    answers["sc"] = Stored("PACS_REFUSED", "The archive refused it: <reason> 0110.")
    listed = archive._answers(answers)
    assert re.findall(r'<li class="(.*?)">(.*?)</li>', listed) == [
        ("stored", "Segmentation: Stored."),
        ("refused", "Secondary capture: The archive refused it: &lt;reason&gt; 0110."),
        ("stored", "Presentation state: Stored."),
        ("stored", "Structured report: Stored."),
    ]


@pytest.mark.parametrize("same", [True, False])
def test_results_are_not_stored_beside_another_picture_than_the_one_that_was_read(monkeypatch, same):
    there = film()
    dataset = pydicom.dcmread(io.BytesIO(there))
    dataset.PixelData = dataset.PixelData[::-1]
    corrected = io.BytesIO()
    dataset.save_as(corrected)
    stored: list[str] = []

    class Archive:
        def fetch(self, _film: Instance) -> bytes:
            return there if same else corrected.getvalue()

        def store_all(self, _objects: dict[str, bytes], to: str) -> dict[str, Stored]:
            stored.append(to)
            return {}

    monkeypatch.setattr(archive, "read", read_film, raising=False)
    monkeypatch.setattr(archive, "read_source", read_source)
    monkeypatch.setattr("ptx_app.output.dicom.objects.dicom_objects", lambda *_: {})
    instance = Instance(STUDY, SERIES, uid_of(there))
    _, error = archive._stored(Archive(), instance, Film.of(Examination(read_film(there), ())), None, None)
    assert stored == ([STUDY] if same else [])
    assert (error and error.code) == (None if same else "PACS_OTHER_FILM")

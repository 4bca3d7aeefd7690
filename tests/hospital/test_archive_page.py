"""The page with an archive: from the search to results in the study, in a browser, and read back with dcmtk."""

import os
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import cv2
import numpy as np
import pydicom
import pytest
from websockets.sync.client import connect

from ptx_app.audit import Trail
from ptx_app.data.challenge import decode_run_lengths, find_films, read_run_lengths
from ptx_app.model.manifest import ROOT
from tests.hospital.test_dicomweb import CANNOT_BE_REACHED, PATIENT, STUDY, film, uid_of
from tests.support.contrast import contrasts
from tests.support.films import ct_slice
from tests.support.marked_films import MARK
from tests.support.orthanc import ORTHANC, PASSWORD, USER, Orthanc, dumped, pictures
from tests.support.serving import (
    CHROMIUM,
    NO_CHROMIUM,
    Server,
    all_read,
    downloaded,
    films_of,
    open_again,
    running_server,
    until,
)
from tests.support.watching import small_film

needs_browser = pytest.mark.skipif(not CHROMIUM, reason=NO_CHROMIUM)
# Of an archive on this machine; what it answers does not matter where it is not asked.
NOWHERE = {"PTX_PACS_ADDRESS": "http://127.0.0.1:9/dicom-web"}


AUDIT_KEY = "a key that only the operator of this test has"


@pytest.fixture(scope="module")
def audit_folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("trail")


def settings_for(archive: Orthanc, **more: str) -> dict[str, str]:
    """The settings of a page that may search the archive and store in it."""
    values = {"ADDRESS": archive.address, "USER": USER, "PASSWORD": PASSWORD, "STORE": "true"} | more
    return {f"PTX_PACS_{name}": value for name, value in values.items()}


@pytest.fixture(scope="module")
def app(archive, audit_folder) -> Iterator[Server]:
    audit = {"PTX_AUDIT_FOLDER": str(audit_folder), "PTX_AUDIT_KEY": AUDIT_KEY}
    with running_server(environment=settings_for(archive) | audit) as running:
        yield running


@pytest.fixture(scope="module")
def app_by_patient(archive) -> Iterator[Server]:
    """A page whose operator allows to search by patient ID."""
    with running_server(environment=settings_for(archive, PATIENT_ID="true")) as running:
        yield running


def search(page, number: str = "A1") -> None:
    page.get_by_role("textbox", name="Accession number").fill(number)
    page.get_by_role("button", name="Search").click()


def search_days(page, since: str, until: str) -> None:
    """Search by days alone, given as YYYY-MM-DD."""
    for key, day in (("archive-since", since), ("archive-until", until)):
        box = page.locator(f".st-key-{key} input")
        box.fill(day)
        box.press("Tab")
    page.get_by_role("button", name="Search").click()


def search_patient(page, patient: str) -> None:
    page.get_by_role("textbox", name="Patient ID").fill(patient)
    page.get_by_role("button", name="Search").click()


def studies_in(page) -> Any:
    """The studies in the page's list, as rows."""
    return page.get_by_role("table", name="Studies in the archive").locator("tbody").get_by_role("row")


def said_of(archive: Orthanc) -> list[str]:
    return [dumped(each) for each in archive.objects(STUDY)]


@ORTHANC
@needs_browser
def test_from_search_to_results_in_the_study(orthanc, app, tab, audit_folder):
    mine = film()
    other = {"StudyInstanceUID": "1.2.3", "SeriesInstanceUID": "1.2.3.1", "AccessionNumber": "B2"}
    orthanc.put(mine, film(Rows=1000), small_film(**other))
    page = open_again(tab, app.address)
    page.get_by_role("button", name="Search").click()
    page.get_by_text("No study matches.").wait_for()  # none of today
    search(page)
    table = page.get_by_role("table", name="Studies in the archive")
    table.wait_for()
    assert table.get_by_role("row").count() == 2
    row = table.get_by_role("row").nth(1).inner_text()
    assert all(said in row for said in ("2026-11-20", "10:15", "A1", "CR", "2"))
    assert MARK.decode() not in page.content()
    assert [each for each in contrasts(page) if each[0] < 4.5] == []

    table.get_by_role("button", name="Open").click()
    films = all_read(page, 2)
    assert sorted("not read" in films.nth(place).inner_text() for place in range(2)) == [False, True]
    good = next(films.nth(place) for place in range(2) if "not read" not in films.nth(place).inner_text())
    good.click()
    page.locator(".stage[data-film]").wait_for()
    page.get_by_text("2026-11-20 10:15, accession A1").wait_for()
    assert len(said_of(orthanc)) == 2

    page.get_by_role("button", name="Store in the archive").click()
    page.get_by_text("They cannot be removed from here.").wait_for()
    assert len(said_of(orthanc)) == 2  # not before the question is answered
    button = page.get_by_role("button", name="Store in the patient’s study")
    button.evaluate("button => { button.click(); setTimeout(() => button.click(), 300); }")  # but stored once
    page.get_by_text("The archive says").wait_for()
    page.wait_for_timeout(3000)
    for kind in ("Segmentation", "Secondary capture", "Presentation state", "Structured report"):
        page.get_by_text(f"{kind}: Stored.").wait_for()
    page.get_by_text("4 of 4 objects are in the archive.").wait_for()
    stored = said_of(orthanc)
    assert len(stored) == 6
    page.get_by_text("Storing again adds a second set.").wait_for()
    made = [said for said in stored if uid_of(mine) in said and "ContributingEquipment" in said]
    assert len(made) == 4
    assert all(f"[{PATIENT['PatientID']}]" in said and f"[{STUDY}]" in said and "[A1" in said for said in made)
    assert {kind for said in made for kind in ("SEG", "PR", "SR", "CR") if f"CS [{kind}" in said} == {
        "SEG", "PR", "SR", "CR",
    }  # fmt: skip
    assert [each for each in contrasts(page) if each[0] < 4.5] == []

    # The films of the visit go, and with them what was found.
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Clear all films").click()
    page.get_by_role("button", name="Delete all").click()
    page.get_by_role("heading", name="Is there a pneumothorax").wait_for()
    assert page.get_by_role("table", name="Studies in the archive").count() == 0
    assert MARK.decode() not in app.said
    assert STUDY not in app.said

    # All of it is in the audit trail, in its order.
    trail = Trail(audit_folder, AUDIT_KEY)
    assert trail.verify().faults == ()
    told = [line.record for line in trail.lines()]
    opened = [record for record in told if record["event"] == "film opened"]
    assert [record["how"] for record in opened] == ["archive", "archive"]
    (begun,) = [record for record in told if record["event"] == "storing begun"]
    (ended,) = [record for record in told if record["event"] == "storing ended"]
    assert begun["film"] == ended["film"] in {record["film"] for record in opened}
    assert ended["objects"] == dict.fromkeys(("seg", "sc", "gsps", "sr"), "OK")
    events = [record["event"] for record in told]
    assert events.count("archive searched") == 2
    assert events.index("archive searched") < events.index("film opened") < events.index("storing begun")
    assert events.index("storing begun") < events.index("storing ended")


@pytest.mark.thorough
@ORTHANC
@needs_browser
def test_a_real_film_goes_from_the_search_to_a_segmentation_that_dcmtk_reads_back(
    orthanc, app_by_patient, tab, data_dir
):
    folder = data_dir / "siim-val-dicom"
    if not folder.is_dir():
        pytest.skip("there are no validation films")
    films, outlined = find_films(folder), read_run_lengths(folder / "train-rle.csv")
    orthanc.put(*(path.read_bytes() for path in films.values()))
    experts = {name: decode_run_lengths(outlined[name], (1024, 1024)) for name in films}
    name = max(experts, key=lambda name: experts[name].sum())
    header = pydicom.dcmread(films[name], stop_before_pixels=True)

    page = open_again(tab, app_by_patient.address)
    search_days(page, "1901-01-02", "1901-12-31")
    page.get_by_text("No study matches.").wait_for()
    search_days(page, "1901-01-01", "1901-01-01")
    until(lambda: studies_in(page).count() == len(films), 60)
    search_patient(page, header.PatientID)
    until(lambda: studies_in(page).count() == 1, 60)
    studies_in(page).get_by_role("button", name="Open").click()
    all_read(page, 1)
    page.get_by_role("heading", name="Pneumothorax flagged").wait_for()
    page.locator('.stage[data-film][data-size="1024 × 1024"]').wait_for()
    mask, overlay = (
        cv2.imdecode(np.frombuffer(downloaded(page, f"{each} PNG"), np.uint8), cv2.IMREAD_UNCHANGED)
        for each in ("Mask", "Overlay")
    )
    assert 2 * (experts[name] & (mask > 0)).sum() > 0.5 * (experts[name].sum() + (mask > 0).sum())  # no mirror image

    page.get_by_role("button", name="Store in the archive").click()
    page.get_by_role("button", name="Store in the patient’s study").click()
    page.get_by_text("4 of 4 objects are in the archive.").wait_for()
    stored = {dumped(each): each for each in orthanc.objects(header.StudyInstanceUID) if uid_of(each) != name}
    assert len(stored) == 4
    assert all(f"[{header.PatientID}]" in said and name in said for said in stored)
    segmentation, capture = (
        next(each for said, each in stored.items() if f"(0002,0002) UI ={kind}Storage" in said)
        for kind in ("Segmentation", "SecondaryCaptureImage")
    )
    assert np.array_equal(np.any(pictures(segmentation), axis=0), mask > 0)
    assert np.array_equal(pictures(capture)[0], overlay)


@pytest.mark.thorough
@ORTHANC
@needs_browser
def test_the_list_has_what_the_filters_say_and_only_those_that_the_operator_allows(orthanc, app, app_by_patient, tab):
    def of(number: int, day: str) -> bytes:
        uids = {"StudyInstanceUID": f"1.2.60.{number}", "SeriesInstanceUID": f"1.2.60.{number}.1"}
        return film(**uids, StudyDate=day, AccessionNumber=f"N{number}", PatientID=f"patient-{number}")

    def listed(*numbers: int) -> None:
        """Wait until the page says that these studies match, and no other."""
        wanted, nothing = [f"N{number}" for number in numbers], page.get_by_text("No study matches.")
        seen = studies_in(page).locator("td:nth-child(3)")
        until(lambda: seen.all_inner_texts() == wanted and nothing.is_visible() == (not wanted), 60)

    orthanc.put(of(1, "20110228"), of(2, "20110301"), of(3, "20110331"), of(4, "20110401"))
    page = open_again(tab, app_by_patient.address)
    search_days(page, "2011-03-01", "2011-03-31")
    listed(3, 2)
    search_days(page, "2011-03-02", "2011-03-30")
    listed()
    search_days(page, "2011-02-28", "2011-04-01")
    listed(4, 3, 2, 1)
    search_days(page, "2011-04-01", "2011-03-31")
    page.get_by_text("PACS_FILTER").wait_for()
    search_patient(page, "patient-1")  # the days are ignored
    listed(1)
    assert "patient-1" in studies_in(page).inner_text()
    search_patient(page, "patient-5")
    listed()
    search_patient(page, "patient-2")
    listed(2)
    search(page, "N3")  # both are asked for
    listed()
    search_patient(page, "patient-3")
    listed(3)

    page = open_again(tab, app.address)
    search(page, "N3")
    listed(3)
    assert page.get_by_role("textbox", name="Patient ID").count() == 0
    assert "patient-3" not in page.content()


@pytest.mark.thorough
@ORTHANC
@needs_browser
def test_the_patients_other_films_are_opened_and_compared_side_by_side(orthanc, app, tab, audit_folder):
    def of(number: int, day: str, **tags: object) -> bytes:
        uids = {"StudyInstanceUID": f"1.2.40.{number}", "SeriesInstanceUID": f"1.2.40.{number}.1"}
        return film(**uids, StudyDate=day, AccessionNumber=f"P{number}", **tags)

    orthanc.put(of(1, "20260301"), of(2, "20260501"), of(3, "20260201"), of(4, "20260101", PatientID="another"))
    page = open_again(tab, app.address)
    search(page, "P1")
    page.get_by_role("table", name="Studies in the archive").get_by_role("button", name="Open").click()
    all_read(page, 1)
    page.get_by_text("2026-03-01 10:15, accession P1").wait_for()
    assert page.get_by_role("button", name="Compare the patient").count() == 0
    page.get_by_role("button", name="Open the patient’s other films").click()
    all_read(page, 3)
    page.get_by_text("2026-03-01 10:15, accession P1").wait_for()  # the film on the screen stays

    page.get_by_role("button", name="Compare the patient’s 3 films").click()
    compared = page.get_by_role("dialog", name="One patient's films, oldest first")
    figures = compared.locator("figure")
    until(lambda: figures.count() == 3, 30)
    days = [figures.nth(place).locator("b").inner_text() for place in range(3)]
    assert days == ["2026-02-01 10:15", "2026-03-01 10:15", "2026-05-01 10:15"]
    assert [figures.nth(place).get_attribute("class") for place in range(3)] == ["", "current", ""]
    pictures = figures.locator("img")
    assert all(pictures.nth(place).evaluate("picture => picture.naturalWidth") > 100 for place in range(3))
    assert "score" in figures.nth(0).inner_text()
    assert compared.get_by_text("→").first.inner_text().count("→") == 2  # the course over three films
    assert MARK.decode() not in page.content()
    assert [each for each in contrasts(page) if each[0] < 4.5] == []
    page.keyboard.press("Escape")
    compared.wait_for(state="hidden")
    told = [line.record for line in Trail(audit_folder, AUDIT_KEY).lines()]
    assert sum(record.get("place") == "comparison" for record in told) == 3

    # Once more there is nothing to open.
    page.get_by_role("button", name="Open the patient’s other films").click()
    page.get_by_role("button", name="Compare the patient’s 3 films").wait_for()
    assert films_of(page).count() == 3


@ORTHANC
@needs_browser
def test_what_fails_is_said_and_the_page_goes_on(orthanc, app, tab, audit_folder):
    orthanc.put(film())
    page = open_again(tab, app.address)
    search(page, "A*")
    page.get_by_text("PACS_FILTER").wait_for()
    search(page)
    table = page.get_by_role("table", name="Studies in the archive")
    table.wait_for()
    orthanc.clear()
    table.get_by_role("button", name="Open").click()
    page.get_by_text("PACS_GONE").wait_for()
    orthanc.put(film(), ct_slice())
    search(page)
    table.get_by_role("button", name="Open").click()
    all_read(page, 1)
    page.locator(".stage[data-film]").wait_for()
    orthanc.clear()  # between opening and storing
    page.get_by_role("button", name="Store in the archive").click()
    page.get_by_role("button", name="Store in the patient’s study").click()
    page.get_by_role("heading", name="Not stored").wait_for()
    page.get_by_text("PACS_GONE").wait_for()
    assert orthanc.objects(STUDY) == []
    assert "Traceback" not in app.said
    *_, ended = (
        line.record for line in Trail(audit_folder, AUDIT_KEY).lines() if line.record["event"] == "storing ended"
    )
    assert ended["code"] == "PACS_GONE"
    assert "objects" not in ended


@pytest.mark.thorough
@needs_browser
@pytest.mark.parametrize(
    ("values", "code"),
    [(NOWHERE, "PACS_UNREACHABLE"), ({"PTX_PACS_ADDRESS": "pacs"}, "PACS_SETTINGS_INVALID")],
)
def test_an_archive_that_cannot_be_used_does_not_keep_the_page_from_working(tab, values, code):
    with running_server(environment=values) as server:
        page = open_again(tab, server.address)
        if code == "PACS_UNREACHABLE":
            page.get_by_role("button", name="Search").click()
            page.get_by_text(CANNOT_BE_REACHED).wait_for()
        page.get_by_text(code).wait_for()
        page.get_by_role("button", name="Large pneumothorax").click()
        until(lambda: films_of(page).count() == 1, 60)


def said_by_hand(server: Server, host: str, headers: dict[str, str]) -> bytes:
    """Open the page's connection without a browser, under this name, say that the page is at localhost, and return what
    is sent.
    """
    from streamlit.proto.BackMsg_pb2 import BackMsg
    from streamlit.proto.ForwardMsg_pb2 import ForwardMsg

    with urllib.request.urlopen(f"{server.address}/_stcore/health", timeout=10) as answer:
        token = answer.headers["Set-Cookie"].partition(";")[0].partition("=")[2]
    ask = BackMsg()
    ask.rerun_script.context_info.url = "http://localhost:8501/"
    port = urlsplit(server.address).port
    place = f"{host}:{port}"
    sent: list[bytes] = []
    with connect(
        f"ws://{place}/_stcore/stream",
        sock=socket.create_connection(("127.0.0.1", port), 10),
        origin=f"http://{place}",
        subprotocols=["streamlit", token],
        additional_headers={"Cookie": f"_streamlit_xsrf={token}"} | headers,
        max_size=None,
    ) as stream:
        stream.send(ask.SerializeToString())
        message = ForwardMsg()
        while message.WhichOneof("type") != "script_finished":
            sent.append(stream.recv(60))
            message.ParseFromString(sent[-1])
    return b"".join(sent)


@pytest.mark.parametrize(
    ("where", "host", "headers", "shown"),
    [
        ("127.0.0.1", "127.0.0.1", {}, True),
        ("127.0.0.1", "127.0.0.1", {"X-Forwarded-For": "203.0.113.9"}, False),
        ("127.0.0.1", "rebound.example", {}, False),  # another site's script, once its name leads to this computer
        ("0.0.0.0", "127.0.0.1", {}, False),
    ],
)
def test_no_address_that_a_visitor_states_opens_the_archive_to_others(where, host, headers, shown):
    with running_server(environment=NOWHERE, where=where) as server:
        said = said_by_hand(server, host, headers)
    assert b"Drop chest films" in said
    assert (b"From the archive" in said) == shown


_PAGE = """
import os, sys, time
from streamlit.testing.v1 import AppTest
page = AppTest.from_file("app.py", default_timeout=120).run()
page.query_params["example"] = "pneumothorax"
page.run()
while page.session_state["visit"].pending:
    time.sleep(0.1)
page.run()
assert not page.exception
names = [name for name in sys.modules if name.startswith(("dicomweb_client", "ptx_app.hospital", "ptx_app.ui.archive"))]
print("ARCHIVE" if any(each.label == "From the archive" for each in page.expander) else "NONE", len(names), flush=True)
os._exit(0)  # threads of the engine may still run
"""


def seen(**values: str) -> str:

    others = {name: value for name, value in os.environ.items() if not name.startswith("PTX_PACS")}
    words = [sys.executable, "-c", _PAGE]
    done = subprocess.run(words, cwd=ROOT, env=others | values, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().splitlines()[-1]


@pytest.mark.thorough
def test_nothing_of_it_is_shown_or_imported_where_no_archive_is_set():
    assert seen() == "NONE 0"


@pytest.mark.thorough
def test_it_is_shown_where_one_is_set_but_not_on_a_public_page():
    assert seen(**NOWHERE).startswith("ARCHIVE ")
    assert seen(**NOWHERE, PTX_PUBLIC_HOST="true") == "NONE 0"

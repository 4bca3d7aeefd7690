"""Archives over DICOMweb: a real Orthanc, and small servers that are slow, cut their answers, or lie."""

import gzip
import io
import json
import logging
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from datetime import date
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import highdicom
import pydicom
import pytest
from pydicom.datadict import tag_for_keyword
from pydicom.uid import ExplicitVRLittleEndian, RLELossless
from urllib3.util import Retry

from ptx_app.errors import PtxError, SettingsError
from ptx_app.film import read_film
from ptx_app.film.sandbox.reader import SandboxedReader
from ptx_app.hospital import dicomweb
from ptx_app.hospital.dicomweb import Filters, Instance, Pacs, Stored
from ptx_app.hospital.pacs_settings import PacsSettings, read_pacs_settings
from ptx_app.inference.decide import Thresholds
from ptx_app.output.dicom.objects import dicom_objects
from ptx_app.output.setting import Setting
from ptx_app.pipeline import Detector
from ptx_app.privacy import _LOGGERS
from ptx_app.settings import pacs_is_set
from tests.support.certificates import OPENSSL, make_certificates
from tests.support.marked_films import MARK
from tests.support.orthanc import ORTHANC, PASSWORD, USER, Orthanc, dumped
from tests.support.watching import small_film
from tests.support.weights_server import dripping, file, page, redirect, running_server, stalled

STUDY, SERIES = "1.2.826.0.1.3680043.8.498.1", "1.2.826.0.1.3680043.8.498.1.1"
PATIENT = {"PatientName": f"{MARK.decode()}^Jane", "PatientID": f"{MARK.decode()}ID"}
WHERE = {"StudyInstanceUID": STUDY, "SeriesInstanceUID": SERIES}
WHEN = {"StudyDate": "20261120", "StudyTime": "101530", "AccessionNumber": "A1"}


def film(**tags: object) -> bytes:
    return small_film(**PATIENT | WHERE | WHEN | tags)


def uid_of(data: bytes) -> str:
    return str(pydicom.dcmread(io.BytesIO(data)).SOPInstanceUID)


def rewritten(data: bytes, uid: str) -> bytes:
    """The same film under another SOP instance UID."""
    dataset = pydicom.dcmread(io.BytesIO(data))
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = uid
    written = io.BytesIO()
    dataset.save_as(written)
    return written.getvalue()


def pacs(address: str, **settings: object) -> Pacs:
    return Pacs(PacsSettings(address=address, **settings))


def opened(orthanc: Orthanc, **settings: object) -> Pacs:
    return pacs(orthanc.address, user=USER, password=PASSWORD, **settings)


@pytest.fixture
def server() -> Iterator[Any]:
    with running_server() as fake:
        yield fake


def code(call: Any, *arguments: object) -> str:
    with pytest.raises(PtxError) as raised:
        call(*arguments)
    assert raised.value.__cause__ is None
    assert raised.value.__suppress_context__ or raised.value.__context__ is None
    return raised.value.code


# With a real archive.


@ORTHANC
def test_the_other_studies_of_a_patient_are_found_oldest_first_and_no_other_patients(orthanc):
    def of(number: int, day: str, **tags: object) -> bytes:
        uids = {"StudyInstanceUID": f"1.2.40.{number}", "SeriesInstanceUID": f"1.2.40.{number}.1"}
        return film(**uids, StudyDate=day, **tags)

    orthanc.put(
        of(1, "20260301"),
        of(2, "20260501"),
        of(3, "20260201"),
        of(4, "20260101", PatientID=PATIENT["PatientID"].lower()),
        of(5, "20260102", IssuerOfPatientID="another hospital"),
        of(6, "20260103", PatientID="someone else"),
    )
    archive = opened(orthanc)
    assert [study.uid for study in archive.priors("1.2.40.1")] == ["1.2.40.3", "1.2.40.2"]
    assert [study.uid for study in archive.priors("1.2.40.1", most=1)] == ["1.2.40.2"]
    assert {study.patient_id for study in archive.priors("1.2.40.1")} == {""}
    assert archive.priors("1.2.40.6") == []
    assert code(archive.priors, "1.2.40.99") == "PACS_GONE"


@ORTHANC
@pytest.mark.parametrize("patient", ["", "A*", "A?"])
def test_without_an_id_that_can_be_searched_for_no_priors_are_guessed(orthanc, patient):
    orthanc.put(film(PatientID=patient), film(StudyInstanceUID="1.2.41", PatientID=patient))
    assert code(opened(orthanc).priors, STUDY) == "PACS_NO_PATIENT"


@ORTHANC
def test_the_worklist_has_chest_films_by_day_number_and_patient_newest_first(orthanc):
    old = {"StudyInstanceUID": "1.2.3", "SeriesInstanceUID": "1.2.3.1", "StudyDate": "20250101", "StudyTime": "0900"}
    same_day = {"StudyDate": "20261120"}
    orthanc.put(
        film(), film(),
        small_film(PatientID="other", AccessionNumber="B2", Modality="DX", **old),
        small_film(**same_day, StudyInstanceUID="1.2.4", SeriesInstanceUID="1.2.4.1", BodyPartExamined="KNEE"),
        small_film(**same_day, StudyInstanceUID="1.2.5", SeriesInstanceUID="1.2.5.1", Modality="MG"),
    )  # fmt: skip
    asked = opened(orthanc)
    new, second = asked.worklist(Filters()).studies
    assert (new.uid, new.date, new.time, new.accession_number, new.patient_id) == (
        STUDY,
        "2026-11-20",
        "10:15",
        "A1",
        "",
    )
    assert [(each.uid, each.modality, each.films) for each in new.series] == [(SERIES, "CR", 2)]
    assert (second.uid, second.series[0].modality) == ("1.2.3", "DX")

    def found(filters: Filters, of: Pacs = asked) -> list[str]:
        return [study.uid for study in of.worklist(filters).studies]

    assert found(Filters(since=date(2026, 1, 1))) == [STUDY]
    assert found(Filters(until=date(2025, 12, 31))) == ["1.2.3"]
    assert found(Filters(since=date(2026, 11, 20), until=date(2026, 11, 20))) == [STUDY]
    assert found(Filters(accession_number="B2")) == ["1.2.3"]
    assert found(Filters(accession_number="nothing")) == []
    allowed = opened(orthanc, patient_id=True)
    assert found(Filters(patient_id="other"), allowed) == ["1.2.3"]
    assert allowed.worklist(Filters()).studies[0].patient_id == PATIENT["PatientID"]
    assert found(Filters(since=date(2026, 1, 1)), opened(orthanc, body_part="")) == [STUDY, "1.2.4"]
    assert asked.worklist(Filters(), most=1).cut
    assert not asked.worklist(Filters(), most=2).cut


@ORTHANC
def test_a_film_comes_as_it_is_stored_with_its_progress(orthanc):
    sent = film()
    orthanc.put(sent)
    (there,) = opened(orthanc).films(STUDY)
    assert there == Instance(STUDY, SERIES, uid_of(sent))
    told: list[tuple[int, int | None]] = []
    assert opened(orthanc).fetch(there, lambda *so_far: told.append(so_far)) == sent
    received, whole = zip(*told, strict=True)
    assert list(received) == sorted(received)
    assert received[-1] == whole[0]


@ORTHANC
def test_a_film_stored_in_a_way_that_cannot_be_read_is_asked_for_uncompressed(orthanc, monkeypatch):
    dataset = pydicom.dcmread(io.BytesIO(film()))
    dataset.compress(RLELossless)
    written = io.BytesIO()
    dataset.save_as(written)
    orthanc.put(written.getvalue())
    (there,) = opened(orthanc).films(STUDY)
    kept = opened(orthanc).fetch(there)
    assert pydicom.dcmread(io.BytesIO(kept)).file_meta.TransferSyntaxUID == RLELossless
    known = [uid for uid in dicomweb.TRANSFER_SYNTAXES if uid != RLELossless]
    monkeypatch.setattr(dicomweb, "TRANSFER_SYNTAXES", known)
    plain = opened(orthanc).fetch(there)
    assert pydicom.dcmread(io.BytesIO(plain)).file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    assert (read_film(plain).pixels == read_film(kept).pixels).all()


@ORTHANC
def test_what_is_not_there_and_who_is_not_let_in(orthanc):
    orthanc.put(film())
    assert code(opened(orthanc).fetch, Instance(STUDY, SERIES, "1.2.9")) == "PACS_GONE"
    assert code(opened(orthanc).films, "1.2.9") == "PACS_GONE"
    wrong = pacs(orthanc.address, user=USER, password="wrong")
    assert code(wrong.worklist, Filters()) == "PACS_NOT_ALLOWED"
    assert code(pacs(orthanc.address).films, STUDY) == "PACS_NOT_ALLOWED"
    nowhere = pacs(f"{orthanc.base}/elsewhere", user=USER, password=PASSWORD)
    assert code(nowhere.worklist, Filters()) == "PACS_ADDRESS"


@ORTHANC
def test_from_query_to_objects_stored_in_the_study_and_read_back(orthanc, caplog):
    caplog.set_level(logging.DEBUG)
    orthanc.put(film())
    asked = opened(orthanc, store=True)
    (study,) = asked.worklist(Filters(since=date(2026, 11, 1))).studies
    (there,) = asked.films(study.uid, [series.uid for series in study.series])
    data = asked.fetch(there)
    detector = Detector.load()
    with SandboxedReader(processes=1) as reader:
        radiograph, source = reader.read(data), there.require_source(reader.read_source, data)
        assert code(THERE.require_source, reader.read_source, data) == "PACS_OTHER_FILM"
    examination = detector.examine(radiograph)
    finding = detector.decide(examination.prediction, radiograph.shape)
    point = detector.weights.operating_point()
    setting = Setting.of(detector.weights, point, Thresholds.of(point), detector.network.engine)
    objects = dicom_objects(radiograph, finding, setting, source)
    answers = asked.store_all(objects, there.study)
    assert answers == dict.fromkeys(dicomweb.STORED, Stored("OK", "Stored."))
    stored = orthanc.objects(STUDY)
    assert len(stored) == 5
    headers = [pydicom.dcmread(io.BytesIO(each)) for each in stored]
    assert sorted(header.Modality for header in headers) == ["CR", "CR", "PR", "SEG", "SR"]
    assert {header.PatientID for header in headers} == {PATIENT["PatientID"]}
    assert {header.AccessionNumber for header in headers} == {"A1"}
    # Only the film itself is one to be read.
    assert asked.films(STUDY) == [there]
    assert [len(each.series) for each in asked.worklist(Filters()).studies] == [1]
    assert MARK.decode() not in caplog.text
    assert STUDY not in caplog.text
    for each in stored:
        said = dumped(each)
        assert f"[{STUDY}]" in said
        assert f"[{PATIENT['PatientID']}]" in said
    other = asked.store_all(objects, "1.2.99")
    assert {each.code for each in other.values()} == {"PACS_REFUSED"}


@ORTHANC
def test_films_of_the_challenge_go_the_whole_way(orthanc, data_dir):
    films = sorted((data_dir / "siim-val-dicom" / "dicom-images").rglob("*.dcm"))[:3]
    if not films:
        pytest.skip("there are no validation films")
    orthanc.put(*(each.read_bytes() for each in films))
    asked = opened(orthanc)
    studies = asked.worklist(Filters()).studies
    assert len(studies) == 3
    got = [asked.fetch(there) for study in studies for there in asked.films(study.uid)]
    assert {read_film(each).pixels.tobytes() for each in got} == {
        read_film(each.read_bytes()).pixels.tobytes() for each in films
    }


# With archives that misbehave.

THERE = Instance(STUDY, SERIES, "1.2.3")
PATH = f"/studies/{STUDY}/series/{SERIES}/instances/1.2.3"
FILM = rewritten(small_film(**WHERE), "1.2.3")
BOUNDARY = b"\r\n--here"
JSON = "application/dicom+json"


def saying(*, meta: str | None, own: str) -> bytes:
    """A film of which meta information and data set name other instances; None for a film without the former."""
    data = rewritten(FILM, own)
    start = data.index(b"\x02\x00\x03\x00UI")
    end = start + 8 + int.from_bytes(data[start + 6 : start + 8], "little")
    named = b"" if meta is None else data[start : start + 8] + meta.encode().ljust(end - start - 8, b"\0")
    return data[:start] + named + data[end:]


def multipart(*parts: bytes, end: bytes = b"--\r\n") -> bytes:
    head = b"\r\nContent-Type: application/dicom\r\n\r\n"
    return b"".join(BOUNDARY + head + part for part in parts) + BOUNDARY + end


def sent(
    body: bytes, kind: str = 'multipart/related; type="application/dicom"; boundary=here', length: int | None = None,
    status: int = 200,
) -> Any:  # fmt: skip
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        handler.send_header("Content-Type", kind)
        handler.send_header("Content-Length", str(len(body) if length is None else length))
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def silent(handler: BaseHTTPRequestHandler) -> None:
    """No answer at all: the connection is closed."""


def in_chunks(body: bytes, end: bytes = b"0\r\n\r\n") -> Any:
    """The body in chunks, without a length."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", 'multipart/related; type="application/dicom"; boundary=here')
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        for start in range(0, len(body), 50_000):
            piece = body[start : start + 50_000]
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        handler.wfile.write(end)

    return answer


def compressed(body: bytes) -> Any:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", 'multipart/related; type="application/dicom"; boundary=here')
        handler.send_header("Content-Encoding", "gzip")
        handler.end_headers()
        handler.wfile.write(gzip.compress(body))

    return answer


def referenced(uid: str, **more: int) -> bytes:
    item = {"00081155": {"vr": "UI", "Value": [uid]}, **{tag: {"vr": "US", "Value": [n]} for tag, n in more.items()}}
    sequence = "00081198" if "00081197" in more else "00081199"
    return pydicom.Dataset.from_json({sequence: {"vr": "SQ", "Value": [item]}}).to_json().encode()


def of_fake(server: Any, **settings: object) -> Pacs:
    return pacs(server.url, connect_seconds=5, **{"answer_seconds": 5, "whole_seconds": 20} | settings)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (sent(multipart(FILM)), None),
        (sent(FILM, "application/dicom"), None),
        (sent(multipart(FILM), 'multipart/related;boundary="here";type=application/dicom'), None),
        (in_chunks(multipart(FILM)), None),
        (in_chunks(multipart(FILM), end=b""), "PACS_CUT"),
        (in_chunks(multipart(FILM)[:100_000], end=b"ffff\r\ncut"), "PACS_CUT"),
        (compressed(multipart(FILM)), None),
        (compressed(bytes(130 << 20)), "PACS_TOO_LARGE"),
        (sent(multipart(FILM)[:-3000], length=len(multipart(FILM))), "PACS_CUT"),
        (sent(multipart(FILM), length=len(FILM) // 2), "PACS_CUT"),
        (sent(multipart(FILM, end=b"")), "PACS_ANSWER"),
        (sent(multipart(FILM, FILM)), "PACS_ANSWER"),
        (sent(b""), "PACS_CUT"),
        (sent(multipart(b"%PDF-1.7")), "PACS_NOT_DICOM"),
        (page("<h1>Sign in</h1>"), "PACS_NOT_DICOM"),
        (sent(multipart(rewritten(FILM, "1.2.4"))), "PACS_OTHER_FILM"),
        (sent(multipart(saying(meta="1.2.3", own="1.2.4"))), "PACS_OTHER_FILM"),
        (sent(multipart(saying(meta="1.2.4", own="1.2.3"))), "PACS_OTHER_FILM"),
        (sent(multipart(saying(meta=None, own="1.2.4"))), "PACS_OTHER_FILM"),
        (redirect("https://sign-in.example/"), "PACS_ELSEWHERE"),
        (page("", 401), "PACS_NOT_ALLOWED"),
        (page("", 403), "PACS_NOT_ALLOWED"),
        (page("", 404), "PACS_GONE"),
        (page("", 410), "PACS_GONE"),
        (page("", 429), "PACS_BUSY"),
        (page("", 500), "PACS_FAILED"),
        (page("", 503), "PACS_BUSY"),
        (page("", 400), "PACS_REFUSED"),
        ([page("", 503), sent(multipart(FILM))], None),
        ([sent(multipart(FILM)[:-9], length=len(multipart(FILM))), sent(multipart(FILM))], None),
        ([page("", 406), sent(multipart(FILM))], None),
    ],
)
def test_a_film_comes_whole_or_the_reason_is_one_sentence(server, answer, expected):
    server.answers[PATH] = answer
    if expected is None:
        assert of_fake(server).fetch(THERE) == FILM
    else:
        assert code(of_fake(server).fetch, THERE) == expected
    assert len(server.asked) <= 4


def test_a_film_that_is_too_large_is_not_received(server, monkeypatch):
    monkeypatch.setattr(dicomweb, "Limits", lambda: type("Small", (), {"file_bytes": 1000}))
    monkeypatch.setattr(dicomweb, "_WRAPPING_BYTES", 1000)
    server.answers[PATH] = sent(multipart(FILM))
    received: list[int] = []
    assert code(of_fake(server).fetch, THERE, lambda now, _: received.append(now)) == "PACS_TOO_LARGE"
    assert max(received, default=0) <= 2000


@pytest.mark.parametrize(
    "answer", [stalled(multipart(FILM), 20), dripping(multipart(FILM), 0.02), file(FILM, pause=20)]
)
def test_a_slow_archive_is_given_up(server, answer):
    server.answers[PATH] = answer
    begun = time.monotonic()
    assert code(of_fake(server, answer_seconds=0.4, whole_seconds=1).fetch, THERE) == "PACS_TIMEOUT"
    assert time.monotonic() - begun < 15
    assert server.asked == [PATH]


def trickling(start: bytes) -> Any:
    """The start of an answer at once, then a byte now and then for ten seconds: never silent for long, never done."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(start)
        for _ in range(200):
            handler.wfile.write(b"x")
            time.sleep(0.05)

    return answer


@pytest.mark.parametrize(
    "start", [b"HTTP/1.1 200 OK\r\nX-Header: ", b"HTTP/1.1 503 Busy\r\nContent-Length: 1000000\r\n\r\n"]
)
def test_neither_headers_nor_the_answer_of_a_busy_archive_go_on_for_ever(server, start):
    server.answers[PATH] = trickling(start)
    begun = time.monotonic()
    assert code(of_fake(server, answer_seconds=0.4, whole_seconds=1).fetch, THERE) == "PACS_TIMEOUT"
    assert time.monotonic() - begun < 5


def test_what_an_archive_answers_wrongly_puts_no_address_into_the_log(server, caplog):
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/dicom+json\r\nno header\r\n\r\n[]")

    caplog.set_level(logging.DEBUG)
    server.answers["/series"] = answer
    with suppress(PtxError):
        of_fake(server, patient_id=True).worklist(Filters(accession_number="A17", patient_id=MARK.decode()))
    assert MARK.decode() in server.asked[0]
    assert MARK.decode() not in caplog.text
    assert "A17" not in caplog.text


def test_every_logger_on_the_way_to_an_archive_is_silenced_as_they_quote_addresses(server, caplog):
    caplog.set_level(logging.DEBUG)
    with suppress(PtxError):
        of_fake(server).worklist(Filters())
    of_fake(server, store=True).store(FILM, STUDY)
    server.answers = {f"/studies/{STUDY}": silent}
    of_fake(server, store=True).store(FILM, STUDY)
    assert caplog.records == []
    made = {name for name, each in logging.root.manager.loggerDict.items() if isinstance(each, logging.Logger)}
    theirs = {name for name in made if name.partition(".")[0] in ("urllib3", "requests", "retrying", "dicomweb_client")}
    assert "urllib3.connectionpool" in theirs
    assert theirs <= set(_LOGGERS)


def test_who_watches_the_progress_can_end_it(server):
    class EnoughError(Exception):
        pass

    def enough(*_: object) -> None:
        raise EnoughError

    server.answers[PATH] = sent(multipart(FILM))
    with pytest.raises(EnoughError):
        of_fake(server).fetch(THERE, enough)


@pytest.fixture
def pauses(monkeypatch) -> list[float]:
    """The seconds before each retry. None is waited."""
    before: list[float] = []
    monkeypatch.setattr(Retry, "sleep", lambda retry, _=None: before.append(retry.get_backoff_time()))
    return before


@contextmanager
def no_room() -> Iterator[str]:
    """The address of a server whose queue of connections is full: to connect takes for ever."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(8):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def closed() -> str:
    """An address at which nothing listens."""
    with running_server() as fake:
        return fake.url


CANNOT_BE_REACHED = "The archive cannot be reached. Check its address in the settings, and the network."


@pytest.mark.parametrize("address", [closed, lambda: "http://no-such-host.invalid", None])
def test_an_archive_that_cannot_be_reached_is_said_to_be(pauses, address):
    with nullcontext(address()) if address else no_room() as where:
        archive = pacs(where, plain_http=True, store=True, connect_seconds=0.1)
        for call in (lambda: archive.worklist(Filters()), lambda: archive.films(STUDY), lambda: archive.fetch(THERE)):
            assert said(call) == ("PACS_UNREACHABLE", CANNOT_BE_REACHED)
        stored = archive.store(FILM, STUDY)
        assert (stored.code, stored.message) == ("PACS_UNREACHABLE", CANNOT_BE_REACHED)


def said(call: Callable[[], object]) -> tuple[str, str]:
    """Code and sentence of the error."""
    with pytest.raises(PtxError) as raised:
        call()
    return raised.value.code, raised.value.message


NOT_ALLOWED = "The archive does not allow this. Check token, password or certificate in the settings."
FULL = "The archive is full. Ask its operator to free some space."
BUSY = "The archive is busy. Try again later."
NOT_DICOM = "What the archive sent is not a DICOM file. Ask its operator to look at this film."


@pytest.mark.parametrize(
    ("answer", "asking", "sentence"),
    [
        (page("", 401), "worklist", NOT_ALLOWED),
        (page("", 403), "fetch", NOT_ALLOWED),
        (page("", 403), "store", NOT_ALLOWED),
        (page("", 410), "fetch", "The archive no longer has this. Search again."),
        (page("", 404), "store", "The archive no longer has this. Search again."),
        (
            page("", 404),
            "worklist",
            "There is no DICOMweb service at this address. Check the address in the settings.",
        ),
        (page("", 507), "store", FULL),
        (sent(referenced("1.2.3", **{"00081197": 0xA700}), JSON, status=409), "store", FULL),
        (page("<h1>Sign in</h1>"), "fetch", NOT_DICOM),
        (sent(multipart(b"%PDF-1.7")), "fetch", NOT_DICOM),
        (
            page("<h1>Sign in</h1>"),
            "worklist",
            "The archive's answer cannot be understood. Check the address in the settings.",
        ),
        (stalled(multipart(FILM), 20), "fetch", "The archive did not answer in time. Try again later."),
        (stalled(b"{}", 20), "store", "The archive did not answer in time. Try again later."),
        (
            redirect("https://sign-in.example/"),
            "worklist",
            "The archive redirects to another address, such as a sign-in page. Check address and token.",
        ),
        (silent, "fetch", "The connection to the archive broke before its whole answer was received. Try again."),
        (page("", 503), "fetch", BUSY),
        (page("", 503), "store", BUSY),
        (page("", 500), "store", "The archive reported an error of its own. Its log says why."),
        (page("", 400), "worklist", "The archive refused this request. Its log says why."),
    ],
)  # fmt: skip
def test_each_failure_is_a_sentence_that_says_what_to_do(server, pauses, answer, asking, sentence):
    server.answers = {PATH: answer, "/series": answer, f"/studies/{STUDY}": answer}
    archive = of_fake(server, store=True, answer_seconds=0.4)
    if asking == "store":
        assert archive.store(FILM, STUDY).message == sentence
    else:
        asked = partial(archive.worklist, Filters()) if asking == "worklist" else partial(archive.fetch, THERE)
        assert said(asked)[1] == sentence


@pytest.mark.parametrize("what", ["fetch", "store"])
@pytest.mark.parametrize(("refused", "expected"), [(1, "OK"), (2, "OK"), (3, "PACS_UNREACHABLE")])
def test_an_archive_that_refuses_connections_at_first_is_asked_again(monkeypatch, what, refused, expected):
    pauses: list[float] = []

    def pause(retry: Retry, _: object = None) -> None:
        pauses.append(retry.get_backoff_time())
        if len(pauses) == refused:
            late.listen()

    monkeypatch.setattr(Retry, "sleep", pause)
    with running_server(late=True) as late:
        late.answers = {PATH: sent(multipart(FILM)), f"/studies/{STUDY}": sent(referenced("1.2.3"), JSON)}
        archive = of_fake(late, store=True)
        if what == "store":
            assert archive.store(FILM, STUDY).code == expected
        elif expected == "OK":
            assert archive.fetch(THERE) == FILM
        else:
            assert code(archive.fetch, THERE) == expected
    assert pauses == [0, 0.6][:refused]
    assert len(late.asked) == (expected == "OK")


@pytest.mark.parametrize(
    ("answer", "expected", "times"),
    [
        (page("", 429), "PACS_BUSY", 3),
        (page("", 503), "PACS_BUSY", 3),
        (page("", 502), "PACS_BUSY", 1),
        (page("", 504), "PACS_BUSY", 1),
        (page("", 500), "PACS_FAILED", 1),
        (silent, "PACS_CUT", 1),
        (stalled(b"{}", 20), "PACS_TIMEOUT", 1),
        (sent(b'{"000811', JSON, length=900), "PACS_CUT", 1),
        (in_chunks(b'{"000811', end=b""), "PACS_CUT", 1),
        (redirect("https://sign-in.example/"), "PACS_ELSEWHERE", 1),
    ],
)
def test_what_may_have_arrived_is_not_stored_again_unasked(server, pauses, answer, expected, times):
    server.answers[f"/studies/{STUDY}"] = answer
    said = of_fake(server, store=True, answer_seconds=0.4).store(FILM, STUDY)
    assert (said.code, len(server.asked)) == (expected, times)


@pytest.mark.parametrize(("status", "times"), [(429, 3), (502, 3), (503, 3), (504, 3), (500, 1)])
def test_a_busy_archive_is_asked_three_times_for_a_film(server, pauses, status, times):
    server.answers[PATH] = page("", status)
    code(of_fake(server).fetch, THERE)
    assert len(server.asked) == times
    assert pauses == [0, 0.6][: times - 1]


@pytest.mark.parametrize(
    ("body", "kind", "expected"),
    [
        (b"[]", JSON, None),
        (b"", JSON, None),
        (b"<html>", "text/html", "PACS_ANSWER"),
        (b"[1, 2]", JSON, "PACS_ANSWER"),
        (b'[{"00080060": {"Value": 7}}]', JSON, "PACS_ANSWER"),
        (b"[" * 100_000, JSON, "PACS_ANSWER"),
        (b"[" + b" " * (17 << 20) + b"]", JSON, "PACS_TOO_LARGE"),
        (b'[{"00080060": {"Value": ["CR"]}, "0020000D": {"Value": ["../../x"]}}]', JSON, None),
        (
            b'[{"00080060": {"Value": ["CT"]}, "0020000D": {"Value": ["1.2"]}, "0020000E": {"Value": ["1.3"]}}]',
            JSON,
            None,
        ),
    ],
)
def test_a_worklist_is_one_or_the_reason_is_one_sentence(server, body, kind, expected):
    server.answers["/series"] = sent(body, kind)
    if expected is None:
        assert of_fake(server).worklist(Filters()) == dicomweb.Worklist((), cut=False)
    else:
        assert code(of_fake(server).worklist, Filters()) == expected


def row(number: int, **stated: str) -> dict[str, Any]:
    """A series of an answer: of study 1.2.NUMBER, and what it states of itself."""
    said = {"Modality": "CR", "StudyInstanceUID": f"1.2.{number}", "SeriesInstanceUID": f"1.2.{number}.1"} | stated
    return {f"{tag_for_keyword(name):08X}": {"vr": "LO", "Value": [each]} for name, each in said.items()}


@pytest.mark.parametrize(
    ("filters", "own", "others"),
    [
        ({}, [{"BodyPartExamined": "CHEST"}, {"BodyPartExamined": "chest "}, {}], [{"BodyPartExamined": "KNEE"}]),
        ({"accession_number": "A1"}, [{"AccessionNumber": " a1"}, {}], [{"AccessionNumber": "A12"}]),
        ({"patient_id": "p1 "}, [{"PatientID": "p1"}, {}], [{"PatientID": "P1"}, {"PatientID": "p2"}]),
        (
            {"since": date(2026, 2, 1), "until": date(2026, 2, 28)},
            [{"StudyDate": "20260201"}, {"StudyDate": "20260228"}, {"StudyDate": "unknown"}, {}],
            [{"StudyDate": "20260131"}, {"StudyDate": "20260301"}],
        ),
        ({"since": date(2026, 2, 1)}, [{"StudyDate": "20260201"}], [{"StudyDate": "20260131"}]),
        ({"until": date(2026, 2, 28)}, [{"StudyDate": "20200101"}], [{"StudyDate": "20260301"}]),
    ],
)
def test_what_states_to_be_other_than_asked_for_is_not_in_the_worklist(server, filters, own, others):
    rows = [row(number, **stated) for number, stated in enumerate([*own, *others])]
    server.answers["/series"] = sent(json.dumps(rows).encode(), JSON)
    found = of_fake(server, patient_id=True).worklist(Filters(**filters)).studies
    assert {study.uid for study in found} == {f"1.2.{number}" for number in range(len(own))}


def test_of_any_body_part_every_row_counts_and_an_answer_with_others_only_may_be_cut(server, monkeypatch):
    rows = [row(number, BodyPartExamined=part) for number, part in enumerate(["CHEST", "KNEE"])]
    server.answers["/series"] = sent(json.dumps(rows).encode(), JSON)
    assert len(of_fake(server, body_part="").worklist(Filters()).studies) == 2
    assert not of_fake(server).worklist(Filters()).cut
    monkeypatch.setattr(dicomweb, "_MOST_SERIES", 1)
    assert of_fake(server).worklist(Filters()).cut


def test_priors_of_another_body_part_are_left_out(server):
    rows = [row(number, PatientID="p", BodyPartExamined=part) for number, part in enumerate(["CHEST", "KNEE", "CHEST"])]
    server.answers["/series"] = sent(json.dumps(rows).encode(), JSON)
    server.answers["/studies"] = sent(json.dumps(rows[:1]).encode(), JSON)
    assert [study.uid for study in of_fake(server).priors("1.2.0")] == ["1.2.2"]


def test_no_more_is_asked_for_than_is_opened(server):
    series = [f"1.2.{number}" for number in range(50)]
    rows = ",".join(f'{{"00080018": {{"Value": ["1.3.{number}"]}}}}' for number in range(60))
    for uid in series:
        server.answers[f"/studies/{STUDY}/series/{uid}/instances"] = sent(f"[{rows}]".encode(), JSON)
    assert len(of_fake(server).films(STUDY, series)) == 100
    assert len(server.asked) == 2


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (sent(referenced("1.2.3"), JSON), "OK"),
        (sent(referenced("1.2.3"), f"{JSON}; charset=utf-8"), "OK"),
        (sent(referenced("1.2.3", **{"00081196": 0xB000}), JSON), "WARNING"),
        (sent(referenced("1.2.3", **{"00081197": 0xA700}), JSON, status=409), "PACS_FULL"),
        (sent(referenced("1.2.3", **{"00081197": 0x0124}), JSON, status=409), "PACS_NOT_ALLOWED"),
        (sent(referenced("1.2.3", **{"00081197": 0x0110}), JSON, status=202), "PACS_REFUSED"),
        (sent(referenced("1.2.4"), JSON), "PACS_ANSWER"),  # it says nothing of our object
        (sent(b"", JSON), "PACS_ANSWER"),
        (sent(b"Thank you!", "text/plain"), "PACS_ANSWER"),
        (page("", 507), "PACS_FULL"),
        (page("", 409), "PACS_REFUSED"),
        (page("", 403), "PACS_NOT_ALLOWED"),
        ([page("", 503), sent(referenced("1.2.3"), JSON)], "OK"),
    ],
)
def test_what_the_archive_says_of_an_object(server, answer, expected):
    server.answers[f"/studies/{STUDY}"] = answer
    said = of_fake(server, store=True).store(FILM, STUDY)
    assert said.code == expected
    assert said.ok == (expected in ("OK", "WARNING"))
    assert said.message.endswith(".")


def test_a_token_is_sent_to_the_archive_only_and_read_again_from_its_file(server, tmp_path):
    seen: list[str | None] = []

    def answer(handler: BaseHTTPRequestHandler) -> None:
        seen.append(handler.headers.get("Authorization"))
        assert handler.headers["Host"] == server.url.removeprefix("http://")
        sent(b"[]", JSON)(handler)

    server.answers["/series"] = answer
    token = tmp_path / "token"
    token.write_text("first\n")
    asked = of_fake(server, token_file=token)
    asked.worklist(Filters())
    token.write_text("second")
    asked.worklist(Filters())
    of_fake(server, token="fixed").worklist(Filters())
    assert seen == ["Bearer first"] * 2 + ["Bearer second"] * 2 + ["Bearer fixed"] * 2
    token.unlink()
    assert code(asked.worklist, Filters()) == "PACS_NOT_ALLOWED"


@contextmanager
def encrypted(
    home: Path, newest: ssl.TLSVersion = ssl.TLSVersion.MAXIMUM_SUPPORTED
) -> Iterator[tuple[str, list[bytes]]]:
    """The address of an archive with TLS that asks for a client certificate, and what was sent to be stored there.

    To that it answers with bytes that are not encrypted. Certificates are made in `home`. `newest`: version of TLS.
    """
    make_certificates(home, "server", "client")
    posted: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            sent(b"[]", JSON)(self)

        def do_POST(self) -> None:
            posted.append(self.rfile.read(int(self.headers["Content-Length"])))
            os.write(self.connection.fileno(), b"no encryption at all")
            self.close_connection = True

        def log_message(self, *_: Any) -> None:
            pass

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(home / "server.pem", home / "server.key")
    context.load_verify_locations(home / "ca.pem")
    context.verify_mode, context.maximum_version = ssl.CERT_REQUIRED, newest
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        http.handle_error = lambda *_: None
        http.socket = context.wrap_socket(http.socket, server_side=True, do_handshake_on_connect=False)
        http.daemon_threads, http.block_on_close = True, False
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"https://127.0.0.1:{http.server_port}", posted
        finally:
            http.shutdown()
            thread.join()


@OPENSSL
def test_certificates(tmp_path, monkeypatch):
    with encrypted(tmp_path) as (address, posted):
        ours = {
            "ca_bundle": tmp_path / "ca.pem",
            "certificate": tmp_path / "client.pem",
            "key": tmp_path / "client.key",
        }
        assert pacs(address, **ours).worklist(Filters()).studies == ()
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "server.pem"))  # the settings win
        assert pacs(address, **ours).worklist(Filters()).studies == ()
        stored = pacs(address, **ours, store=True).store(FILM, STUDY)
        assert (stored.code, len(posted)) == ("PACS_TLS", 1)  # not once more: it may have arrived
        no_secure = (
            "PACS_TLS",
            "No secure connection to the archive is possible. Check ca_bundle and certificate in the settings.",
        )
        del ours["ca_bundle"]
        assert said(partial(pacs(address, **ours).worklist, Filters())) == no_secure
        broken = pacs(address, ca_bundle=tmp_path / "names")
        assert said(partial(broken.worklist, Filters())) == no_secure
        nobody = pacs(address, ca_bundle=tmp_path / "ca.pem")
        assert code(nobody.worklist, Filters()) in ("PACS_TLS", "PACS_CUT")  # the alert may come after the handshake
    with encrypted(tmp_path, ssl.TLSVersion.TLSv1_2) as (address, _):  # here it comes with it
        nobody = pacs(address, ca_bundle=tmp_path / "ca.pem")
        assert said(partial(nobody.worklist, Filters())) == no_secure


# Settings and filters.


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, "PACS_NOT_SET"),
        ({"PTX_PACS": "/nowhere.toml"}, "PACS_SETTINGS_UNREADABLE"),
        ({"PTX_PACS_TOKEN": "x"}, "PACS_SETTINGS_INVALID"),
        ({"PTX_PACS_ADDRESS": "pacs"}, "PACS_SETTINGS_INVALID"),
        ({"PTX_PACS_ADDRESS": "http://pacs.example/dicom-web"}, "PACS_SETTINGS_INVALID"),
        ({"PTX_PACS_ADDRESS": "http://127.0.0.1.example/dicom-web"}, "PACS_SETTINGS_INVALID"),
        ({"PTX_PACS_ADDRESS": "https://me:secret@pacs.example"}, "PACS_SETTINGS_INVALID"),
        ({"PTX_PACS_ADDRESS": "https://pacs.example", "PTX_PACS_USER": "x"}, "PACS_SETTINGS_INVALID"),
        ({"PTX_PACS_ADDRESS": "https://pacs.example", "PTX_PACS_CERTIFICATE": "/no"}, "PACS_SETTINGS_INVALID"),
        ({"PTX_PACS_ADDRESS": "https://pacs.example", "PTX_PACS_PORT": "1"}, "PACS_SETTINGS_INVALID"),
        ({"PTX_PACS_ADDRESS": "https://pacs.example", "PTX_PACS_WHOLE_SECONDS": "0"}, "PACS_SETTINGS_INVALID"),
    ],
)
def test_settings_that_cannot_be_used(settings, expected):
    with pytest.raises(SettingsError) as raised:
        read_pacs_settings(settings)
    assert raised.value.code == expected
    assert "secret" not in raised.value.message


def test_settings_come_from_a_file_and_the_environment_overrides_it(tmp_path):
    written = tmp_path / "pacs.toml"
    written.write_text('address = "https://pacs.example/dicom-web"\nuser = "me"\npassword = "geheim"\nstore = true\n')
    values = {"PTX_PACS": str(written), "PTX_PACS_STORE": "false", "PTX_WEIGHTS": "x"}
    settings = read_pacs_settings(values)
    assert (settings.user, settings.store, settings.patient_id) == ("me", False, False)
    assert "geheim" not in repr(settings)
    assert pacs_is_set(values)
    assert not pacs_is_set({"PTX_WEIGHTS": "x", "PTX_PACS": ""})
    for loopback in ("http://127.0.0.1:8042/dicom-web", "http://localhost/", "http://[::1]:8042"):
        assert PacsSettings(address=loopback).plain_http is False


def test_what_is_not_allowed_is_not_asked():
    closed = pacs("http://127.0.0.1:9")
    assert code(closed.worklist, Filters(patient_id="1")) == "PACS_PATIENT_ID"
    assert code(closed.store, FILM, STUDY) == "PACS_STORE_OFF"
    assert code(closed.films, "../../system") == "STUDY_UID_INVALID"
    for wrong in ("*", "a?", "", "x" * 17, "a\nb"):
        with pytest.raises(SettingsError, match="accession number"):
            Filters(accession_number=wrong)
    with pytest.raises(SettingsError, match="first day"):
        Filters(since=date(2026, 2, 1), until=date(2026, 1, 1))
    assert str(highdicom.UID()).startswith(dicomweb.HIGHDICOM_ROOT)

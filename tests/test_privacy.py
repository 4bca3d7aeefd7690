"""Nothing that the app outputs identifies the patient: films full of markers, and no marker anywhere else."""

import csv
import logging
import os
import pickle
import re
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest
from streamlit.runtime.forward_msg_queue import ForwardMsgQueue
from streamlit.testing.v1 import AppTest

from ptx_app.__main__ import main
from ptx_app.errors import FilmError, PtxError
from ptx_app.film import read_film
from ptx_app.model.manifest import ROOT
from tests.support.marked_films import (
    FILE_MARK,
    MARK,
    damaged_dicoms,
    marked_dicom,
    marked_jpeg,
    marked_png,
    markers_in,
    misnamed_dicom,
)
from tests.support.serving import (
    CHROMIUM,
    NO_CHROMIUM,
    Server,
    all_read,
    drop,
    open_page,
    running_browser,
    running_server,
    until,
)

# The only places where the person who dropped a file sees its name: the list of films, one line above the verdict.
_TOOLTIP = re.compile(rb'"title": ?"[^"]*"|<p class=.small name. title=.[^>]*>[^<]*</p>')


@pytest.fixture(scope="module")
def films() -> dict[str, bytes]:
    """Good, rejected and damaged films, by file name."""
    whole = {"film.dcm": marked_dicom(), "misnamed.dcm": misnamed_dicom(), "film.png": marked_png(), "film.jpg": marked_jpeg()}  # fmt: skip  # noqa: E501
    damaged = {f"damaged-{number}.dcm": film for number, film in enumerate(damaged_dicoms())}
    return {f"{FILE_MARK}-{name}": film for name, film in (whole | damaged).items()}


@pytest.fixture
def logged(caplog, capfd, recwarn):
    """Everything that was logged at any level, warned, or written to stdout or stderr."""
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.INFO, "PIL")  # has a test of its own

    def everything() -> str:
        out, err = capfd.readouterr()
        records = [f"{record.getMessage()} {record.exc_text} {record.args}" for record in caplog.records]
        return "\n".join([out, err, caplog.text, *records, *(str(warning.message) for warning in recwarn)])

    return everything


def test_the_markers_are_in_the_films_and_would_be_found(films):
    assert len(markers_in(films[f"{FILE_MARK}-film.dcm"])) > 5000
    assert all(markers_in(film) for film in films.values())
    assert markers_in("src='data:image/png;base64,WlFfWEo3SElEREVO'")  # ZQ_XJ7HIDDEN
    assert markers_in("ZQ_XJ7".encode("utf-16-le"))


def test_nothing_of_the_patient_leaves_the_reader(films, logged):
    for film in films.values():
        assert not markers_in(_read(film))
    assert not markers_in(logged())


def test_an_unexpected_error_of_the_page_is_logged_without_its_text(logged, monkeypatch):
    def broken(*_: object) -> None:
        raise ValueError(f"no person name: {MARK.decode()}") from KeyError(MARK.decode())

    monkeypatch.setattr("ptx_app.ui.panel.mask_picture", broken)
    page = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60)
    page.query_params["example"] = "pneumothorax"
    page.run()
    until(lambda: not page.session_state["visit"].pending, 60)
    page.run()
    page.session_state["downloads-wanted"] = {"name": "film-1-mask.png", "serial": "1"}
    page.run()
    assert page.exception
    said = logged()
    assert "ValueError" in said
    assert not markers_in(said)


def _read(film: bytes) -> bytes:
    try:
        return pickle.dumps(read_film(film))
    except FilmError as error:
        return f"{error!r} {error.code} {error.__cause__!r}".encode()


def test_pillow_logs_nothing_of_the_patient_at_any_level(films, logged, caplog):
    caplog.set_level(logging.DEBUG, "PIL")
    for film in films.values():
        _read(film)
    assert not markers_in(logged())


@pytest.fixture
def sent(monkeypatch) -> list[bytes]:
    """Every message that the page sends to the browser, as its bytes."""
    messages: list[bytes] = []
    enqueue = ForwardMsgQueue.enqueue

    def record(queue, message):
        messages.append(message.SerializeToString())
        return enqueue(queue, message)

    monkeypatch.setattr(ForwardMsgQueue, "enqueue", record)
    return messages


def test_nothing_of_the_patient_is_on_the_page_in_its_files_or_in_the_log(films, sent, logged, tmp_path, monkeypatch):
    monkeypatch.setenv("PTX_FEEDBACK_DIR", str(tmp_path))
    page = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60).run()
    page.file_uploader[0].set_value([(name, data, "application/octet-stream") for name, data in films.items()])
    page.run()
    visit = page.session_state["visit"]
    assert [case.name for case in visit.cases] == list(films)
    until(lambda: not visit.pending, 120)
    for case in visit.cases:
        visit.show(case.number)
        page.run()
        if case.film is not None and case.film.prediction is None:
            page.button(key=f"overrule-{case.number}").click().run()
            until(lambda: not visit.pending, 60)
            page.run()
        if case.film is None:
            continue
        page.slider(key="score_threshold").set_value(0.0)
        page.session_state["mask_threshold"] = 0.05
        page.run()
        for file in ("overlay.png", "mask.png", "result.json", "dicom.zip"):
            before = len(sent)
            page.session_state["downloads-wanted"] = {"name": f"film-{case.number}-{file}", "serial": file}
            page.run()
            assert any(b'"url"' in message for message in sent[before:]), "no file was sent"
        page.button(key=f"agree-{case.number}").click().run()
    page.session_state["all-wanted"] = {"name": "readings.zip", "serial": "readings"}
    page.run()
    assert any(b"readings.zip" in message and b'"url"' in message for message in sent[-200:])
    saved = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(saved) > 4
    assert not markers_in(b"\n".join(str(path).encode() + path.read_bytes() for path in saved))
    assert sum(case.film is not None for case in visit.cases) >= 4
    assert not page.exception

    with_names = b"\n".join(sent)
    assert FILE_MARK.encode() in with_names
    assert not markers_in(_TOOLTIP.sub(b"", with_names.replace(b'\\"', b"'")))
    assert not markers_in(logged())
    kept = [pickle.dumps((case.film, str(case.error), case.known, case.reading)) for case in visit.cases]
    assert not markers_in(b"\n".join(kept))


def test_an_unexpected_error_is_a_message_and_its_text_is_not_logged(sent, logged, monkeypatch):
    def stumble(_data, _on_wait):
        raise ValueError("ZQ_XJ7^PATIENT is no number")

    monkeypatch.setattr("ptx_app.ui.intake.read", stumble)
    page = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60).run()
    page.file_uploader[0].set_value([(f"{FILE_MARK}.dcm", b"film", "application/octet-stream")]).run()
    (case,) = page.session_state["visit"].cases
    until(lambda: case.done, 60)
    page.run()
    assert isinstance(case.error, PtxError)
    assert case.error.code == "UNEXPECTED"
    assert not page.exception
    said = logged()
    assert "ValueError at" in said
    assert not markers_in(said)
    assert not markers_in(_TOOLTIP.sub(b"", b"\n".join(sent)))


def test_nothing_of_the_patient_is_in_what_the_command_line_writes(films, tmp_path, logged):
    folder, output = tmp_path / "films", tmp_path / "results"
    folder.mkdir()
    for name, film in films.items():
        (folder / name).write_bytes(film)
    main(["predict", str(folder), "--output", str(output), "--all", "--probability", "--dicom"])

    with (output / "results.csv").open(encoding="utf-8") as table:
        rows = list(csv.DictReader(table))
    assert {Path(row.pop("file")).name for row in rows} == set(films)
    assert all(row.pop("mask").startswith(FILE_MARK) for row in rows if row["status"] == "ok")  # the user's own name
    assert {row["status"] for row in rows} == {"ok", "failed", "rejected"}
    assert not markers_in(str(rows))
    written = [path for path in output.iterdir() if path.name != "results.csv"]
    assert len(written) == 8 * sum(row["status"] == "ok" for row in rows)
    assert not markers_in(b"\n".join(path.read_bytes() for path in written))
    assert not markers_in(logged())


def test_an_identified_export_logs_nothing_of_the_patient_and_names_no_file_after_them(films, tmp_path, logged):
    name = f"{FILE_MARK}-film.dcm"
    (tmp_path / name).write_bytes(films[name])
    main(["predict", str(tmp_path / name), "--output", str(tmp_path / "results"), "--dicom", "--identified"])
    written = {path.name: path.read_bytes() for path in (tmp_path / "results").iterdir()}
    assert set(written) == {
        "results.csv",
        *(
            f"{FILE_MARK}-film_{what}"
            for what in ("mask.png", "overlay.png", "seg.dcm", "sc.dcm", "sr.dcm", "gsps.dcm")
        ),
    }
    assert all(markers_in(data) for file, data in written.items() if file.endswith(".dcm"))
    assert not markers_in(b"".join(data for file, data in written.items() if file.endswith(".png")))
    assert not markers_in(written["results.csv"].replace(FILE_MARK.encode(), b""))
    assert not markers_in(logged().replace(FILE_MARK, ""))


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def server(home) -> Iterator[Server]:
    """A server that cannot write files above 64 kB, and whose home and temporary files can be searched."""
    places = dict.fromkeys(("HOME", "TMPDIR", "XDG_CACHE_HOME"), str(home))
    limit = 1 << 16
    with running_server(
        options=["--server.disconnectedSessionTTL=3", "--logger.level=debug"],
        environment=places,
        before=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    ) as running:
        yield running


# The server's caches hold no visitor's film.
_SHARED = (
    "engine.example_thumbnails",
    "engine._build",
    "engine._reader",
    "engine._warm_up_once",
    "session_cleanup._presence",
)
# Every element with its attributes, inside the components too.
_WHOLE_PAGE = """() => {
  const roots = [document], pages = [document.documentElement.outerHTML, document.title];
  for (const root of roots)
    for (const node of root.querySelectorAll("*"))
      if (node.shadowRoot) { roots.push(node.shadowRoot); pages.push(node.shadowRoot.innerHTML); }
  return pages.join("\\n");
}"""
_OWNERS_EYES = re.compile(
    rf'title="{FILE_MARK}[^"]*"|aria-label="[^"]*{FILE_MARK}[^"]*"|<p [^>]*name[^>]*>\d+ · {FILE_MARK}[^<]*</p>'
    rf'|<span class="name"><bdi>{FILE_MARK}[^<]*</bdi><bdi>[^<]*</bdi></span>'
)


@pytest.mark.skipif(not CHROMIUM, reason=NO_CHROMIUM)
def test_a_real_server_shows_logs_writes_and_keeps_nothing_of_the_patient(films, server, home):
    large = marked_dicom() + b"ZQ_XJ7" * (1 << 20)  # more than 1 MB: Streamlit itself would write it to disk
    dropped = {name: film for name, film in films.items() if "misnamed" in name or "jpg" in name or "damaged" in name}
    frames: list[bytes] = []
    with running_browser() as browser:
        page = open_page(browser, server.address)
        received = lambda frame: frames.append(frame if isinstance(frame, bytes) else frame.encode())  # noqa: E731
        page.on("websocket", lambda socket: socket.on("framereceived", received))
        page.reload()
        page.get_by_test_id("stFileUploaderDropzone").wait_for()
        drop(page, (f"{FILE_MARK}-large.dcm", large), *dropped.items())
        listed = all_read(page, len(dropped) + 1)
        page.get_by_text("About this film").click()
        page.get_by_role("button", name="Mask PNG").click()
        listed.nth(1).click()
        page.get_by_role("heading", name="Not analysed").wait_for()
        html = page.evaluate(_WHOLE_PAGE)
        assert html.count(f'title="{FILE_MARK}') == len(dropped) + 1 + 1  # the list, and the film on the screen
        assert "Modality" in html
        assert not markers_in(_OWNERS_EYES.sub("", html))
        assert not markers_in(page.title() + page.url)
        assert len(frames) > len(dropped)
        assert not markers_in(_TOOLTIP.sub(b"", b"\n".join(frames).replace(b'\\"', b"'")))
        assert server.held()["uploaded"] == 0, "uploads are kept after reading"

        page.context.close()
        until(lambda: server.held()["sessions"] == 0, 5)
        assert 'cache="ptx_app.ui.engine.example_thumbnails"' in server.get("/_stcore/metrics")
    caches = set(re.findall(r'cache_type="st_cache_[a-z]+",cache="([^"]+)"', server.get("/_stcore/metrics")))
    assert caches <= {f"ptx_app.ui.{name}" for name in _SHARED}
    assert not markers_in(server.said)
    left = [Path(folder, name) for folder, _, names in os.walk(home) for name in names]
    assert not any(MARK in path.name.encode() or markers_in(path.read_bytes()) for path in left)

"""ptx watch in a process of its own: killed at random, told to stop, films over the wire and results sent on."""

import hashlib
import io
import os
import random
import re
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from dataclasses import replace
from pathlib import Path

import cv2
import pydicom
import pytest
from pydicom.uid import EnhancedSRStorage, SegmentationStorage
from pynetdicom import AE, evt

from ptx_app.__main__ import main
from ptx_app.film.radiograph import Radiograph
from ptx_app.film.sandbox.reader import SandboxedReader
from ptx_app.hospital.inbox import Inbox, Options, key_of
from ptx_app.hospital.inbox_files import Space
from ptx_app.hospital.inbox_ledger import Ledger
from ptx_app.hospital.inbox_metrics import Health, Metrics
from ptx_app.inference.decide import Thresholds
from ptx_app.output.setting import Setting
from ptx_app.output.table import RESULT_COLUMNS
from ptx_app.pipeline import Detector
from ptx_app.results import ResultMaker, Wanted
from tests.support.dicom_wire import DCMTK, STORESCU, store
from tests.support.films import broken_dicom, ct_slice
from tests.support.marked_films import FILE_MARK, marked_dicom, markers_in
from tests.support.serving import until
from tests.support.watching import PATIENCE, rows_in, small_film, watching


def put(folder: Path, name: str, data: bytes) -> str:
    """Put a film into the inbox as a careful sender does, and return its name there."""
    part = folder / f".{name}"
    part.write_bytes(data)
    part.rename(folder / name)
    return key_of(data)


@pytest.fixture
def folders(tmp_path) -> tuple[Path, Path]:
    (tmp_path / "in").mkdir()
    return tmp_path / "in", tmp_path / "out"


@pytest.mark.thorough
def test_each_film_is_done_once_however_often_the_program_is_killed(folders):
    folder, output = folders
    chance, keys, logs = random.Random(7), set(), []
    for kill in range(5):
        keys |= {put(folder, f"{kill}-{number}.dcm", small_film()) for number in range(3)}
        keys.add(put(folder, f"{kill}-broken.dcm", broken_dicom() + bytes([kill])))
        with watching(folder, output, "--jobs", "3") as watch:
            if kill:
                watch.wait_for_rows(len(rows_in(output)) + chance.randrange(1, 4))
            time.sleep(chance.random() / 2)  # anywhere in the next film, or in the start: the result is the same
            watch.end(signal.SIGKILL)
            logs.append(watch.log)
    with watching(folder, output, "--jobs", "3") as watch:
        watch.wait_for_rows(len(keys))
        assert watch.end() == 0
        logs.append(watch.log)

    rows = rows_in(output)
    assert tuple(rows[0]) == RESULT_COLUMNS
    assert sorted(row["file"] for row in rows) == sorted(keys)
    assert [row["status"] for row in rows].count("failed") == 5
    for row in rows:
        if row["status"] == "ok":
            assert cv2.imread(str(output / row["mask"])).shape[:2] == (320, 300)
            assert (output / f"{row['file']}_overlay.png").exists()
            assert (output / f"{row['file']}_result.json").exists()
    done = re.findall(r"film ([0-9a-f]{32}): (?:ok|failed) ", "".join(logs))
    assert len(done) == len(set(done))
    assert not list(output.glob(".ptx-*"))
    assert len(list(folder.iterdir())) == len(keys)

    with watching(folder, output, "--metrics-port", "0") as watch:
        figures = f"http://127.0.0.1:{watch.port('Metrics are at http://127.0.0.1:')}/metrics"
        looked = re.compile(rb"ptx_inbox_free_bytes [1-9]")
        until(lambda: looked.search(urllib.request.urlopen(figures, timeout=10).read()) is not None, PATIENCE)
        assert watch.end() == 0
        assert "film " not in watch.log
    assert rows_in(output) == rows


@pytest.mark.thorough
def test_a_kill_while_the_table_is_written_leaves_no_half_row(folders):
    folder, output = folders
    key = put(folder, "a.dcm", small_film())
    with watching(folder, output) as watch:
        watch.wait_for_rows(1)
        watch.end(signal.SIGKILL)
    table = output / "results.csv"
    whole = table.read_bytes()
    table.write_bytes(whole + whole[-100:-30])
    with watching(folder, output) as watch:
        put(folder, "b.dcm", small_film())
        watch.wait_for_rows(2)
        assert watch.end() == 0
    assert table.read_bytes().startswith(whole)
    assert [row["file"] == key for row in rows_in(output)] == [True, False]


def test_films_over_the_wire_and_their_results_sent_on(folders):
    folder, output = folders
    got: list[pydicom.Dataset] = []

    def take(event: evt.Event) -> int:
        got.append(event.dataset)
        return 0x0000

    pacs = AE("PACS")
    for sop_class in (SegmentationStorage, EnhancedSRStorage):
        pacs.add_supported_context(sop_class)
    server = pacs.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, take)])
    film = small_film(PatientName="Doe^Jane", PatientID="4711", StudyInstanceUID="1.2.3", SeriesInstanceUID="1.2.3.4")
    options = ["--port", "0", "--caller", "MODALITY", "--dicom", "--identified", "--delete-read"]
    try:
        with watching(folder, output, *options, "--store-to", f"PACS@127.0.0.1:{server.server_address[1]}") as watch:
            port = watch.port("Receiving films as PTX on port")
            assert store(port, film, "STRANGER") is None
            assert store(port, film) == 0x0000
            until(lambda: len(got) == 2, PATIENCE)
            assert store(port, film) == 0x0000  # sent again, and not read again
            assert store(port, ct_slice()) == 0x0000
            watch.wait_for_rows(2)
            until(lambda: not list(folder.iterdir()), PATIENCE)
            assert watch.end() == 0
            log = watch.log
    finally:
        pacs.shutdown()
    assert [row["status"] for row in rows_in(output)] == ["ok", "rejected"]
    assert [dataset.SOPClassUID for dataset in got] == [SegmentationStorage, EnhancedSRStorage]
    uid = pydicom.dcmread(io.BytesIO(film)).SOPInstanceUID
    for dataset in got:
        assert (str(dataset.PatientName), dataset.PatientID, dataset.StudyInstanceUID) == ("Doe^Jane", "4711", "1.2.3")
        assert uid in str(dataset)
    assert log.count(": sent") == 1
    assert not any(word in log for word in ("Doe", "4711", "1.2.3", str(uid)))


@pytest.mark.thorough
def test_what_a_modality_was_told_is_stored_is_read_once_however_often_the_program_is_killed(folders):
    folder, output = folders
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    films, stored, chance = [small_film() for _ in range(8)], threading.Event(), random.Random(3)

    def modality() -> None:
        """Sends each film until it is told that it was stored, as a modality's queue does."""
        for film in films:
            until(lambda film=film: store(port, film) == 0x0000, PATIENCE)
        stored.set()

    sender = threading.Thread(target=modality)
    sender.start()
    for _ in range(3):
        with watching(folder, output, "--port", str(port), "--delete-read") as watch:
            watch.wait_for_rows(min(len(rows_in(output)) + 1, len(films)))
            time.sleep(chance.random() / 5)
            watch.end(signal.SIGKILL)
    with watching(folder, output, "--port", str(port), "--delete-read") as watch:
        until(stored.is_set, PATIENCE)
        watch.wait_for_rows(len(films))
        until(lambda: not [path for path in folder.iterdir() if not path.name.startswith(".")], PATIENCE)
        assert watch.end() == 0
    sender.join()
    rows = rows_in(output)
    assert len(rows) == len({row["file"] for row in rows}) == len(films)
    assert {row["status"] for row in rows} == {"ok"}
    assert not list(folder.glob(".ptx-*"))


@pytest.mark.thorough
@DCMTK
def test_dcmtk_sends_a_film_and_a_full_disk_refuses_it(folders, tmp_path):
    folder, output = folders
    (tmp_path / "film.dcm").write_bytes(small_film())
    options = ["--port", "0", "--metrics-port", "0"]

    def sent(port: int) -> int:
        words = [STORESCU, "-v", "-aec", "PTX", "127.0.0.1", str(port), str(tmp_path / "film.dcm")]
        return subprocess.run(words, capture_output=True, timeout=PATIENCE).returncode

    with watching(folder, output, *options, "--min-free", str(1 << 40)) as watch:
        figures = f"http://127.0.0.1:{watch.port('Metrics are at http://127.0.0.1:')}"
        put(folder, "waits.dcm", small_film())
        sent(watch.port("Receiving films as PTX on port"))
        assert [path.name for path in folder.iterdir()] == ["waits.dcm"]
        until(lambda: "too little free disk space" in watch.log, PATIENCE)
        with pytest.raises(urllib.error.HTTPError, match="503"):
            urllib.request.urlopen(f"{figures}/health", timeout=10)
        metrics = urllib.request.urlopen(f"{figures}/metrics", timeout=10).read().decode()
        assert 'ptx_inbox_received_total{outcome="disk_full"} 1.0' in metrics
        assert watch.end() == 0
    assert rows_in(output) == []
    with watching(folder, output, *options) as watch:
        assert sent(watch.port("Receiving films as PTX on port")) == 0
        watch.wait_for_rows(2)
        assert watch.end() == 0
    assert {row["status"] for row in rows_in(output)} == {"ok"}


def test_nothing_of_the_patient_is_in_log_database_table_figures_or_names(folders):
    folder, output = folders
    film = marked_dicom()
    put(folder, f"{FILE_MARK}.dcm", film)
    put(folder, f"{FILE_MARK}-cut.dcm", film[: len(film) // 2])
    with watching(folder, output, "--dicom", "--all", "--port", "0", "--metrics-port", "0") as watch:
        figures = f"http://127.0.0.1:{watch.port('Metrics are at http://127.0.0.1:')}"
        assert store(watch.port("Receiving films as PTX on port"), marked_dicom()) == 0
        watch.wait_for_rows(3)
        said = urllib.request.urlopen(f"{figures}/metrics", timeout=10).read()
        said += urllib.request.urlopen(f"{figures}/health", timeout=10).read()
        assert watch.end() == 0
    assert sorted(row["status"] for row in rows_in(output)) == ["failed", "ok", "ok"]
    assert markers_in(b"".join(path.read_bytes() for path in folder.iterdir()))
    written = b"".join(path.read_bytes() for path in output.iterdir())
    names = "".join(os.fspath(path.relative_to(output)) for path in output.iterdir())
    assert len(list(output.glob("*_sr.dcm"))) == 2
    assert not markers_in(written)
    assert not markers_in(names + watch.log)
    assert not markers_in(said)


@pytest.mark.thorough
def test_one_inbox_at_a_time_writes_into_a_folder(folders):
    folder, output = folders
    with watching(folder, output, "--metrics-port", "0") as first:
        first.port("Metrics are at http://127.0.0.1:")
        with watching(folder, output) as second:
            assert second.process.wait(PATIENCE) == 1
            until(lambda: "INBOX_RUNNING: " in second.log, PATIENCE)
        assert first.end(signal.SIGINT) == 0
        assert "Stopped." in first.log


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["{}/nowhere", "--output", "{}/out"], "FILES_NOT_FOUND"),
        (["{}/in", "--output", "{}/in/out"], "OUTPUT_IS_INPUT"),
        (["{}/in", "--output", "{}/predicted"], "OUTPUT_IN_USE"),
        (["{}/in", "--output", "/proc/none"], "OUTPUT_UNWRITABLE"),
        (["{}/in", "--output", "{}/out", "--store-to", "PACS@127.0.0.1:104"], "STORE_ALONE"),
        (["{}/in", "--output", "{}/out", "--dicom", "--all", "--store-to", "PACS@127.0.0.1:104"], "STORE_OVERRULED"),
        (["{}/in", "--output", "{}/out", "--dicom", "--store-to", "PACS"], "PEER_INVALID"),
        (["{}/in", "--output", "{}/out", "--port", "0", "--host", "0.0.0.0"], "CALLERS_MISSING"),
        (["{}/in", "--output", "{}/out", "--port", "0", "--tls-certificate", "{}/own.pem"], "TLS_INCOMPLETE"),
        (["{}/in", "--output", "{}/out", "--port", "0", "--tls-ca", "{}/ca.pem"], "TLS_INCOMPLETE"),
        (
            ["{0}/in", "--output", "{0}/out", "--port", "0", "--tls-certificate", "{0}/in", "--tls-ca", "{0}/in"],
            "TLS_FILES_UNUSABLE",
        ),
        (["{}/in", "--output", "{}/out", "--port", "0", "--ae-title", "x" * 17], "AE_TITLE_INVALID"),
        (["{}/in", "--output", "{}/out", "--identified"], "IDENTIFIED_ALONE"),
        (["{}/in", "--output", "{}/out", "--dicomweb"], "PACS_NOT_SET"),
        (["{}/in", "--output", "{}/out", "--dicom", "--store-to", "dicomweb"], "STORE_DEIDENTIFIED"),
        (["{}/in", "--output", "{}/out", "--dicom", "--identified", "--store-to", "dicomweb"], "PACS_NOT_SET"),
    ],
)
def test_errors_are_one_sentence_with_a_code_and_change_nothing(words, code, tmp_path, capsys):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "film.dcm").write_bytes(small_film())
    (tmp_path / "predicted").mkdir()
    (tmp_path / "predicted" / "results.csv").write_bytes(b"of ptx predict")
    handler = signal.getsignal(signal.SIGTERM)
    assert main(["watch", *(word.format(tmp_path) for word in words)]) == 1
    assert capsys.readouterr().err.strip().splitlines()[-1].startswith(f"{code}: ")
    assert signal.getsignal(signal.SIGTERM) is handler
    assert (tmp_path / "predicted" / "results.csv").read_bytes() == b"of ptx predict"
    assert [path.name for path in (tmp_path / "in").iterdir()] == ["film.dcm"]


def test_a_film_that_kills_its_reader_is_set_aside_after_three_tries(folders):
    folder, output = folders
    output.mkdir()
    poison, good = small_film(), small_film()
    put(folder, "a.dcm", poison)
    put(folder, "b.dcm", good)
    killed: list[int] = []

    def read(data: bytes) -> Radiograph:
        if data == poison:  # its reading process is stopped first, so that it has the film when it is killed
            reader.read(good)
            process = reader._idle.get()
            reader._idle.put(process)
            os.kill(process.pid, signal.SIGSTOP)
            threading.Timer(0.3, os.kill, (process.pid, signal.SIGKILL)).start()
            killed.append(process.pid)
        return reader.read(data)

    detector = Detector.load()
    point = detector.weights.operating_point()
    wanted = Wanted(Setting.of(detector.weights, point, Thresholds.of(point), detector.network.engine))
    rows: list[dict[str, object]] = []
    stop, metrics = threading.Event(), Metrics()
    with SandboxedReader(processes=1) as reader, Ledger(output / "inbox.sqlite") as ledger:
        maker = ResultMaker(replace(detector, read=read), reader.read_source, wanted)
        options = Options(delete_read=True, jobs=1, settle_seconds=0)
        space = Space((folder, output), 0)
        inbox = Inbox(folder, output, maker, ledger, rows.append, space, options, metrics, Health())

        thread = threading.Thread(target=inbox.run, args=(stop,))
        thread.start()
        until(lambda: len(rows) == 2, PATIENCE)
        stop.set()
        thread.join(PATIENCE)
    assert {row["file"]: (row["status"], row.get("error_code")) for row in rows} == {
        key_of(good): ("ok", None),
        key_of(poison): ("failed", "READER_LOST"),
    }
    assert len(set(killed)) == 3
    assert [path.name for path in (folder / ".set-aside").iterdir()] == [f"{key_of(poison)}.dcm"]
    assert metrics.registry.get_sample_value("ptx_inbox_set_aside_total") == 1


@pytest.mark.thorough
def test_a_film_that_kills_the_whole_program_does_so_three_times_and_is_set_aside_until_told_otherwise(folders):
    folder, output = folders
    poison = put(folder, "b.dcm", small_film())
    good = {put(folder, f"{name}.dcm", small_film()) for name in ("a", "c", "d")}
    deaths, ended = 0, False
    while not ended:
        with watching(folder, output, "--jobs", "3", program=("tests.support.poisoned_watch", poison)) as watch:
            until(lambda: len(rows_in(output)) == 4 or watch.process.poll() is not None, PATIENCE)
            ended = watch.process.poll() is None
            assert watch.end() == (0 if ended else -signal.SIGKILL)
        deaths += not ended
    assert deaths == 3
    assert f"film {poison}: in work when the program ended, 3 of 3 times" in watch.log
    assert f"film {poison}: failed INTERRUPTED" in watch.log
    assert {row["file"]: row["error_code"] for row in rows_in(output)} == dict.fromkeys(good, "") | {
        poison: "INTERRUPTED"
    }
    with watching(folder, output, "--try-again") as watch:
        until(lambda: len(rows_in(output)) == 4 and f"film {poison}: ok" in watch.log, PATIENCE)
        assert watch.end() == 0
    assert {row["status"] for row in rows_in(output)} == {"ok"}


def test_the_documents_way_to_find_a_films_results_is_right(tmp_path):
    film = small_film()
    assert key_of(film) == hashlib.sha256(film).hexdigest()[:32]

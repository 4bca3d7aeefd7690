"""C-STORE and C-ECHO over real associations on 127.0.0.1: with pynetdicom, and with dcmtk where it is installed."""

import hashlib
import logging
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from pydicom.uid import (
    CTImageStorage,
    EnhancedSRStorage,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    SegmentationStorage,
)
from pynetdicom import AE, evt

from ptx_app.audit import Log, Trail
from ptx_app.errors import AuditError, SettingsError
from ptx_app.film import read_film
from ptx_app.film.dicom.stored_pixels import TRANSFER_SYNTAXES
from ptx_app.hospital.application import Peer, ae_title
from ptx_app.hospital.dicom_tls import Certificates
from ptx_app.hospital.inbox import key_of
from ptx_app.hospital.inbox_files import Space
from ptx_app.hospital.inbox_ledger import Ledger
from ptx_app.hospital.inbox_metrics import Health, Metrics
from ptx_app.hospital.inbox_sender import Sender, sending
from ptx_app.hospital.storage_scp import Listening, receiving
from ptx_app.hospital.storage_scu import RefusedError, UnreachableError, send
from tests.support.certificates import OPENSSL, make_certificates
from tests.support.dicom_wire import DCMTK, ECHOSCU, STORESCU, dataset_of, store
from tests.support.films import CR_STORAGE, dicom_of
from tests.support.marked_films import marked_dicom, markers_in
from tests.support.serving import until

FILM = dicom_of(np.random.default_rng(1).random((200, 160), dtype=np.float32))


class Receiving:
    """A receiver's folder, ledger and figures."""

    def __init__(self, home: Path) -> None:
        self.folder = home / "in"
        self.folder.mkdir()
        self.ledger, self.metrics = Ledger(home / "ledger"), Metrics()
        self.least_free = 0

    @contextmanager
    def at(self, *callers: str, most_bytes: int = 1 << 26, tls: ssl.SSLContext | None = None) -> Iterator[int]:
        space = Space((self.folder,), self.least_free)
        listening = Listening("127.0.0.1", 0, "PTX", callers, most_bytes, tls)
        with receiving(listening, self.folder, space, self.ledger, self.metrics) as port:
            yield port

    def files(self) -> list[Path]:
        return sorted(self.folder.iterdir())

    def count(self, outcome: str) -> float:
        return self.metrics.registry.get_sample_value("ptx_inbox_received_total", {"outcome": outcome}) or 0.0


@pytest.fixture
def place(tmp_path):
    place = Receiving(tmp_path)
    yield place
    place.ledger.close()


def test_a_film_is_on_the_disk_as_it_came_and_named_after_a_hash(place):
    with place.at() as port:
        assert store(port, FILM) == 0x0000
    (file,) = place.files()
    uid = dataset_of(FILM).SOPInstanceUID
    assert file.name == f"{hashlib.sha256(uid.encode()).hexdigest()}.dcm"
    assert np.array_equal(read_film(file.read_bytes()).pixels, read_film(FILM).pixels)
    assert place.ledger.received(file.stem) == key_of(file.read_bytes())
    assert place.count("stored") == 1


def test_an_instance_sent_again_is_stored_again_only_if_it_was_lost(place):
    with place.at() as port:
        assert [store(port, FILM), store(port, FILM)] == [0, 0]
        (file,) = place.files()
        assert (place.count("stored"), place.count("repeated")) == (1, 1)
        key = key_of(file.read_bytes())
        file.unlink()  # nobody has read it
        assert store(port, FILM) == 0
        assert place.files() == [file]
        place.ledger.begin(key)
        place.ledger.finish(key, {"file": key, "status": "ok"}, send=False)
        file.unlink()  # read, and deleted as asked
        assert store(port, FILM) == 0
        assert place.files() == []
    assert (place.count("stored"), place.count("repeated")) == (2, 2)


@pytest.mark.parametrize(
    ("callers", "caller", "called", "accepted"),
    [
        ((), "ANYONE", "PTX", True),
        (("MODALITY", "PACS"), "PACS", "PTX", True),
        (("MODALITY",), "STRANGER", "PTX", False),
        (("MODALITY",), "MODALITY", "OTHER", False),
    ],
)
def test_only_allowed_callers_that_know_the_title_may_send(place, callers, caller, called, accepted, caplog):
    with place.at(*callers) as port:
        assert store(port, FILM, caller, called) == (0 if accepted else None)
    assert len(place.files()) == accepted
    assert (f"A call from '{caller}' at 127.0.0.1 was rejected." in caplog.text) is not accepted
    assert place.metrics.registry.get_sample_value("ptx_inbox_rejected_calls_total") == (not accepted)


def test_a_film_is_refused_while_the_disk_is_full(place):
    place.least_free = 1 << 62
    with place.at() as port:
        assert store(port, FILM) == 0xA700
    assert (place.files(), place.count("disk_full")) == ([], 1)


def test_a_folder_that_cannot_be_written_is_no_success(place):
    with place.at() as port:
        place.folder.rmdir()
        assert store(port, FILM) == 0xA700
        place.folder.mkdir()
        assert store(port, FILM) == 0
    assert (place.count("disk_full"), place.count("stored")) == (1, 1)


def test_a_film_that_is_too_large_ends_the_association_before_it_is_all_here(place):
    large = dicom_of(np.zeros((1000, 1000), np.float32))  # 2 MB
    with place.at(most_bytes=1 << 20) as port:
        assert store(port, large) is None
        assert (place.files(), place.count("too_large")) == ([], 1)
        assert store(port, FILM) == 0


def test_several_films_in_one_association_each_have_the_whole_limit(place):
    films = [dicom_of(np.zeros((200, 200), np.float32)) for _ in range(4)]  # 80 kB each
    entity = AE("MODALITY")
    entity.add_requested_context(CR_STORAGE, ExplicitVRLittleEndian)
    with place.at(most_bytes=100_000) as port:
        association = entity.associate("127.0.0.1", port, ae_title="PTX")
        assert [association.send_c_store(dataset_of(film)).Status for film in films] == [0] * 4
        association.release()
    assert len(place.files()) == 4


def test_only_film_classes_are_accepted_and_all_syntaxes_that_can_be_read(place):
    with place.at() as port:
        assert store(port, FILM, sop_class=CTImageStorage) is None
        entity = AE("MODALITY")
        for syntax in TRANSFER_SYNTAXES:
            entity.add_requested_context(CR_STORAGE, syntax)
        association = entity.associate("127.0.0.1", port, ae_title="PTX")
        taken = {syntax for context in association.accepted_contexts for syntax in context.transfer_syntax}
        association.release()
    assert taken == set(TRANSFER_SYNTAXES)
    assert JPEG2000Lossless in taken


def test_a_port_that_is_taken_is_said_to_be(place, tmp_path):
    with (
        place.at() as port,
        pytest.raises(SettingsError) as raised,
        receiving(Listening("127.0.0.1", port, "PTX"), tmp_path, Space((), 0), place.ledger, Metrics()),
    ):
        pass
    assert raised.value.code == "PORT_TAKEN"


@DCMTK
def test_dcmtk_can_echo_and_store(place, tmp_path):
    (tmp_path / "film.dcm").write_bytes(FILM)

    def dcmtk(tool: str, *words: str) -> int:
        return subprocess.run([tool, "-aec", "PTX", *words], capture_output=True, timeout=60).returncode

    with place.at("ECHOSCU", "STORESCU") as port:
        assert dcmtk(ECHOSCU, "127.0.0.1", str(port)) == 0
        assert dcmtk(STORESCU, "127.0.0.1", str(port), str(tmp_path / "film.dcm")) == 0
        assert dcmtk(ECHOSCU, "-aet", "STRANGER", "127.0.0.1", str(port)) != 0
    (file,) = place.files()
    assert np.array_equal(read_film(file.read_bytes()).pixels, read_film(FILM).pixels)


def test_nothing_of_the_patient_is_in_log_database_figures_or_names(place, caplog, capfd):
    caplog.set_level(logging.DEBUG, "ptx_app")
    film = dataset_of(marked_dicom())
    with place.at() as port:
        entity = AE("MODALITY")
        entity.add_requested_context(film.SOPClassUID, film.file_meta.TransferSyntaxUID)
        association = entity.associate("127.0.0.1", port, ae_title="PTX")
        assert association.send_c_store(film).Status == 0
        association.release()
        place.folder.rename(place.folder.with_name("gone"))
        assert store(port, marked_dicom()) == 0xA700
    place.folder.with_name("gone").rename(place.folder)
    (file,) = place.files()
    assert markers_in(file.read_bytes())
    assert not markers_in(file.name)
    written = b"".join(path.read_bytes() for path in place.folder.parent.glob("ledger*"))
    assert not markers_in(written)
    assert not markers_in(caplog.text + "".join(capfd.readouterr()))


# Sending


def made(folder: Path, key: str = "k", *, kinds: tuple[str, ...] = ("seg", "sr")) -> None:
    """Files like those of our own making."""
    classes = {"seg": SegmentationStorage, "sr": EnhancedSRStorage, "film": CR_STORAGE}
    for kind in kinds:
        (folder / f"{key}_{kind}.dcm").write_bytes(dicom_of(np.zeros((8, 8), np.float32), SOPClassUID=classes[kind]))


class Pacs:
    """Another application that takes reports and segmentations, and answers with the status that a test sets."""

    def __init__(self) -> None:
        self.got: list[str] = []
        self.statuses: list[int] = []
        self.classes = (SegmentationStorage, EnhancedSRStorage, CR_STORAGE)
        self.callers: list[str] = []

    @contextmanager
    def at(self, port: int = 0, tls: ssl.SSLContext | None = None) -> Iterator[int]:
        entity = AE("PACS")
        entity.require_calling_aet = self.callers
        for sop_class in self.classes:
            entity.add_supported_context(sop_class)
        handlers = [(evt.EVT_C_STORE, self._take)]
        server = entity.start_server(("127.0.0.1", port), block=False, ssl_context=tls, evt_handlers=handlers)
        try:
            yield server.server_address[1]
        finally:
            entity.shutdown()

    def _take(self, event: evt.Event) -> int:
        status = self.statuses.pop(0) if self.statuses else 0
        if status in (0, 0xB000):
            self.got.append(str(event.request.AffectedSOPClassUID))
        return status


@pytest.mark.parametrize(
    ("status", "error"),
    [(0x0000, None), (0xB000, None), (0xA700, UnreachableError), (0xA900, RefusedError), (0xC000, RefusedError)],
)
def test_what_the_answer_to_a_store_means(tmp_path, status, error):
    made(tmp_path)
    pacs = Pacs()
    pacs.statuses = [status]
    files = [tmp_path / "k_seg.dcm", tmp_path / "k_sr.dcm"]
    with pacs.at() as port:
        if error is None:
            send(files, Peer("PACS", "127.0.0.1", port), "PTX")
            assert pacs.got == [SegmentationStorage, EnhancedSRStorage]
        else:
            with pytest.raises(error):
                send(files, Peer("PACS", "127.0.0.1", port), "PTX")
            assert pacs.got == []


def test_why_nothing_could_be_sent(tmp_path):
    made(tmp_path)
    files = [tmp_path / "k_seg.dcm"]

    def why(pacs: Pacs) -> tuple[type, str]:
        with pacs.at() as port, pytest.raises((UnreachableError, RefusedError)) as raised:
            send(files, Peer("PACS", "127.0.0.1", port), "PTX")
        return type(raised.value), raised.value.code

    rejecting, other = Pacs(), Pacs()
    rejecting.callers, other.classes = ["SOMEBODY"], (CTImageStorage,)
    assert why(rejecting) == (UnreachableError, "PEER_REJECTS")
    assert why(other) == (RefusedError, "PEER_REFUSED")
    with Pacs().at() as port:
        pass
    with pytest.raises(UnreachableError) as raised:
        send(files, Peer("PACS", "127.0.0.1", port), "PTX")
    assert raised.value.code == "PEER_UNREACHABLE"


def test_the_sender_sends_each_film_once_it_can_and_gives_up_what_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("ptx_app.hospital.inbox_sender._POLL_SECONDS", 0.01)
    monkeypatch.setattr("ptx_app.hospital.inbox_sender._LONGEST_PAUSE_SECONDS", 0.05)
    pacs, metrics, health = Pacs(), Metrics(), Health()
    with pacs.at() as port:
        pass
    peer = Peer("PACS", "127.0.0.1", port)
    with Ledger(tmp_path / "l") as ledger:
        for key, kinds in (("a", ("seg", "sr")), ("b", ("film", "seg", "sr")), ("gone", ())):
            made(tmp_path, key, kinds=kinds)
            ledger.begin(key)
            ledger.finish(key, {"file": key, "status": "ok"}, send=True)
        sender = Sender(tmp_path, ledger, lambda files: send(files, peer, "PTX"), metrics, health)
        with sending(sender):
            until(lambda: health.problems() == ["PEER_UNREACHABLE"], 60)
            assert ledger.unsent(3) == ["a", "b", "gone"]
            pacs.statuses = [0xA900] * 3  # a and b at the first try, a at the second
            with pacs.at(port):
                until(lambda: ledger.unsent(3) == [], 60)
                until(lambda: health.problems() == [], 60)
        assert ledger.unsent(99) == ["gone"]
    sent = {
        outcome: metrics.registry.get_sample_value("ptx_inbox_sent_total", {"outcome": outcome})
        for outcome in ("ok", "refused")
    }
    assert sent == {"ok": 2, "refused": 3}
    assert sorted(pacs.got) == sorted([CR_STORAGE, *[SegmentationStorage, EnhancedSRStorage] * 2])


def test_a_film_on_whose_results_the_archive_fails_keeps_no_others_back_and_is_kept(tmp_path, monkeypatch):
    def fails_on_the_first(files):
        if files[0].name.startswith("a"):
            raise UnreachableError("PEER_FAILS", "Said.")

    monkeypatch.setattr("ptx_app.hospital.inbox_sender._POLL_SECONDS", 0.01)
    with Ledger(tmp_path / "l") as ledger:
        for key in "ab":
            ledger.begin(key)
            ledger.finish(key, {"file": key, "status": "ok"}, send=True)
        with sending(Sender(tmp_path, ledger, fails_on_the_first, Metrics(), Health())):
            until(lambda: ledger.unsent(1) == ["a"], 30)


@pytest.mark.parametrize(
    ("error", "code"),
    [(None, "OK"), (RefusedError("PEER_REFUSED", "Said."), "PEER_REFUSED"), (FileNotFoundError(), "UNEXPECTED")],
)
def test_the_audit_trail_has_what_is_sent_where_and_how_that_ended(tmp_path, error, code):
    def sends(_files):
        assert [line.record["event"] for line in trail.lines()] == ["storing begun"]
        if error:
            raise error

    trail = Trail(tmp_path / "trail", "a key that only the operator of this test has")
    with Ledger(tmp_path / "l") as ledger:
        ledger.begin("a", "name")
        ledger.finish("a", {"file": "a", "status": "ok"}, send=True)
        sender = Sender(tmp_path, ledger, sends, Metrics(), Health(), Log(trail), "PACS@10.0.0.5:104")
        assert sender._round(threading.Event()) == (error is None)
    begun, ended = (line.record for line in trail.lines())
    assert {(each["film"], each["to"]) for each in (begun, ended)} == {("name", "PACS@10.0.0.5:104")}
    assert (ended["event"], ended["code"]) == ("storing ended", code)


def test_nothing_is_sent_that_the_audit_trail_cannot_record(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    sent: list[object] = []
    log = Log(Trail(tmp_path / "file" / "trail", "a key that only the operator of this test has"))
    with Ledger(tmp_path / "l") as ledger:
        ledger.begin("a")
        ledger.finish("a", {"file": "a", "status": "ok"}, send=True)
        with pytest.raises(AuditError):
            Sender(tmp_path, ledger, sent.append, Metrics(), Health(), log)._round(threading.Event())
        assert (sent, ledger.unsent(1)) == ([], ["a"])


def test_the_sender_stops_while_the_other_application_cannot_be_reached(tmp_path):
    def never(_files):
        tried.set()
        raise UnreachableError("PEER_UNREACHABLE", "Said.")

    tried = threading.Event()
    with Ledger(tmp_path / "l") as ledger:
        ledger.begin("a")
        ledger.finish("a", {"file": "a", "status": "ok"}, send=True)
        with sending(Sender(tmp_path, ledger, never, Metrics(), Health())):
            assert tried.wait(60)
        assert ledger.unsent(3) == ["a"]


@pytest.mark.parametrize(
    ("text", "peer"),
    [
        ("PACS@10.0.0.5:104", Peer("PACS", "10.0.0.5", 104)),
        ("MY PACS@pacs.example:11112", Peer("MY PACS", "pacs.example", 11112)),
        ("A@B@host:1", Peer("A@B", "host", 1)),
        ("PACS@[::1]:65535", Peer("PACS", "::1", 65535)),
    ],
)
def test_an_application_is_title_host_and_port(text, peer):
    assert Peer.of(text) == peer


@pytest.mark.parametrize("text", ["", "PACS", "PACS@host", "@host:104", "PACS@:104", "PACS@host:0", "PACS@host:65536", "PACS@host:x", "PACS@host:²", "x" * 17 + "@host:1"])  # noqa: E501  # fmt: skip
def test_anything_else_is_no_application(text):
    with pytest.raises(SettingsError) as raised:
        Peer.of(text)
    assert raised.value.code in ("PEER_INVALID", "AE_TITLE_INVALID")


@pytest.mark.parametrize(
    ("text", "valid"),
    [("P", True), (" PTX ", True), ("x" * 16, True), ("x" * 17, False), ("  ", False), ("A\\B", False), ("Ä", False)],
)
def test_ae_titles(text, valid):
    if valid:
        assert ae_title(text) == text.strip()
    else:
        with pytest.raises(SettingsError):
            ae_title(text)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """Those of a receiver, of a modality, and of a stranger, by another authority."""
    home = tmp_path_factory.mktemp("certificates")
    make_certificates(home / "ours", "receiver", "modality")
    make_certificates(home / "other", "stranger")
    ours, other = home / "ours", home / "other"
    return {
        "receiver": Certificates(ours / "receiver.pem", ours / "receiver.key", ours / "ca.pem"),
        "modality": Certificates(ours / "modality.pem", ours / "modality.key", ours / "ca.pem"),
        "stranger": Certificates(other / "stranger.pem", other / "stranger.key", ours / "ca.pem"),
        "trusts nobody": Certificates(ours / "receiver.pem", ours / "receiver.key", other / "ca.pem"),
    }


def without_certificate(certificates: Certificates) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(certificates.authorities)
    return context


@OPENSSL
def test_films_are_received_by_tls_from_callers_with_a_certificate_alone(place, certificates):
    with place.at(tls=certificates["receiver"].for_callers()) as port:
        assert store(port, FILM) is None
        assert store(port, FILM, tls=without_certificate(certificates["modality"])) is None
        assert store(port, FILM, tls=certificates["stranger"].for_calling()) is None
        assert place.files() == []
        assert store(port, FILM, tls=certificates["modality"].for_calling()) == 0x0000
        assert len(place.files()) == 1


# pynetdicom ends its thread with an exception if the port closes while a caller has said nothing.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@OPENSSL
def test_a_caller_that_says_nothing_keeps_no_other_out(place, certificates):
    with place.at(tls=certificates["receiver"].for_callers()) as port, socket.create_connection(("127.0.0.1", port)):
        assert store(port, FILM, tls=certificates["modality"].for_calling()) == 0x0000


@OPENSSL
@DCMTK
def test_dcmtk_sends_a_film_by_tls(place, certificates, tmp_path):
    file, own = tmp_path / "film.dcm", certificates["modality"]
    file.write_bytes(FILM)
    with place.at(tls=certificates["receiver"].for_callers()) as port:
        by_tls = ["+tls", own.key, own.own, "+cf", own.authorities]
        subprocess.run(
            [STORESCU, *by_tls, "-aec", "PTX", "127.0.0.1", str(port), file],
            check=True,
            capture_output=True,
            timeout=60,
        )
    assert len(place.files()) == 1


@OPENSSL
def test_results_are_sent_by_tls_to_an_application_that_can_be_trusted_alone(tmp_path, certificates):
    made(tmp_path)
    files, pacs = [tmp_path / "k_seg.dcm"], Pacs()
    with pacs.at(tls=certificates["receiver"].for_callers()) as port:
        peer = Peer("PACS", "127.0.0.1", port)
        for caller in ("stranger", "trusts nobody"):
            with pytest.raises(UnreachableError, match="certificate") as raised:
                send(files, peer, "PTX", certificates[caller].for_calling())
            assert raised.value.code == "PEER_UNREACHABLE"
        with pytest.raises(UnreachableError):
            send(files, Peer("PACS", "localhost", port), "PTX", certificates["modality"].for_calling())
        assert pacs.got == []
        send(files, peer, "PTX", certificates["modality"].for_calling())
    assert pacs.got == [SegmentationStorage]


@OPENSSL
@pytest.mark.parametrize("broken", ["another key", "password", "no authorities"])
def test_unusable_certificates_are_named_by_a_code(tmp_path, certificates, broken):
    make_certificates(tmp_path, "own", "other")
    own = Certificates(tmp_path / "own.pem", tmp_path / "own.key", tmp_path / "ca.pem")
    if broken == "another key":
        own = Certificates(own.own, tmp_path / "other.key", own.authorities)
    elif broken == "password":
        locked = tmp_path / "locked.key"
        subprocess.run(
            ["openssl", "ec", "-in", own.key, "-aes128", "-passout", "pass:secret", "-out", locked],
            check=True, capture_output=True,
        )  # fmt: skip
        own = Certificates(own.own, locked, own.authorities)
    else:
        own.authorities.write_text("")
    for make in (own.for_callers, own.for_calling):
        with pytest.raises(SettingsError) as raised:
            make()
        assert raised.value.code == "TLS_FILES_UNUSABLE"

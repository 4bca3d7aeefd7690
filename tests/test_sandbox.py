"""Reading in child processes: the limits on hostile files, and that the next film is still read."""

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest

from ptx_app.errors import FilmError, NotAFilmError
from ptx_app.film import Limits, read_film
from ptx_app.film.radiograph import Radiograph
from ptx_app.film.sandbox.child import FILM, LENGTH, send
from ptx_app.film.sandbox.reader import SandboxedReader
from tests.support.films import broken_dicom, ct_slice, dicom_of, real_dicom


@pytest.fixture
def reader():
    with SandboxedReader(processes=1, seconds=5) as reader:
        yield reader


def same(first: Radiograph, second: Radiograph) -> bool:
    facts = ("view", "spacing", "source_format", "warnings", "rejections")
    return (
        np.array_equal(first.pixels, second.pixels)
        and list(first.tags.items()) == list(second.tags.items())
        and all(getattr(first, fact) == getattr(second, fact) for fact in facts)
    )


def film(seed: int, height: int = 200, width: int = 160) -> bytes:
    return dicom_of(np.random.default_rng(seed).random((height, width), dtype=np.float32))


def child_of(reader: SandboxedReader) -> int:
    process = reader._idle.get()
    reader._idle.put(process)
    return process.pid


@pytest.mark.parametrize("data", [real_dicom(), ct_slice(), film(1)], ids=["example", "rejected", "synthetic"])
def test_it_reads_what_the_plain_reader_reads(reader, data):
    assert same(reader.read(data), read_film(data))


@pytest.mark.parametrize("data", [b"", b"nonsense", broken_dicom()], ids=["empty", "not a film", "broken"])
def test_it_raises_what_the_plain_reader_raises(reader, data):
    with pytest.raises(FilmError) as plain:
        read_film(data)
    with pytest.raises(FilmError) as sandboxed:
        reader.read(data)
    assert type(sandboxed.value) is type(plain.value)
    assert (sandboxed.value.code, sandboxed.value.message) == (plain.value.code, plain.value.message)


def test_a_refusal_stays_a_refusal(reader):
    many = dicom_of(np.zeros((64, 64), np.float32), NumberOfFrames=2, PixelData=b"\0" * 64 * 64 * 4)
    with pytest.raises(NotAFilmError):
        reader.read(many)


def test_one_warm_child_serves_film_after_film_and_errors_do_not_end_it(reader):
    reader.read(film(1))
    first = child_of(reader)
    with pytest.raises(FilmError):
        reader.read(b"nonsense")
    reader.read(film(2))
    assert child_of(reader) == first


def test_a_killed_child_is_a_clear_error_and_the_next_film_works(reader):
    reader.read(film(1))
    # Pause the child process first, so that it has the film when it is killed.
    os.kill(child_of(reader), signal.SIGSTOP)
    threading.Timer(0.3, os.kill, (child_of(reader), signal.SIGKILL)).start()
    with pytest.raises(FilmError) as raised:
        reader.read(film(2))
    assert raised.value.code == "READER_LOST"
    assert same(reader.read(film(3)), read_film(film(3)))


def test_a_child_that_died_while_idle_is_replaced_unseen(reader):
    reader.read(film(1))
    os.kill(child_of(reader), signal.SIGKILL)
    time.sleep(0.2)
    assert same(reader.read(film(2)), read_film(film(2)))


def test_a_file_that_takes_too_long_is_ended_and_the_next_film_works():
    with SandboxedReader(processes=1, seconds=3) as reader:  # a child process starts in 2 s on a busy machine
        reader.read(film(1))
        os.kill(child_of(reader), signal.SIGSTOP)
        started = time.monotonic()
        with pytest.raises(FilmError) as raised:
            reader.read(film(2))
        assert raised.value.code == "TOO_SLOW"
        assert time.monotonic() - started < 6
        assert same(reader.read(film(3)), read_film(film(3)))


@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited on Linux only")
def test_a_film_over_the_memory_limit_is_refused_and_the_next_film_works():
    large = dicom_of(np.zeros((3000, 3000), np.float32))
    with SandboxedReader(processes=1, memory_bytes=16 << 20) as reader:
        with pytest.raises(FilmError) as raised:
            reader.read(large)
        assert raised.value.code in {"TOO_MUCH_MEMORY", "READER_LOST"}
        assert reader.read(film(1)).pixels.shape == (200, 160)
    with SandboxedReader(processes=1) as reader:
        assert reader.read(large).pixels.shape == (3000, 3000)


def test_many_at_once_each_get_their_own_film():
    with SandboxedReader(processes=2) as reader:
        seen: dict[int, tuple[int, ...]] = {}

        def read(number: int) -> None:
            seen[number] = reader.read(film(number, height=100 + number)).pixels.shape

        threads = [threading.Thread(target=read, args=(number,)) for number in range(50)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert seen == {number: (100 + number, 160) for number in range(50)}


def test_greedy_readers_let_a_third_one_in():
    large, done, stop = film(1, 1000, 800), [], threading.Event()

    def greedy() -> None:
        while not stop.is_set() and len(done) < 40:
            reader.read(large)
            done.append(None)

    with SandboxedReader(processes=1) as reader:
        threads = [threading.Thread(target=greedy) for _ in range(2)]
        for thread in threads:
            thread.start()
        try:
            while len(done) < 3:
                time.sleep(0.001)
            before, told = len(done), []
            reader.read(film(2), told.append)
            assert len(done) - before <= 4
            assert told
            assert set(told) <= {1, 2}
        finally:
            stop.set()
            for thread in threads:
                thread.join(10)


def says(answer: bytes) -> list[str]:
    """A command that sends these bytes as its answer to anything."""
    return [
        sys.executable,
        "-c",
        f"import sys, time; sys.stdout.buffer.write({answer!r}); sys.stdout.flush(); time.sleep(9)",
    ]


def parts(*parts: bytes) -> bytes:
    return b"".join(LENGTH.pack(len(part)) + part for part in parts)


@pytest.mark.parametrize(
    "answer",
    [
        LENGTH.pack(1 << 60),
        parts(b"{}", b"", b"", b""),
        parts(b"[]", b"", b"", b""),
        parts(b"nonsense", b"", b"", b""),
        parts(b"[" * 100_000, b"", b"", b""),
        parts(b'{"error": "SystemExit", "code": "", "message": ""}', b"", b"", b""),
        parts(b'{"spacing": null, "shape": [2, 2]}', b"123", b"", b""),
        parts(b"{}") + LENGTH.pack(1 << 60),
    ],
    ids=["long", "empty", "list", "not JSON", "nested", "error", "pixels", "long pixels"],
)
def test_an_answer_without_sense_is_a_lost_reader(reader, monkeypatch, answer):
    fake = subprocess.Popen(says(answer), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with monkeypatch.context() as patch:
        patch.setattr(reader, "_start", lambda: fake)
        with pytest.raises(FilmError) as raised:
            reader.read(film(1))
    assert raised.value.code == "READER_LOST"
    assert same(reader.read(film(2)), read_film(film(2)))


@pytest.mark.skipif(not hasattr(signal, "alarm"), reason="this system has no alarm")
def test_a_child_ends_itself_where_nobody_else_does():
    code = (
        "import time, ptx_app.film.sandbox.child as child;"
        "child._GRACE = 0.5; child.answer = lambda *_: time.sleep(60);"
        "child.main(768 << 20, 0.5)"
    )
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    send(child.stdin, FILM, b"film")
    assert child.wait(20) == -signal.SIGALRM


@pytest.mark.skipif(sys.platform != "linux", reason="another process's limits can be read on Linux only")
def test_a_child_writes_nothing_to_the_disk(reader, tmp_path):
    target = tmp_path / "written"
    code = (
        "import pathlib, ptx_app.film.sandbox.child as child;"
        f"child.answer = lambda _, data: pathlib.Path({str(target)!r}).write_bytes(data); child.main(768 << 20, 5)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    send(process.stdin, FILM, b"film")
    assert b"OSError" in process.communicate(timeout=20)[1]
    assert target.stat().st_size == 0

    import resource

    reader.read(film(1))
    assert resource.prlimit(child_of(reader), resource.RLIMIT_CORE) == (0, 0), "a crash must not leave a core file"


def test_what_a_decoder_prints_does_not_come_between_the_answers():
    code = (
        "import os, ptx_app.film.sandbox.child as child; answer = child.answer;"
        "child.answer = lambda *asked: (os.write(1, b'loud'), print('loud', flush=True), answer(*asked))[2];"
        "child.main(768 << 20, 5)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    send(process.stdin, FILM, b"")
    said, _ = process.communicate(timeout=20)
    assert b"loud" not in said
    assert b"EMPTY_FILE" in said


def test_what_is_too_large_is_named_so(reader):
    with pytest.raises(FilmError) as raised:
        reader.read(bytes(Limits().file_bytes + 1000))
    assert raised.value.code == "TOO_LARGE"


def test_a_jpeg_cut_short_and_ended_is_refused(reader):
    stream = cv2.imencode(".jpg", np.random.default_rng(0).integers(0, 256, (200, 200), np.uint8))[1].tobytes()
    with pytest.raises(FilmError) as raised:
        reader.read(stream[: len(stream) // 2] + b"\xff\xd9")
    assert raised.value.code == "TRUNCATED"


def test_closing_ends_every_child_and_leaves_the_reader_usable():
    reader = SandboxedReader(processes=2)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda seed: reader.read(film(seed, 1500, 1500)), range(6)))
    children = [process.pid for process in reader._idle.queue if process is not None]
    reader.close()
    assert children
    for process in children:
        with pytest.raises(ProcessLookupError):
            os.kill(process, 0)
    assert reader.read(film(1)).pixels.shape == (200, 160)
    assert reader._idle.qsize() == 2
    reader.close()


def test_the_child_is_light():

    code = (
        "import sys, ptx_app.film.sandbox.child, ptx_app.film.dicom.reader, ptx_app.film.picture; print(*sys.modules)"
    )
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "streamlit", "matplotlib", "albumentations"} & set(modules)


def test_the_time_limit_begins_when_the_child_is_ready(monkeypatch):
    slow = "import sys, time; time.sleep(1.5); from ptx_app.film.sandbox.child import main; main(int(sys.argv[1]), 60)"
    monkeypatch.setattr("ptx_app.film.sandbox.reader._CHILD", ("-c", slow))
    begun = []
    timer = threading.Timer

    def watched(seconds: float, stop) -> threading.Timer:
        begun.append((seconds, time.monotonic()))
        return timer(60, stop)  # long, as the machine may be busy; the test checks only when the time limit starts

    monkeypatch.setattr("ptx_app.film.sandbox.reader.threading.Timer", watched)
    with SandboxedReader(processes=1, seconds=1) as reader:
        started = time.monotonic()
        assert reader.read(film(1)).pixels.shape == (200, 160)
    film_begun = next(moment for seconds, moment in begun if seconds == 1)
    assert film_begun - started >= 1.5


def test_a_child_that_never_gets_ready_is_said_and_the_next_film_works(reader, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("ptx_app.film.sandbox.reader._CHILD", ("-c", "raise SystemExit(1)"))
        with pytest.raises(FilmError) as raised:
            reader.read(film(1))
    assert raised.value.code == "READER_NOT_STARTED"
    assert same(reader.read(film(2)), read_film(film(2)))


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, SystemExit, GeneratorExit])
@pytest.mark.parametrize("part", ["facts", "pixels"])
def test_an_interrupted_child_never_answers_the_next_film(reader, monkeypatch, interruption, part):
    from ptx_app.film.sandbox.reader import receive

    reader.read(film(1))
    first, asked = child_of(reader), []

    def interrupted(pipe, most):
        asked.append(most)
        if len(asked) == (1 if part == "facts" else 2):
            raise interruption
        return receive(pipe, most)

    with monkeypatch.context() as patch:
        patch.setattr("ptx_app.film.sandbox.reader.receive", interrupted)
        with pytest.raises(interruption):
            reader.read(film(2))
    with pytest.raises(ProcessLookupError):
        os.kill(first, 0)
    assert same(reader.read(film(3)), read_film(film(3)))
    assert reader._idle.qsize() == 1


def test_a_child_that_cannot_be_ended_is_not_kept_either(reader, monkeypatch):
    reader.read(film(1))
    with monkeypatch.context() as patch:

        def interrupted(*_):
            raise KeyboardInterrupt

        patch.setattr("ptx_app.film.sandbox.reader.receive", interrupted)
        patch.setattr("ptx_app.film.sandbox.reader._ended", interrupted)
        with pytest.raises(KeyboardInterrupt):
            reader.read(film(2))
    assert list(reader._idle.queue) == [None]
    assert same(reader.read(film(3)), read_film(film(3)))

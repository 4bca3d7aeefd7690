"""Weights are found or downloaded whole, or refused with a clear message and nothing left behind."""

import hashlib
import importlib
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from safetensors.numpy import save

from ptx_app.errors import WeightsError
from ptx_app.model.manifest import Manifest, Source, Weights, load_manifest
from ptx_app.weights import fetch
from ptx_app.weights.download import Patience
from ptx_app.weights.fetch import cache_folder, cached_path, locate, named_sources, select
from tests.support.weights_server import (
    QUOTA_PAGE,
    SCAN_PAGE,
    SIGN_IN_PAGE,
    WeightsServer,
    dripping,
    endless,
    file,
    gzipped,
    page,
    play_google_drive,
    redirect,
    running_server,
    stalled,
)

CONTENT = save({"stem": np.arange(200_000, dtype=np.float32)})
OTHER = save({"stem": np.ones(200_000, dtype=np.float32)})
SHORT = Patience(connect=2.0, read=0.3, whole=5.0, other_start=10.0, attempts=2, pause=0.0)
DRIVE_ID = "1a2b3c4d5e6f7g8h9i"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[WeightsServer]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with running_server() as running:
        running.answers["/weights"] = file(CONTENT)
        yield running


@pytest.fixture
def drive(server: WeightsServer, monkeypatch: pytest.MonkeyPatch) -> WeightsServer:
    play_google_drive(server, monkeypatch)
    return server


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PTX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(fetch, "ROOT", tmp_path / "project")
    (tmp_path / "project").mkdir()
    return tmp_path / "cache"


def weights(*sources: Source) -> Weights:
    own = {"name": "small", "bytes": len(CONTENT), "sha256": hashlib.sha256(CONTENT).hexdigest(), "sources": sources}
    return load_manifest().entry().model_copy(update=own)


def address(server: WeightsServer, path: str = "/weights") -> Source:
    return Source(kind="url", location=server.url + path)


def leftovers(cache: Path) -> list[str]:
    return [path.name for path in cache.glob("*") if path.suffix != ".lock"]


def refused(wanted: Weights, cache: Path, patience: Patience = SHORT) -> WeightsError:
    """The error of a `locate` that must fail and leave nothing in the cache."""
    with pytest.raises(WeightsError) as caught:
        locate(wanted, patience=patience)
    assert leftovers(cache) == []
    assert caught.value.message.endswith(".")
    return caught.value


# Files on this machine


def test_bundled_file_is_used_in_place(cache: Path) -> None:
    bundled = cache.parent / "project" / "bundled.safetensors"
    bundled.write_bytes(CONTENT)
    assert locate(weights(Source(kind="bundled", location="bundled.safetensors"))) == bundled
    assert not cache.exists()


def test_after_a_damaged_bundled_file_the_next_source_is_tried(cache: Path, server: WeightsServer) -> None:
    (cache.parent / "project" / "bundled.safetensors").write_bytes(CONTENT[:-1])
    wanted = weights(Source(kind="bundled", location="bundled.safetensors"), address(server))
    assert locate(wanted).read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (None, "WEIGHTS_MISSING"),
        (CONTENT[:-1], "WEIGHTS_WRONG_SIZE"),
        (OTHER, "WEIGHTS_WRONG_HASH"),
        (b"\x80\x04\x95rest of a pickle", "WEIGHTS_PICKLED"),
        (b"PK\x03\x04rest of a zip, as torch.save writes it", "WEIGHTS_PICKLED"),
        (b"version https://git-lfs.github.com/spec/v1", "WEIGHTS_NOT_SAFETENSORS"),
        (b"\xff" * 8 + b"{", "WEIGHTS_NOT_SAFETENSORS"),
        (b"", "WEIGHTS_NOT_SAFETENSORS"),
    ],
)
def test_unusable_bundled_file_has_its_own_code(cache: Path, content: bytes | None, code: str) -> None:
    if content is not None:
        (cache.parent / "project" / "bundled.safetensors").write_bytes(content)
    assert refused(weights(Source(kind="bundled", location="bundled.safetensors")), cache).code == code


def test_file_is_hashed_once_until_it_changes(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundled = cache.parent / "project" / "bundled.safetensors"
    bundled.write_bytes(CONTENT)
    wanted = weights(Source(kind="bundled", location=bundled.name))
    hashed: list[object] = []
    genuine = hashlib.file_digest
    monkeypatch.setattr(hashlib, "file_digest", lambda *given: hashed.append(given) or genuine(*given))
    locate(wanted)
    locate(wanted)
    assert len(hashed) == 1
    bundled.write_bytes(OTHER)
    assert refused(wanted, cache).code == "WEIGHTS_WRONG_HASH"


def test_entry_without_any_source_says_how_to_add_one(cache: Path) -> None:
    error = refused(weights(), cache)
    assert error.code == "WEIGHTS_WITHOUT_SOURCE"
    assert "weights add" in error.message


# An address


def test_download_is_cached_and_not_repeated(cache: Path, server: WeightsServer) -> None:
    wanted = weights(address(server))
    told: list[tuple[int, int]] = []
    path = locate(wanted, progress=lambda received, whole: told.append((received, whole)))
    assert path == cached_path(wanted)
    assert path.parent == cache
    assert path.read_bytes() == CONTENT
    assert leftovers(cache) == [path.name]
    assert told[0] == (0, len(CONTENT))
    assert told[-1] == (len(CONTENT), len(CONTENT))
    assert told == sorted(told)
    assert len(told) > 2
    assert locate(wanted) == path
    assert server.asked == ["/weights"]


def test_damaged_cached_file_is_replaced(cache: Path, server: WeightsServer) -> None:
    wanted = weights(address(server))
    cache.mkdir()
    cached_path(wanted).write_bytes(CONTENT[:1000])
    assert locate(wanted).read_bytes() == CONTENT


def test_remains_of_a_killed_start_are_deleted(cache: Path, server: WeightsServer) -> None:
    wanted = weights(address(server))
    cache.mkdir()
    cached_path(wanted).with_suffix(".part").write_bytes(b"x" * 2 * len(CONTENT))
    locate(wanted)
    assert leftovers(cache) == [cached_path(wanted).name]


def test_cut_connection(cache: Path, server: WeightsServer) -> None:
    server.answers["/weights"] = file(CONTENT[: len(CONTENT) // 2], length=len(CONTENT))
    assert refused(weights(address(server)), cache).code == "WEIGHTS_CUT"
    assert len(server.asked) == SHORT.attempts


def test_cut_connection_is_tried_again_from_the_start(cache: Path, server: WeightsServer) -> None:
    server.answers["/weights"] = [file(CONTENT[:600_000], length=len(CONTENT)), page("busy", 503), file(CONTENT)]
    path = locate(weights(address(server)), patience=replace(SHORT, attempts=3))
    assert path.read_bytes() == CONTENT
    assert len(server.asked) == 3


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (OTHER, "WEIGHTS_WRONG_HASH"),
        (CONTENT[:-1], "WEIGHTS_WRONG_SIZE"),
        (CONTENT + b"x", "WEIGHTS_TOO_LARGE"),
        (b"<!DOCTYPE html><html>come back later</html>", "WEIGHTS_WEB_PAGE"),
        (b"\n <html>come back later</html>", "WEIGHTS_WEB_PAGE"),
        (b"PK\x03\x04" + CONTENT, "WEIGHTS_PICKLED"),
        (b'{"error": "no such file"}', "WEIGHTS_NOT_SAFETENSORS"),
        (b"", "WEIGHTS_NOT_SAFETENSORS"),
    ],
)
def test_wrong_content_is_refused_at_once(cache: Path, server: WeightsServer, content: bytes, code: str) -> None:
    server.answers["/weights"] = file(content)
    assert refused(weights(address(server)), cache).code == code
    assert len(server.asked) == 1  # another try would give the same


def test_endless_answer_is_stopped_at_the_stated_size(cache: Path, server: WeightsServer) -> None:
    sent: list[int] = []
    server.answers["/weights"] = endless(CONTENT, sent)
    assert refused(weights(address(server)), cache).code == "WEIGHTS_TOO_LARGE"
    assert sum(sent) < 100 * len(CONTENT)  # what the sockets' buffers hold, not the 1.6 GB on offer


@pytest.mark.parametrize(("status", "code"), [(404, "WEIGHTS_REFUSED"), (403, "WEIGHTS_REFUSED")])
def test_refusing_server(cache: Path, server: WeightsServer, status: int, code: str) -> None:
    server.answers["/weights"] = page("no", status)
    error = refused(weights(address(server)), cache)
    assert error.code == code
    assert str(status) in error.message
    assert len(server.asked) == 1


def test_failing_server_is_asked_again(cache: Path, server: WeightsServer) -> None:
    server.answers["/weights"] = page("broken", 500)
    assert refused(weights(address(server)), cache).code == "WEIGHTS_UNREACHABLE"
    assert len(server.asked) == SHORT.attempts


def test_unreachable_server(cache: Path, server: WeightsServer) -> None:
    assert (
        refused(weights(Source(kind="url", location="http://127.0.0.1:9/weights")), cache).code == "WEIGHTS_UNREACHABLE"
    )


@pytest.mark.parametrize("answer", [file(CONTENT, pause=1.0), stalled(CONTENT, 1.0)], ids=["silent", "stalled"])
def test_time_limit(cache: Path, server: WeightsServer, answer: object) -> None:
    server.answers["/weights"] = answer  # type: ignore[assignment]
    assert refused(weights(address(server)), cache, replace(SHORT, attempts=1)).code == "WEIGHTS_TIMEOUT"


def test_a_trickling_answer_hits_the_overall_time_limit(cache: Path, server: WeightsServer) -> None:
    server.answers["/weights"] = dripping(CONTENT, pause=0.05)
    started = time.monotonic()
    error = refused(weights(address(server)), cache, replace(SHORT, whole=0.5, attempts=1))
    assert error.code == "WEIGHTS_TIMEOUT"
    assert time.monotonic() - started < 3


@pytest.mark.parametrize(
    "text", ["http://example.org/weights", "ftp://example.org/weights", "weights", "https://", "https://[1"]
)
def test_address_has_to_be_https(cache: Path, text: str) -> None:
    assert refused(weights(Source(kind="url", location=text)), cache).code == "WEIGHTS_ADDRESS"


def test_redirect_may_not_leave_https(cache: Path, drive: WeightsServer) -> None:
    drive.answers["/moved"] = redirect("https://www.google.com/weights")
    assert locate(weights(address(drive, "/moved"))).read_bytes() == CONTENT
    cached_path(weights()).unlink()
    asked = list(drive.asked)
    drive.answers["/moved"] = redirect("http://www.google.com/weights")
    assert refused(weights(address(drive, "/moved")), cache).code == "WEIGHTS_ADDRESS"
    assert drive.asked == [*asked, "/moved"]  # no request went to the other host


def test_redirects_are_followed_within_reason(cache: Path, server: WeightsServer) -> None:
    server.answers["/moved"] = redirect("weights")
    assert locate(weights(address(server, "/moved"))).read_bytes() == CONTENT
    cached_path(weights()).unlink()
    server.answers["/moved"] = redirect("/moved")
    assert refused(weights(address(server, "/moved")), cache).code == "WEIGHTS_REFUSED"
    assert len(server.asked) < 10
    server.answers["/moved"] = redirect("https://[1")
    assert refused(weights(address(server, "/moved")), cache).code == "WEIGHTS_ADDRESS"


def test_page_that_comes_with_a_redirect_is_not_read(cache: Path, server: WeightsServer) -> None:
    sent: list[int] = []
    server.answers["/moved"] = redirect("/weights", then=endless(CONTENT, sent))
    assert locate(weights(address(server, "/moved"))).read_bytes() == CONTENT
    assert sum(sent) < 100 * len(CONTENT)


def test_packed_answer_is_refused_unread(cache: Path, server: WeightsServer) -> None:
    server.answers["/weights"] = gzipped(CONTENT)
    assert refused(weights(address(server)), cache).code == "WEIGHTS_REFUSED"


@pytest.mark.parametrize("host", ["a" * 64 + ".example", "a..example", "-.example:99999", "exa mple"])
def test_host_that_cannot_be_resolved(cache: Path, host: str) -> None:
    error = refused(weights(Source(kind="url", location=f"https://{host}/weights")), cache, replace(SHORT, attempts=1))
    assert error.code in ("WEIGHTS_REFUSED", "WEIGHTS_ADDRESS", "WEIGHTS_UNREACHABLE")


def test_message_never_shows_secrets_in_an_address(cache: Path, server: WeightsServer) -> None:
    server.answers["/weights"] = page("no", 403)
    assert "s3cret" not in refused(weights(address(server, "/weights?token=s3cret")), cache).message


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full, a disk that is always full")
def test_full_disk(cache: Path, server: WeightsServer) -> None:
    wanted = weights(address(server), address(server, "/other"))
    cache.mkdir()
    cached_path(wanted).with_suffix(".part").symlink_to("/dev/full")
    assert refused(wanted, cache).code == "WEIGHTS_DISK_FULL"
    assert server.asked == ["/weights"]  # the next source would fill the same disk


def test_cache_folder_that_cannot_be_made(cache: Path, server: WeightsServer) -> None:
    cache.write_text("a file stands in its place")
    with pytest.raises(WeightsError) as caught:
        locate(weights(address(server)))
    assert caught.value.code == "WEIGHTS_CACHE_UNWRITABLE"
    assert "PTX_CACHE" in caught.value.message
    assert server.asked == []


def test_page_closed_during_a_download_leaves_nothing(cache: Path, server: WeightsServer) -> None:
    class PageLeftError(Exception):
        pass

    def leave(received: int, _whole: int) -> None:
        if received:
            raise PageLeftError

    with pytest.raises(PageLeftError):
        locate(weights(address(server)), progress=leave)
    assert leftovers(cache) == []


# Google Drive, by gdown's own code


def test_drive_file(cache: Path, drive: WeightsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    cookies = cache.parent / "cookies.txt"
    monkeypatch.setattr(importlib.import_module("gdown.download"), "DEFAULT_COOKIES_FILE", str(cookies))
    drive.answers["/uc"] = page(SCAN_PAGE.format(id=DRIVE_ID), cookie="NID=1; Path=/")
    drive.answers["/download"] = file(CONTENT, name="weights.safetensors")
    told: list[tuple[int, int]] = []
    path = locate(
        weights(Source(kind="drive", location=DRIVE_ID)),
        progress=lambda received, whole: told.append((received, whole)),
    )
    assert path.read_bytes() == CONTENT
    assert drive.asked[0] == f"/uc?id={DRIVE_ID}"
    assert "confirm=t" in drive.asked[1]
    assert told[-1] == (len(CONTENT), len(CONTENT))
    assert not cookies.exists()


@pytest.mark.parametrize(
    ("answer", "code", "tries"),
    [
        (page(QUOTA_PAGE), "WEIGHTS_DRIVE_QUOTA", 1),
        (page(SIGN_IN_PAGE), "WEIGHTS_DRIVE_REFUSED", 1),
        (page("<html>not found</html>", 404), "WEIGHTS_DRIVE_REFUSED", 1),
        (file(OTHER, name="w"), "WEIGHTS_WRONG_HASH", 1),
        (file(CONTENT + b"x", name="w"), "WEIGHTS_TOO_LARGE", 1),
        (file(b"\x80\x02" + CONTENT, name="w"), "WEIGHTS_PICKLED", 1),
        (file(CONTENT[:500_000], length=len(CONTENT), name="w"), "WEIGHTS_CUT", 2),
        (file(CONTENT, pause=1.0, name="w"), "WEIGHTS_TIMEOUT", 2),
    ],
    ids=["quota", "sign-in", "404", "hash", "too many", "pickle", "cut", "silent"],
)
def test_drive_without_the_file(cache: Path, drive: WeightsServer, answer: object, code: str, tries: int) -> None:
    drive.answers["/uc"] = answer  # type: ignore[assignment]
    assert refused(weights(Source(kind="drive", location=DRIVE_ID)), cache).code == code
    assert len(drive.asked) == tries


def test_endless_confirmation_pages_of_drive_are_stopped(cache: Path, drive: WeightsServer) -> None:
    drive.answers["/uc"] = drive.answers["/download"] = page(SCAN_PAGE.format(id=DRIVE_ID))
    error = refused(weights(Source(kind="drive", location=DRIVE_ID)), cache, replace(SHORT, whole=0.3, attempts=1))
    assert error.code == "WEIGHTS_TIMEOUT"


# Several sources, several starts


def test_next_source_is_tried_where_one_fails(cache: Path, drive: WeightsServer) -> None:
    drive.answers["/uc"] = page(QUOTA_PAGE)
    assert locate(weights(Source(kind="drive", location=DRIVE_ID), address(drive))).read_bytes() == CONTENT
    assert drive.asked == [f"/uc?id={DRIVE_ID}", "/weights"]


def test_error_lists_what_happened_at_each_source(cache: Path, drive: WeightsServer) -> None:
    drive.answers["/uc"] = page(QUOTA_PAGE)
    drive.answers["/weights"] = page("no", 404)
    wanted = weights(
        Source(kind="bundled", location="gone.safetensors"), Source(kind="drive", location=DRIVE_ID), address(drive)
    )
    error = refused(wanted, cache)
    assert error.code == "WEIGHTS_UNAVAILABLE"
    assert "Bundled file: The file does not exist." in error.message
    assert "Google Drive: The file was downloaded from Google Drive too often" in error.message
    assert "Address: 127.0.0.1 does not provide this file (404)" in error.message


def test_named_address_comes_before_the_entrys_own(cache: Path, server: WeightsServer) -> None:
    server.answers["/mirror"] = file(CONTENT)
    locate(weights(address(server)), given=named_sources(url=server.url + "/mirror"))
    assert server.asked == ["/mirror"]


def test_offline_uses_local_files_and_sends_no_request(cache: Path, server: WeightsServer) -> None:
    wanted = weights(address(server))
    with pytest.raises(WeightsError) as caught:
        locate(wanted, offline=True)
    assert caught.value.code == "WEIGHTS_OFFLINE"
    assert server.asked == []
    path = locate(wanted)
    assert locate(wanted, offline=True) == path


def test_two_threads_download_once(cache: Path, server: WeightsServer) -> None:
    server.answers["/weights"] = file(CONTENT, pause=0.2)
    wanted = weights(address(server))
    found: list[Path] = []
    threads = [threading.Thread(target=lambda: found.append(locate(wanted))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [cached_path(wanted)] * 2
    assert server.asked == ["/weights"]


def test_two_processes_download_once(cache: Path, server: WeightsServer) -> None:
    server.answers["/weights"] = file(CONTENT, pause=0.5)
    wanted = weights(address(server))
    program = (
        "from ptx_app.weights.fetch import locate; from ptx_app.model.manifest import Weights\n"
        f"print(locate(Weights.model_validate_json({wanted.model_dump_json()!r})))"
    )
    root = Path(__file__).parents[1]
    starts = [
        subprocess.Popen([sys.executable, "-c", program], cwd=root, stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    assert [start.communicate(timeout=30)[0].strip() for start in starts] == [str(cached_path(wanted))] * 2
    assert server.asked == ["/weights"]


def test_start_that_hangs_does_not_block_others_forever(cache: Path, server: WeightsServer) -> None:
    wanted = weights(address(server))
    cache.mkdir()
    with FileLock(cached_path(wanted).with_suffix(".lock")), pytest.raises(WeightsError) as caught:
        locate(wanted, patience=replace(SHORT, other_start=0.1))
    assert caught.value.code == "WEIGHTS_BUSY"
    assert locate(wanted).is_file()


# Sources set by the operator


def test_named_file_has_to_be_that_of_the_entry(cache: Path, tmp_path: Path) -> None:
    wanted = weights(Source(kind="bundled", location="bundled.safetensors"))
    (tmp_path / "project" / "bundled.safetensors").write_bytes(CONTENT)
    mine = tmp_path / "mine.safetensors"
    mine.write_bytes(CONTENT)
    assert locate(wanted, given=named_sources(file=mine)) == mine
    mine.write_bytes(OTHER)
    with pytest.raises(WeightsError) as caught:  # although the bundled file is there
        locate(wanted, given=named_sources(file=mine))
    assert caught.value.code == "WEIGHTS_NOT_THIS_FILE"
    assert "weights add" in caught.value.message


@pytest.mark.parametrize(
    "text",
    [
        DRIVE_ID,
        f"https://drive.google.com/file/d/{DRIVE_ID}/view?usp=sharing",
        f"https://drive.google.com/uc?id={DRIVE_ID}",
    ],
)
def test_drive_id_or_link(text: str) -> None:
    assert named_sources(drive=text) == (Source(kind="drive", location=DRIVE_ID),)


@pytest.mark.parametrize(
    "text", ["short", "https://drive.google.com/drive/folders/", "https://example.org/x", "a b c d e f g"]
)
def test_drive_id_that_is_invalid(text: str) -> None:
    with pytest.raises(WeightsError) as caught:
        named_sources(drive=text)
    assert caught.value.code == "WEIGHTS_ADDRESS"


def test_select_takes_a_name_or_a_file(tmp_path: Path) -> None:
    manifest = Manifest(default="small", weights=(weights(),))
    mine = tmp_path / "mine.safetensors"
    mine.write_bytes(CONTENT)
    further = named_sources(url="https://example.org/weights")
    assert select(manifest, None) == select(manifest, "small") == (manifest.entry(), ())
    assert select(manifest, "small", further) == (manifest.entry(), further)
    assert select(manifest, str(mine), further) == (manifest.entry(), (*named_sources(file=mine), *further))


@pytest.mark.parametrize(
    ("content", "code"),
    [(None, "WEIGHTS_MISSING"), (OTHER, "WEIGHTS_NOT_LISTED"), (b"\x80\x02.", "WEIGHTS_PICKLED")],
)
def test_select_refuses_a_file_without_an_entry(tmp_path: Path, content: bytes | None, code: str) -> None:
    mine = tmp_path / "mine.safetensors"
    if content is not None:
        mine.write_bytes(content)
    with pytest.raises(WeightsError) as caught:
        select(Manifest(default="small", weights=(weights(),)), str(mine))
    assert caught.value.code == code
    assert str(tmp_path) not in caught.value.message


def test_select_of_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(WeightsError) as caught:
        select(Manifest(default="small", weights=(weights(),)), "large")
    assert caught.value.code == "WEIGHTS_UNKNOWN"
    assert "small" in caught.value.message


def test_cache_folder_without_a_setting_is_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PTX_CACHE", raising=False)
    assert cache_folder().name == "ptx_app"
    assert cache_folder().is_absolute()

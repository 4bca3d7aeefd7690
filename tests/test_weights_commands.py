"""ptx weights list | add | fetch | verify, on a copy of the project's manifest and weights."""

import argparse
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save, save_file

from ptx_app.commands import weights as commands
from ptx_app.errors import WeightsError
from ptx_app.model.manifest import MANIFEST_PATH, Manifest, load_manifest
from ptx_app.model.manifest_editing import format_document, read_document
from ptx_app.weights import add, fetch
from tests.support.weights_server import WeightsServer, file, page, play_google_drive, running_server

BUNDLED = MANIFEST_PATH.parent / load_manifest().entry().sources[0].location
NAME = load_manifest().default
_DOCUMENT = read_document()
DEFAULT_ALONE = _DOCUMENT | {"weights": [entry for entry in _DOCUMENT["weights"] if entry["name"] == NAME]}
DRIVE_ID = "1a2b3c4d5e6f7g8h9i"
DESCRIPTION = ["--title", "Other", "--provenance", "Trained elsewhere", "--terms", "Free"]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of its own: the manifest with the default's entry alone, and the bundled file by a link."""
    root = tmp_path / "project"
    bundled = root / BUNDLED.relative_to(MANIFEST_PATH.parent)
    bundled.parent.mkdir(parents=True)
    bundled.symlink_to(BUNDLED)
    (root / MANIFEST_PATH.name).write_text(format_document(DEFAULT_ALONE), encoding="utf-8")
    monkeypatch.setattr(commands, "MANIFEST_PATH", root / MANIFEST_PATH.name)
    for module in (fetch, add):
        monkeypatch.setattr(module, "ROOT", root)
    monkeypatch.setenv("PTX_CACHE", str(tmp_path / "cache"))
    return root


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[WeightsServer]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with running_server() as running:
        running.answers["/weights"] = file(BUNDLED.read_bytes())
        yield running


def weights(*words: str) -> int:
    parser = argparse.ArgumentParser()
    commands.add_arguments(parser)
    return commands.run(parser.parse_args(words))


def refused(*words: str) -> str:
    with pytest.raises(WeightsError) as caught:
        weights(*words)
    return caught.value.code


def manifest_of(project: Path) -> Manifest:
    return load_manifest(project / MANIFEST_PATH.name)


def files_below(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock"}


@pytest.fixture
def other_file(tmp_path: Path) -> Path:
    """Weights of the same network that are not those of the manifest."""
    state = load_file(BUNDLED)
    state["segmentation_head.0.bias"] = state["segmentation_head.0.bias"] + np.float16(1)
    path = tmp_path / "other.safetensors"
    save_file(state, path)
    return path


# list, fetch, verify


def test_list_shows_place_size_and_figures(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert weights("list") == 0
    row = next(line for line in capsys.readouterr().out.splitlines() if NAME in line)
    entry = manifest_of(project).entry()
    point = entry.operating_point()
    assert row.startswith("*")
    for told in ("26.6 MB", "bundled", f"{point.sensitivity:.2f}", f"{point.specificity:.2f}", f"{point.films} films"):
        assert told in row
    assert f"AUC {entry.figures['validation_films'].auc:.3f}" in row
    (project / entry.sources[0].location).unlink()
    weights("list")
    assert "missing" in capsys.readouterr().out


def test_fetch_brings_the_file_and_verify_tries_it(
    project: Path, server: WeightsServer, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / manifest_of(project).entry().sources[0].location).unlink()
    assert weights("verify") == 0
    assert weights("verify", NAME) == 1
    assert "not on this machine" in capsys.readouterr().out
    assert weights("fetch", "--url", f"{server.url}/weights") == 0
    path = Path(capsys.readouterr().out.strip().removeprefix(f"{NAME}: "))
    assert path.read_bytes() == BUNDLED.read_bytes()
    assert weights("verify", NAME) == 0
    assert "loads and runs" in capsys.readouterr().out
    path.write_bytes(b"damaged")
    assert weights("verify") == 1
    assert "WEIGHTS_NOT_SAFETENSORS" in capsys.readouterr().out


# add


def test_add_gives_an_existing_entry_a_further_source(
    project: Path, server: WeightsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    play_google_drive(server, monkeypatch)
    server.answers["/uc"] = file(BUNDLED.read_bytes(), name="weights.safetensors")
    before = json.loads((project / MANIFEST_PATH.name).read_text())
    assert weights("add", "--name", NAME, "--drive", DRIVE_ID) == 0
    after = json.loads((project / MANIFEST_PATH.name).read_text())
    assert after["weights"][0]["sources"].pop() == {"kind": "drive", "location": DRIVE_ID}
    assert after == before
    assert server.asked == [f"/uc?id={DRIVE_ID}"]
    (project / before["weights"][0]["sources"][0]["location"]).unlink()
    assert weights("fetch") == 0  # it was kept in the cache
    assert server.asked == [f"/uc?id={DRIVE_ID}"]


def test_add_like_an_existing_entry_claims_no_measurement(
    project: Path, server: WeightsServer, other_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.answers["/other"] = file(other_file.read_bytes())
    address = f"{server.url}/other"
    assert weights("add", "--name", "other", "--url", address, "--like", NAME, *DESCRIPTION, "--default") == 0
    manifest = manifest_of(project)
    added, model = manifest.entry("other"), manifest.entry(NAME)
    assert manifest.default == "other"
    assert added.bytes == other_file.stat().st_size
    assert added.sha256 == hashlib.sha256(other_file.read_bytes()).hexdigest()
    assert (added.network, added.input) == (model.network, model.input)
    assert added.figures == {}
    assert all(point.sensitivity is None and point.films is None for point in added.operating_points)
    assert (added.title, added.provenance, added.terms) == ("Other", "Trained elsewhere", "Free")
    weights("list")
    assert "not measured" in capsys.readouterr().out


def test_add_takes_a_described_file_into_the_project(project: Path, other_file: Path, tmp_path: Path) -> None:
    entry = DEFAULT_ALONE["weights"][0]
    described = {key: value for key, value in entry.items() if key not in ("name", "bytes", "sha256", "sources")}
    description = tmp_path / "entry.json"
    description.write_text(json.dumps(described | {"title": "As published"}))
    assert weights("add", "--name", "other", "--file", str(other_file), "--entry", str(description)) == 0
    added = manifest_of(project).entry("other")
    assert added.title == "As published"
    assert added.operating_points == manifest_of(project).entry(NAME).operating_points
    assert [source.location for source in added.sources] == ["ptx_app/weights/bundled/other.safetensors"]
    assert (project / added.sources[0].location).read_bytes() == other_file.read_bytes()
    assert not (tmp_path / "cache").exists()
    assert weights("add", "--name", "other", "--file", str(project / added.sources[0].location)) == 0
    assert manifest_of(project).entry("other") == added


def test_add_refuses_a_description_of_another_file(project: Path, other_file: Path, tmp_path: Path) -> None:
    description = tmp_path / "entry.json"
    description.write_text(json.dumps(DEFAULT_ALONE["weights"][0]))
    words = ("add", "--name", "other", "--file", str(other_file), "--entry", str(description))
    assert_nothing_changes(project, "WEIGHTS_NOT_THIS_FILE", *words)
    assert_nothing_changes(project, "WEIGHTS_NOT_THIS_FILE", "add", "--name", NAME, "--file", str(other_file))


def test_add_overwrites_no_other_file_of_the_project(project: Path, other_file: Path) -> None:
    (project / add.BUNDLED / "other.safetensors").write_bytes(b"somebody's")
    words = ("add", "--name", "other", "--file", str(other_file), "--like", NAME, *DESCRIPTION)
    assert_nothing_changes(project, "WEIGHTS_NAME_TAKEN", *words)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("WEIGHTS_UNDESCRIBED", ["other"]),
        ("WEIGHTS_UNDESCRIBED", ["other", "--like", NAME, "--title", "Other"]),
        ("WEIGHTS_UNKNOWN", ["other", "--like", "none-such", *DESCRIPTION]),
        ("WEIGHTS_NAME_TAKEN", [NAME, "--like", NAME, *DESCRIPTION]),
        ("MANIFEST_UNREADABLE", ["other", "--entry", "no such file"]),
    ],
)
def test_add_asks_for_what_it_needs_before_it_downloads(
    project: Path, server: WeightsServer, code: str, words: list[str]
) -> None:
    assert_nothing_changes(project, code, "add", "--url", f"{server.url}/weights", "--name", *words)
    assert server.asked == []


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"\x80\x04\x95pickle", "WEIGHTS_PICKLED"),
        (b"PK\x03\x04zip", "WEIGHTS_PICKLED"),
        (b"<!DOCTYPE html><html>", "WEIGHTS_WEB_PAGE"),
        (save({"other": np.zeros(3, np.float32)}), "WEIGHTS_MISFIT"),
    ],
    ids=["pickle", "zip", "page", "misfit"],
)
def test_add_refuses_what_does_not_load(
    project: Path, server: WeightsServer, tmp_path: Path, content: bytes, code: str
) -> None:
    server.answers["/weights"] = file(content)
    mine = tmp_path / "mine.safetensors"
    mine.write_bytes(content)
    for place in (["--url", f"{server.url}/weights"], ["--file", str(mine)]):
        assert_nothing_changes(project, code, "add", "--name", "other", *place, "--like", NAME, *DESCRIPTION)
    assert files_below(tmp_path / "cache") == set()


def test_add_refuses_weights_that_compute_no_numbers(project: Path, tmp_path: Path) -> None:
    state = load_file(BUNDLED)
    state["segmentation_head.0.bias"] = np.full_like(state["segmentation_head.0.bias"], np.nan)
    path = tmp_path / "nan.safetensors"
    save_file(state, path)
    words = ("add", "--name", "other", "--file", str(path), "--like", NAME, *DESCRIPTION)
    assert_nothing_changes(project, "WEIGHTS_NOT_FINITE", *words)


def test_add_of_a_wrong_name_leaves_the_manifest_as_it_was(project: Path, other_file: Path) -> None:
    words = ("add", "--name", "Other Weights", "--file", str(other_file), "--like", NAME, *DESCRIPTION)
    assert_nothing_changes(project, "MANIFEST_INVALID", *words)


def test_add_of_a_page_that_refuses_leaves_nothing(project: Path, server: WeightsServer) -> None:
    server.answers["/weights"] = page("no", 404)
    assert_nothing_changes(project, "WEIGHTS_REFUSED", "add", "--name", NAME, "--url", f"{server.url}/weights")


def assert_nothing_changes(project: Path, code: str, *words: str) -> None:
    """The command is refused with that code, and manifest, project and cache hold what they held."""
    cache = project.parent / "cache"
    before = (files_below(project), files_below(cache), (project / MANIFEST_PATH.name).read_bytes())
    assert refused(*words) == code
    assert (files_below(project), files_below(cache), (project / MANIFEST_PATH.name).read_bytes()) == before

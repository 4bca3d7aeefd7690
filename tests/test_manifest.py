"""The committed manifest is valid, and an invalid one is refused with the name of the field."""

import copy
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from ptx_app.errors import WeightsError
from ptx_app.model.manifest import MANIFEST_PATH, ROOT, load_manifest, parse_manifest
from ptx_app.model.manifest_editing import (
    entry_like,
    format_document,
    read_document,
    with_entry,
    with_identity,
    with_source,
    write_document,
)
from ptx_app.weights.verify import check_file

COMMITTED: dict[str, Any] = json.loads(MANIFEST_PATH.read_text(encoding="utf-8"))
# Only the default's entry, so that each test knows which entry it changes.
DOCUMENT = COMMITTED | {"weights": [entry for entry in COMMITTED["weights"] if entry["name"] == COMMITTED["default"]]}
REMOVED = object()


def changed(path: str, value: object) -> dict[str, Any]:
    """The committed manifest with one field of its first entry set or removed; path such as "input.side"."""
    document = copy.deepcopy(DOCUMENT)
    *way, last = path.split(".")
    target: Any = document["weights"][0]
    for step in way:
        target = target[int(step) if step.isdigit() else step]
    if value is REMOVED:
        del target[last]
    else:
        target[last] = value
    return document


def test_committed_manifest_is_valid_and_its_bundled_files_are_whole() -> None:
    manifest = load_manifest()
    bundled = [(entry, source) for entry in manifest.weights for source in entry.sources if source.kind == "bundled"]
    assert manifest.default in [entry.name for entry, _ in bundled], "a fresh clone has to work without a network"
    for entry, source in bundled:
        check_file(ROOT / source.location, entry)


def test_committed_manifest_has_the_layout_that_is_written() -> None:
    assert MANIFEST_PATH.read_text(encoding="utf-8") == format_document(COMMITTED)


def test_entry_and_operating_point_by_name_or_default() -> None:
    manifest = load_manifest()
    entry = manifest.entry()
    assert manifest.entry(manifest.default) is entry
    assert entry.operating_point().name == entry.default_operating_point
    assert entry.operating_point(entry.operating_points[0].name) is entry.operating_points[0]


def test_unknown_names_are_refused_with_the_known_ones() -> None:
    manifest = load_manifest()
    with pytest.raises(WeightsError, match=manifest.default) as caught:
        manifest.entry("none-such")
    assert caught.value.code == "WEIGHTS_UNKNOWN"
    with pytest.raises(WeightsError, match=manifest.entry().default_operating_point) as caught:
        manifest.entry().operating_point("none-such")
    assert caught.value.code == "OPERATING_POINT_UNKNOWN"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "../escape"),
        ("name", "Upper Case"),
        ("title", ""),
        ("network.architecture", 3),
        ("network.decoder_attention", "cbam"),
        ("network.head_pooling", "min"),
        ("network.head_dropout", 1),
        ("network.unheard_of", 1),
        ("input.side", 321),
        ("input.side", "320"),
        ("input.fit", "crop"),
        ("input.interpolation", "cubic"),
        ("input.channels", 4),
        ("input.mean", REMOVED),
        ("input.std", 0),
        ("flip_averaging", 1),
        ("bytes", 0),
        ("bytes", 1.5),
        ("bytes", REMOVED),
        ("sha256", "7A25"),
        ("sha256", REMOVED),
        ("sources.0.kind", "ftp"),
        ("sources.0.kind", "file"),
        ("sources.0.location", ""),
        ("calibration.temperature", 0),
        ("calibration.bias", None),
        ("calibration.mask_weight", -1),
        ("operating_points", []),
        ("operating_points.0.name", "Sensitive!"),
        ("operating_points.1.name", "sensitive"),
        ("operating_points.0.score", 1.01),
        ("operating_points.0.mask_threshold", -0.1),
        ("operating_points.0.smallest_region", REMOVED),
        ("operating_points.0.sensitivity", 95),
        ("operating_points.0.specificity", REMOVED),
        ("operating_points.0.films", 0),
        ("operating_points.0.positives", REMOVED),
        ("operating_points.0.measured_on", ""),
        ("default_operating_point", "none-such"),
        ("provenance", REMOVED),
        ("terms", ""),
        ("figures", []),
        ("figures.validation_films.auc", 1.2),
        ("figures.validation_films.films", REMOVED),
        *[(field, value) for field in ("input.mean", "calibration.bias") for value in (float("nan"), float("inf"))],
        *[(f"figures.validation_films.{name}", float("nan")) for name in ("auc", "dice_positive", "mask_threshold")],
    ],
)
def test_wrong_field_is_named(field: str, value: object) -> None:
    with pytest.raises(WeightsError) as caught:
        parse_manifest(changed(field, value))
    assert caught.value.code == "MANIFEST_INVALID"
    assert field.split(".")[-1] in caught.value.message
    assert "weights[0]" in caught.value.message or field == "operating_points.1.name"


@pytest.mark.parametrize(
    ("field", "value", "path"),
    [
        ("input.side", 321, "$.weights[0].input.side:"),
        ("operating_points.1.score", 2, "$.weights[0].operating_points[1].score:"),
        ("operating_points.1.name", "sensitive", "$.weights[0].operating_points:"),
        ("figures.validation_films.auc_interval", [0, 2], "$.weights[0].figures.validation_films.auc_interval[1]:"),
        ("network.unheard_of", 1, "$.weights[0].network.unheard_of:"),
    ],
)
def test_path_of_a_wrong_field_leads_there(field: str, value: object, path: str) -> None:
    with pytest.raises(WeightsError) as caught:
        parse_manifest(changed(field, value))
    assert path in caught.value.message


def test_what_is_parsed_is_frozen_and_dumps_to_what_was_read() -> None:
    entry = parse_manifest(DOCUMENT).entry()
    with pytest.raises(ValidationError):
        entry.input.side = 64  # type: ignore[misc]
    assert with_entry(DOCUMENT, entry.model_dump(mode="json", exclude_unset=True)) == DOCUMENT


def test_manifest_is_read_without_torch() -> None:
    program = "import sys, ptx_app.model.manifest as m; m.load_manifest(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT).returncode == 0


@pytest.mark.parametrize("document", [None, [], "text", {}, {"default": "a", "weights": []}])
def test_an_invalid_manifest_is_refused(document: object) -> None:
    with pytest.raises(WeightsError) as caught:
        parse_manifest(document)
    assert caught.value.code == "MANIFEST_INVALID"


def test_default_has_to_be_an_entry_and_names_are_unique() -> None:
    with pytest.raises(WeightsError, match=r"\$\.default"):
        parse_manifest(DOCUMENT | {"default": "none-such"})
    with pytest.raises(WeightsError, match="same name"):
        parse_manifest(DOCUMENT | {"weights": DOCUMENT["weights"] * 2})


@pytest.mark.parametrize("text", [None, "", "{", '{"default": NaN, "weights": []}', "\xff"])
def test_unreadable_manifest(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "weights_manifest.json"
    if text is not None:
        path.write_text(text, encoding="latin-1")
    with pytest.raises(WeightsError) as caught:
        load_manifest(path)
    assert caught.value.code == "MANIFEST_UNREADABLE"


# Adding to it


def test_operating_point_may_be_unmeasured_but_not_half_measured() -> None:
    entry = DOCUMENT["weights"][0]
    document = with_entry(DOCUMENT, entry_like(entry, entry["name"], "Other", "Elsewhere", "Free") | identity(entry))
    parsed = parse_manifest(document).entry()
    assert [point.score for point in parsed.operating_points] == [point["score"] for point in entry["operating_points"]]
    assert {point.sensitivity for point in parsed.operating_points} == {None}
    assert parsed.figures == {}


def identity(entry: dict[str, Any]) -> dict[str, Any]:
    return {key: entry[key] for key in ("bytes", "sha256", "sources")}


def test_entry_is_replaced_in_place_or_put_last_in_the_order_of_the_fields() -> None:
    first = DOCUMENT["weights"][0]
    other = dict(reversed(first.items())) | {"name": "other"}
    document = with_entry(DOCUMENT, other)
    assert [entry["name"] for entry in document["weights"]] == [first["name"], "other"]
    assert list(document["weights"][1]) == list(first)
    assert with_entry(document, first | {"title": "New"})["weights"][0]["title"] == "New"
    assert DOCUMENT["weights"] == [first]


def test_source_is_added_once() -> None:
    manifest = load_manifest()
    entry = DOCUMENT["weights"][0]
    (source,) = manifest.entry().sources
    assert with_source(entry, source) == entry
    assert len(with_source(entry | {"sources": []}, source)["sources"]) == 1


def test_identity_of_another_file_is_refused() -> None:
    entry = DOCUMENT["weights"][0]
    assert with_identity(entry, entry["bytes"], entry["sha256"]) == entry
    for size, sha256 in [(entry["bytes"] + 1, entry["sha256"]), (entry["bytes"], "0" * 64)]:
        with pytest.raises(WeightsError) as caught:
            with_identity(entry, size, sha256)
        assert caught.value.code == "WEIGHTS_NOT_THIS_FILE"


def test_written_manifest_reads_as_the_same_and_a_wrong_one_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "weights_manifest.json"
    assert write_document(COMMITTED, path) == load_manifest() == load_manifest(path)
    before = path.read_bytes()
    with pytest.raises(WeightsError):
        write_document(changed("bytes", 0), path)
    with pytest.raises(WeightsError) as caught:
        write_document(DOCUMENT, tmp_path / "no such folder" / "weights_manifest.json")
    assert caught.value.code == "MANIFEST_UNWRITABLE"
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_document_that_is_no_object_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "entry.json"
    path.write_text("[]")
    with pytest.raises(WeightsError) as caught:
        read_document(path)
    assert caught.value.code == "MANIFEST_UNREADABLE"

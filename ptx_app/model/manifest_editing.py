"""Edits of weights_manifest.json: changing the document, laying it out, and writing it safely."""

import json
from pathlib import Path
from typing import Any

from ptx_app.errors import WeightsError
from ptx_app.model.manifest import MANIFEST_PATH, Manifest, Source, Weights, parse_manifest

ManifestDocument = dict[str, Any]


def read_document(path: Path = MANIFEST_PATH) -> ManifestDocument:
    """A manifest, or one entry of it, as plain data. Raises WeightsError MANIFEST_UNREADABLE."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(
            "MANIFEST_UNREADABLE", "The JSON file cannot be read. Check its path and content."
        ) from error
    if not isinstance(document, dict):
        raise WeightsError("MANIFEST_UNREADABLE", "The JSON file must hold one object: an entry or a manifest.")
    return document


def write_document(document: ManifestDocument, path: Path = MANIFEST_PATH) -> Manifest:
    """Check a manifest, then replace the file in one step.

    Returns:
        The manifest as it will be read.

    Raises:
        WeightsError: MANIFEST_INVALID with the wrong field, MANIFEST_UNWRITABLE. The old file is then unchanged.
    """
    manifest = parse_manifest(document)
    draft = path.with_name(path.name + ".part")
    try:
        draft.write_text(format_document(document), encoding="utf-8")
        draft.replace(path)
    except OSError as error:
        raise WeightsError(
            "MANIFEST_UNWRITABLE",
            "weights_manifest.json cannot be written. Check its permissions and the free disk space.",
        ) from error
    finally:
        draft.unlink(missing_ok=True)
    return manifest


def format_document(document: ManifestDocument) -> str:
    """JSON with two spaces of indent and a newline at its end. Raises ValueError if a number is not finite."""
    return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def with_entry(document: ManifestDocument, entry: ManifestDocument) -> ManifestDocument:
    """The manifest with `entry` in place of the entry of the same name, else at the end."""
    names = [other["name"] for other in document["weights"]]
    entries = list(document["weights"])
    order = {field: entry[field] for field in Weights.model_fields if field in entry}
    entry = order | entry
    if entry["name"] in names:
        entries[names.index(entry["name"])] = entry
    else:
        entries.append(entry)
    return document | {"weights": entries}


def with_source(entry: ManifestDocument, source: Source) -> ManifestDocument:
    """The entry with one more source; unchanged if it has that source already."""
    plain = source.model_dump()
    sources = entry.get("sources", [])
    return entry if plain in sources else entry | {"sources": [*sources, plain]}


def with_identity(entry: ManifestDocument, size: int, sha256: str) -> ManifestDocument:
    """The entry with size in bytes and hash of its file.

    Raises:
        WeightsError: WEIGHTS_NOT_THIS_FILE if the entry already has another size or hash.
    """
    if entry.get("bytes", size) != size or entry.get("sha256", sha256) != sha256:
        raise WeightsError(
            "WEIGHTS_NOT_THIS_FILE",
            f"The entry {entry.get('name')} has another size or hash, so it describes another file. "
            "Give these weights their own name and entry.",
        )
    return entry | {"bytes": size, "sha256": sha256}


def entry_like(existing: ManifestDocument, name: str, title: str, provenance: str, terms: str) -> ManifestDocument:
    """An entry for other weights with the same network, input and thresholds.

    Figures, calibration, and sensitivity and specificity of the operating points are left out, because they were
    measured or fitted for the existing weights only.
    """
    thresholds = ("name", "score", "mask_threshold", "smallest_region")
    return {
        "name": name,
        "title": title,
        "network": existing["network"],
        "input": existing["input"],
        "flip_averaging": existing["flip_averaging"],
        "calibration": {"temperature": 1.0, "bias": 0.0},
        "operating_points": [{key: point[key] for key in thresholds} for point in existing["operating_points"]],
        "default_operating_point": existing["default_operating_point"],
        "provenance": provenance,
        "terms": terms,
        "figures": {},
    }

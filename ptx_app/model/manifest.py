"""Which weights there are, as data: no constant of a model hides in code."""

import json
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

import jsonschema

from ptx_app.errors import WeightsError

ROOT = Path(__file__).resolve().parents[2]
MANIFEST_PATH = ROOT / "weights_manifest.json"
_SCHEMA_PATH = Path(__file__).with_name("manifest_schema.json")


@dataclass(frozen=True)
class NetworkSpec:
    """A segmentation-models-pytorch network with an image-level head on its encoder.

    Attributes:
        architecture: class name in segmentation_models_pytorch, such as "Unet" or "UnetPlusPlus".
        encoder: encoder name in segmentation_models_pytorch.
        decoder_attention: None or "scse".
        head_pooling: pooling of the image-level head, "max" or "avg".
        head_dropout: dropout of the image-level head while training, in [0, 1).
    """

    architecture: str
    encoder: str
    decoder_attention: str | None = None
    head_pooling: Literal["max", "avg"] = "max"
    head_dropout: float = 0.3


@dataclass(frozen=True)
class InputSpec:
    """How the network wants its input: a square of `side` px, `channels` times the same grey, (grey - mean) / std.

    `denoising` "median" takes the median of 3 x 3 px of that square.
    """

    side: int
    fit: Literal["stretch"] = "stretch"
    interpolation: Literal["area", "linear"] = "area"
    channels: int = 3
    mean: float = 0.5
    std: float = 0.5
    denoising: Literal["none", "median"] = "none"


@dataclass(frozen=True)
class Source:
    """Where a weights file can be had.

    kind "bundled": path in this project; "drive": Google Drive id; "url": https address; "file": path on this machine,
    which only an operator names and no manifest.
    """

    kind: Literal["bundled", "drive", "url", "file"]
    location: str


@dataclass(frozen=True)
class Calibration:
    """score = sigmoid(logit / temperature + mask_weight * evidence + bias), evidence as `predict.mask_evidence`."""

    temperature: float = 1.0
    bias: float = 0.0
    mask_weight: float = 0.0


@dataclass(frozen=True)
class OperatingPoint:
    """Thresholds, and what was measured at them.

    Attributes:
        name: such as "balanced".
        score: a film is flagged where its calibrated score is at least this, in [0, 1].
        mask_threshold: a pixel belongs to the mask where its probability is at least this, in [0, 1].
        smallest_region: regions smaller than this share of the film are dropped, in [0, 1].
        sensitivity, specificity: measured on `films` films of which `positives` have a pneumothorax.
        measured_on: which films, in words. These five are all there, or all None where nobody has measured.
    """

    name: str
    score: float
    mask_threshold: float
    smallest_region: float
    sensitivity: float | None = None
    specificity: float | None = None
    films: int | None = None
    positives: int | None = None
    measured_on: str | None = None


@dataclass(frozen=True)
class Weights:
    """One entry of the manifest: everything that is known of one weights file.

    `figures` holds what was measured, by which films: "validation_films", "validation_dicoms".
    """

    name: str
    title: str
    network: NetworkSpec
    input: InputSpec
    flip_averaging: bool
    bytes: int
    sha256: str
    sources: tuple[Source, ...]
    calibration: Calibration
    operating_points: tuple[OperatingPoint, ...]
    default_operating_point: str
    provenance: str
    terms: str
    figures: dict[str, Any] = field(default_factory=dict)

    def operating_point(self, name: str | None = None) -> OperatingPoint:
        """The operating point of that name, or the default. Raises WeightsError OPERATING_POINT_UNKNOWN."""
        wanted = name or self.default_operating_point
        for point in self.operating_points:
            if point.name == wanted:
                return point
        names = ", ".join(point.name for point in self.operating_points)
        raise WeightsError(
            "OPERATING_POINT_UNKNOWN", f"{self.name} has no operating point {wanted}. Choose of: {names}."
        )


@dataclass(frozen=True)
class FilmCheck:
    """The weights that tell films from other pictures: `location` in this project, size, hash, and where they are from.

    What they scored stands in docs/check.md.
    """

    name: str
    location: str
    bytes: int
    sha256: str
    provenance: str
    terms: str


@dataclass(frozen=True)
class Manifest:
    """All weights that this installation knows, and which it uses when none is named."""

    default: str
    weights: tuple[Weights, ...]
    film_check: FilmCheck | None = None

    def entry(self, name: str | None = None) -> Weights:
        """The entry of that name, or the default. Raises WeightsError WEIGHTS_UNKNOWN."""
        wanted = name or self.default
        for entry in self.weights:
            if entry.name == wanted:
                return entry
        names = ", ".join(entry.name for entry in self.weights)
        raise WeightsError("WEIGHTS_UNKNOWN", f"The manifest knows no weights {wanted}. Choose of: {names}.")


def load_manifest(path: Path = MANIFEST_PATH) -> Manifest:
    """Read and check a manifest.

    Raises:
        WeightsError: MANIFEST_UNREADABLE, or MANIFEST_INVALID with the field that is wrong.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse_constant)
    except (OSError, ValueError) as error:
        raise WeightsError(
            "MANIFEST_UNREADABLE", "weights_manifest.json cannot be read. Restore it from the project's repository."
        ) from error
    return parse_manifest(document)


def parse_manifest(document: object) -> Manifest:
    """Check a manifest's document against its schema and make the dataclasses of it. Raises as load_manifest."""
    errors = sorted(_validator().iter_errors(document), key=lambda error: list(map(str, error.absolute_path)))
    if errors:
        raise _invalid(errors[0].json_path, errors[0].message)
    assert isinstance(document, dict)  # noqa: S101  (the schema says so)
    manifest = Manifest(
        document["default"],
        tuple(_parse_weights(entry) for entry in document["weights"]),
        FilmCheck(**document["film_check"]) if "film_check" in document else None,
    )
    names = [entry.name for entry in manifest.weights]
    if len(set(names)) < len(names):
        raise _invalid("$.weights", "two entries have the same name")
    if manifest.default not in names:
        raise _invalid("$.default", f"'{manifest.default}' is the name of no entry")
    for index, entry in enumerate(manifest.weights):
        points = [point.name for point in entry.operating_points]
        if len(set(points)) < len(points):
            raise _invalid(f"$.weights[{index}].operating_points", "two operating points have the same name")
        if entry.default_operating_point not in points:
            raise _invalid(f"$.weights[{index}].default_operating_point", "is the name of no operating point")
    return manifest


@cache
def _validator() -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(json.loads(_SCHEMA_PATH.read_text(encoding="utf-8")))


def _refuse_constant(name: str) -> None:
    raise ValueError(name)  # NaN would pass any schema, and no score reaches a threshold of NaN


def _parse_weights(entry: dict[str, Any]) -> Weights:
    parsed = entry | {
        "network": NetworkSpec(**entry["network"]),
        "input": InputSpec(**entry["input"]),
        "sources": tuple(Source(**source) for source in entry["sources"]),
        "calibration": Calibration(**entry["calibration"]),
        "operating_points": tuple(OperatingPoint(**point) for point in entry["operating_points"]),
    }
    return Weights(**parsed)


def _invalid(where: str, what: str) -> WeightsError:
    return WeightsError("MANIFEST_INVALID", f"weights_manifest.json is wrong at {where}: {what}.")

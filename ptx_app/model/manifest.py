"""The manifest of weights. All constants of a model are data in it, not in code."""

import json
from pathlib import Path
from typing import Annotated, Literal, NamedTuple, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from ptx_app.errors import WeightsError

ROOT = Path(__file__).resolve().parents[2]
_PACKAGED = Path(__file__).resolve().parents[1] / "weights_manifest.json"  # this copy exists only in the wheel
MANIFEST_PATH = _PACKAGED if _PACKAGED.is_file() else ROOT / "weights_manifest.json"

Text = Annotated[str, Field(min_length=1)]
WeightsName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
SquareSide = Annotated[int, Field(ge=32, le=2048, multiple_of=32)]
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Record(BaseModel):
    """Strict types, without conversion: "320" is not a number, 1 is not a Boolean, and NaN is not a threshold."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class NetworkSpec(_Record):
    """A segmentation-models-pytorch network with an image-level head on its encoder.

    Attributes:
        architecture: class name in segmentation_models_pytorch, such as "Unet" or "UnetPlusPlus".
        encoder: encoder name in segmentation_models_pytorch.
        decoder_attention: None or "scse".
        head_pooling: pooling of the image-level head, "max" or "avg".
        head_dropout: dropout of the image-level head in training, in [0, 1).
        decoder_channels: channels of the decoder's five blocks, deepest first; None for the library's default.
    """

    architecture: Text
    encoder: Text
    decoder_attention: Literal["scse"] | None = None
    head_pooling: Literal["max", "avg"] = "max"
    head_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.3
    decoder_channels: Annotated[tuple[Count, ...], Field(strict=False, min_length=5, max_length=5)] | None = None


class InputSpec(_Record):
    """The network's input: a square of `side` px, (grey - mean) / std, the same in all `channels`.

    `fit`: what the square shows: "stretch" the whole film, "lungs" the part with the lungs (see `lung_box`), or the
    whole film if no pair of lungs is found. `denoising` "median" applies a median filter of 3 × 3 px to the square.
    """

    side: SquareSide
    fit: Literal["stretch", "lungs"]
    interpolation: Literal["area", "linear"]
    channels: Literal[3]
    mean: float
    std: Annotated[float, Field(gt=0)]
    denoising: Literal["none", "median"] = "none"


class Source(_Record):
    """Where to get a file of weights.

    kind "bundled": path in this project; "drive": Google Drive id; "url": https address; "file": path on this machine.
    Only an operator can set "file"; a manifest must not contain it.
    """

    kind: Literal["bundled", "drive", "url", "file"]
    location: Text


class Calibration(_Record):
    """score = sigmoid(logit / temperature + mask_weight * evidence + bias); evidence: `predict.mask_evidence`."""

    temperature: Annotated[float, Field(gt=0)]
    bias: float
    mask_weight: Annotated[float, Field(ge=0)] = 0.0


UNCALIBRATED = Calibration(temperature=1.0, bias=0.0)

_MEASURED = ("sensitivity", "specificity", "films", "positives", "measured_on")


class Counts(NamedTuple):
    """Of films with a pneumothorax, those flagged and all; of films without one, those not flagged and all."""

    flagged: int
    positives: int
    passed: int
    negatives: int


class OperatingPoint(_Record):
    """Thresholds, and the figures measured with them.

    Attributes:
        name: such as "balanced".
        score: a film is flagged if its calibrated score is at least this, in [0, 1].
        mask_threshold: a pixel belongs to the mask if its probability is at least this, in [0, 1].
        smallest_region: regions smaller than this share of what the network is shown are dropped, in [0, 1].
        surest_pixel: regions whose highest probability is below this are dropped, in [0, 1].
        smallest_relative: of the regions left, those smaller than this share of the largest are dropped, in [0, 1].
        sensitivity, specificity: measured on `films` films, `positives` of them with a pneumothorax.
        sensitivity_interval, specificity_interval: Wilson's 95 % intervals of the two, or None.
        films, positives: numbers of films, see above.
        measured_on: the films, in words. The last five are either all set or all None.
    """

    name: Annotated[str, Field(pattern="^[a-z][a-z0-9-]*$")]
    score: Share
    mask_threshold: Share
    smallest_region: Share
    surest_pixel: Share = 0.0
    smallest_relative: Share = 0.0
    sensitivity: Share | None = None
    specificity: Share | None = None
    sensitivity_interval: Annotated[tuple[Share, Share] | None, Field(strict=False)] = None
    specificity_interval: Annotated[tuple[Share, Share] | None, Field(strict=False)] = None
    films: Count | None = None
    positives: Count | None = None
    measured_on: Text | None = None

    @model_validator(mode="after")
    def _measured_whole_or_not_at_all(self) -> Self:
        missing = [name for name in _MEASURED if getattr(self, name) is None]
        if 0 < len(missing) < len(_MEASURED):
            raise _wrong(f"some measured values are set, but not {', '.join(missing)}. Set all five or none")
        return self

    @property
    def counts(self) -> Counts | None:
        """The films that sensitivity and specificity stand for, or None if they were not measured."""
        if self.sensitivity is None or self.specificity is None or self.films is None or self.positives is None:
            return None
        negatives = self.films - self.positives
        flagged, passed = self.sensitivity * self.positives, self.specificity * negatives
        return Counts(round(flagged), self.positives, round(passed), negatives)


class Figures(_Record):
    """Figures of weights on a set of films. The intervals are 95 % intervals by patient.

    Attributes:
        films, positives: number of films, and of films with a pneumothorax.
        mask_threshold: threshold used for Dice, in [0, 1].
        auc: of the image-level score, in [0, 1].
        dice_positive: mean Dice of positive films, whether or not the score flags them, in [0, 1].
    """

    films: Count
    positives: Count
    mask_threshold: Share
    auc: Share
    auc_interval: Annotated[tuple[Share, Share] | None, Field(strict=False)] = None
    dice_positive: Share
    dice_positive_interval: Annotated[tuple[Share, Share] | None, Field(strict=False)] = None


def _wrong(what: str) -> PydanticCustomError:
    return PydanticCustomError("manifest", "{what}", {"what": what})


def _of_no_single_machine(source: Source) -> Source:
    if source.kind == "file":
        raise _wrong("the kind 'file' is not allowed in a manifest")
    return source


class ListedFile(_Record):
    """A file that the manifest lists: its name, size, hash, and where to get it."""

    name: WeightsName
    bytes: Count
    sha256: Sha256
    # JSON has lists, not tuples, so such fields accept lists. Their contents are strict.
    sources: Annotated[tuple[Annotated[Source, AfterValidator(_of_no_single_machine)], ...], Field(strict=False)]


class OnnxFile(ListedFile):
    """The same network as an ONNX file with the same fp16 weights, for engines other than torch.

    `decoder_ranges`: the lowest and highest input value of each of the decoder's convolutions, by the convolution's
    name, on training films; see `ptx_app.model.quantization`. Empty if the decoder is to run in fp32.
    """

    decoder_ranges: dict[Text, Annotated[tuple[float, float], Field(strict=False)]] = {}


class Weights(ListedFile):
    """One entry of the manifest: everything about one weights file.

    `figures` has the measured figures for each set of films: "validation_films", "validation_dicoms".
    """

    title: Text
    network: NetworkSpec
    input: InputSpec
    onnx: OnnxFile | None = None
    flip_averaging: bool
    calibration: Calibration
    operating_points: Annotated[tuple[OperatingPoint, ...], Field(min_length=1, strict=False)]
    default_operating_point: str
    provenance: Text
    terms: Text
    figures: dict[str, Figures]

    @field_validator("operating_points")
    @classmethod
    def _each_by_its_own_name(cls, points: tuple[OperatingPoint, ...]) -> tuple[OperatingPoint, ...]:
        if len({point.name for point in points}) < len(points):
            raise _wrong("two operating points have the same name")
        return points

    @field_validator("default_operating_point")
    @classmethod
    def _default_is_there(cls, name: str, info: ValidationInfo) -> str:
        points = info.data.get("operating_points")  # missing if they are invalid themselves
        if points is not None and name not in [point.name for point in points]:
            raise _wrong(f"there is no operating point '{name}'")
        return name

    def operating_point(self, name: str | None = None) -> OperatingPoint:
        """The operating point of that name, or the default. Raises WeightsError OPERATING_POINT_UNKNOWN."""
        wanted = name or self.default_operating_point
        for point in self.operating_points:
            if point.name == wanted:
                return point
        names = ", ".join(point.name for point in self.operating_points)
        raise WeightsError(
            "OPERATING_POINT_UNKNOWN", f"{self.name} has no operating point {wanted}. Choose one of: {names}."
        )


class LungFigures(_Record):
    """How well lungs are outlined on films that the network was not trained on: mean Dice with its 95 % interval."""

    films: Count
    dice: Share
    dice_interval: Annotated[tuple[Share, Share], Field(strict=False)]


class LungFields(ListedFile):
    """The weights that outline the lung fields, the lungs beside the heart and above the diaphragm.

    `figures` has the cross-validated figures of each source of films. A pixel belongs to a lung if its probability is
    at least `mask_threshold`, in [0, 1].
    """

    title: Text
    network: NetworkSpec
    input: InputSpec
    onnx: OnnxFile | None = None
    mask_threshold: Share
    provenance: Text
    terms: Text
    figures: dict[str, LungFigures]


class FilmCheck(_Record):
    """The weights of the film check: `location` in this project, size, hash and origin.

    Their results are in docs/check.md.
    """

    name: Text
    location: Text
    bytes: Count
    sha256: Sha256
    provenance: Text
    terms: Text


class Manifest(_Record):
    """All weights that this installation knows, and the default."""

    weights: Annotated[tuple[Weights, ...], Field(min_length=1, strict=False)]
    default: str
    film_check: FilmCheck | None = None
    lung_fields: LungFields | None = None

    @field_validator("weights")
    @classmethod
    def _each_by_its_own_name(cls, weights: tuple[Weights, ...]) -> tuple[Weights, ...]:
        if len({entry.name for entry in weights}) < len(weights):
            raise _wrong("two entries have the same name")
        return weights

    @field_validator("default")
    @classmethod
    def _default_is_there(cls, name: str, info: ValidationInfo) -> str:
        weights = info.data.get("weights")  # missing if they are invalid themselves
        if weights is not None and name not in [entry.name for entry in weights]:
            raise _wrong(f"there is no entry '{name}'")
        return name

    def entry(self, name: str | None = None) -> Weights:
        """The entry of that name, or the default. Raises WeightsError WEIGHTS_UNKNOWN."""
        wanted = name or self.default
        for entry in self.weights:
            if entry.name == wanted:
                return entry
        names = ", ".join(entry.name for entry in self.weights)
        raise WeightsError("WEIGHTS_UNKNOWN", f"The manifest has no weights {wanted}. Choose one of: {names}.")


def load_manifest(path: Path = MANIFEST_PATH) -> Manifest:
    """Read and check a manifest.

    Raises:
        WeightsError: MANIFEST_UNREADABLE, or MANIFEST_INVALID with the name of the field.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse_constant)
    except (OSError, ValueError) as error:
        raise WeightsError(
            "MANIFEST_UNREADABLE", "weights_manifest.json cannot be read. Restore it from the project's repository."
        ) from error
    return parse_manifest(document)


def parse_manifest(document: object) -> Manifest:
    """Check a manifest given as plain JSON data. Raises WeightsError MANIFEST_INVALID with the name of the field."""
    try:
        return Manifest.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        where = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in first["loc"])
        raise WeightsError(
            "MANIFEST_INVALID", f"weights_manifest.json is invalid at ${where}: {first['msg']}. Correct this field."
        ) from error


def _refuse_constant(name: str) -> None:
    raise ValueError(name)  # NaN is not valid JSON, and no score could reach a threshold of NaN

"""One TOML file defines a run. The folders of films and runs are given on the command line."""

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from ptx_app.data.index import MaskKind
from ptx_app.errors import SettingsError
from ptx_app.evaluation.thresholds import PublishingSection
from ptx_app.model.manifest import InputSpec, NetworkSpec, SquareSide, WeightsName

MASK_WEIGHTS = {
    MaskKind.EXPERT: 1.0,
    MaskKind.MATCHED: 0.5,
    MaskKind.CONSENSUS: 0.5,
    MaskKind.READER: 0.5,
    MaskKind.READER_AGREED: 0.5,
}


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class NetworkSection(_Section):
    """The network and its starting weights.

    Attributes:
        start: safetensors file of a whole network to start from; paths are relative to the project.
        encoder_weights: "none", "imagenet" (downloaded), or a safetensors file of the encoder, packed or not.
    """

    architecture: str = "Unet"
    encoder: str = "efficientnet-b3"
    decoder_attention: Literal["scse"] | None = None
    head_pooling: Literal["max", "avg"] = "max"
    head_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.3
    decoder_channels: tuple[Annotated[int, Field(ge=1)], ...] | None = None
    start: str | None = None
    encoder_weights: str = "none"

    def spec(self) -> NetworkSpec:
        """As the manifest describes it."""
        return NetworkSpec(**self.model_dump(include=set(NetworkSpec.model_fields)))


class InputSection(_Section):
    """The network's input."""

    side: SquareSide = 384
    fit: Literal["stretch", "lungs"] = "stretch"
    interpolation: Literal["area", "linear"] = "area"
    channels: Literal[3] = 3
    mean: float = 0.5
    std: Annotated[float, Field(gt=0)] = 0.5
    denoising: Literal["none", "median"] = "none"

    def spec(self) -> InputSpec:
        """As the manifest describes it."""
        return InputSpec(**self.model_dump())


class DataSection(_Section):
    """Which films are trained on, and how much each counts.

    Attributes:
        held_out_positives, held_out_negatives: number of expert-labelled training films to hold out, whole patients.
        most_a_patient: patients with more films than this are not held out.
        split_seed: seed of that draw.
        mask_weights: weight of a mask in the mask loss by its kind; overrides MASK_WEIGHTS. Image-label-only films
            have no mask.
        draw_weights: how often a film is drawn relative to others of its label, by mask kind; 0 leaves it out.
        positive_share: share of positive films among those drawn, at the start and at the end of the run.
        augmentation: "none", "geometric" or "all".
        teachers: folders of finished runs, relative to the project, whose mean map and score are learned from: alone
            where a positive film's mask is not known, and mixed with the truth where it is. See `Teachers`.
        teachers_share: of that mixture, in [0, 1].
        lung_fold: train on films with lung masks and not on those with a pneumothorax's: the fold held out, and how
            many folds there are. What is said above of films held out, and of labels, does not apply then.
    """

    held_out_positives: Annotated[int, Field(ge=1)] = 100
    held_out_negatives: Annotated[int, Field(ge=1)] = 200
    most_a_patient: Annotated[int, Field(ge=1)] = 3
    split_seed: int = 1
    mask_weights: dict[MaskKind, float] = MASK_WEIGHTS
    draw_weights: dict[MaskKind, float] = {}
    positive_share: tuple[float, float] = (0.8, 0.22)
    augmentation: Literal["none", "geometric", "all"] = "all"
    teachers: tuple[str, ...] = ()
    teachers_share: Annotated[float, Field(ge=0, le=1)] = 0.5
    lung_fold: tuple[Annotated[int, Field(ge=0)], Annotated[int, Field(ge=2)]] | None = None

    @field_validator("mask_weights")
    @classmethod
    def _with_those_not_named(cls, given: dict[MaskKind, float]) -> dict[MaskKind, float]:
        return MASK_WEIGHTS | given


class LossSection(_Section):
    """What is minimised.

    Attributes:
        mask: a name in MASK_LOSSES.
        bce: weight of the pixels' binary cross-entropy next to the Dice or Tversky part. A mean over all pixels is
            weak: at 1, a pixel of a small mask gets a hundred times its gradient from Dice, and one of a negative
            film, which has no Dice, next to none.
        image: weight of the image-level loss.
    """

    mask: Literal["bce", "bce+dice", "focal-tversky+bce"] = "bce+dice"
    bce: Annotated[float, Field(gt=0)] = 1.0
    image: Annotated[float, Field(ge=0)] = 0.5


class OptimizerSection(_Section):
    """`learning_rate` is for decoder and heads; the encoder's is `encoder_learning_rate_factor` times that."""

    name: Literal["adam", "adamw"] = "adamw"
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    encoder_learning_rate_factor: Annotated[float, Field(gt=0)] = 1.0
    weight_decay: Annotated[float, Field(ge=0)] = 1e-4
    gradient_clip: Annotated[float, Field(gt=0)] = 1.0


class ScheduleSection(_Section):
    """Length of the run, and schedule of the learning rate.

    Attributes:
        films: films seen in the whole run.
        name: "cosine" (to zero) or "plateau" (times 0.3 after every 2 validations in a row without a better held-out
            Dice; validations during the warm-up do not count).
        warm_up: share of the run in which the learning rate rises from zero.
        sides: pairs (share of the run, side in px): from that share on, films are prepared at that side. The last
            should be the network's own side. Empty: the network's own side throughout.
        frozen_encoder: share of the run in which the encoder is frozen.
    """

    films: Annotated[int, Field(gt=0)]
    name: Literal["cosine", "plateau"] = "cosine"
    warm_up: Annotated[float, Field(ge=0, lt=1)] = 0.05
    sides: tuple[tuple[float, SquareSide], ...] = ()
    frozen_encoder: Annotated[float, Field(ge=0, le=1)] = 0.0


class TrainingSection(_Section):
    """The training loop.

    Attributes:
        batch: films per step.
        precision: "bf16", "fp16" (CUDA only) or "fp32".
        ema: decay of the weights' moving average, 0 for none.
        batch_norm_momentum: momentum of all batch norms, or None for the network's own.
        frozen: prefixes of names of encoder modules that stay frozen throughout.
        validate_every: films between validations.
        patience: stop after this many validations without a better held-out Dice; 0 for never.
        checkpoint_minutes: minutes between checkpoints.
        workers: processes that load films; 0 loads them in the loop itself, which is better on few cores.
    """

    batch: Annotated[int, Field(ge=1)] = 8
    precision: Literal["bf16", "fp16", "fp32"] = "bf16"
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.0
    batch_norm_momentum: Annotated[float | None, Field(gt=0, le=1)] = None
    frozen: tuple[str, ...] = ()
    validate_every: Annotated[int, Field(ge=1)] = 2000
    patience: Annotated[int, Field(ge=0)] = 0
    checkpoint_minutes: Annotated[float, Field(gt=0)] = 10
    workers: Annotated[int, Field(ge=0)] = 0


class Configuration(_Section):
    """Everything that defines a run. `provenance` and `terms` are copied into the manifest."""

    name: WeightsName
    title: Annotated[str, Field(min_length=1)]
    provenance: Annotated[str, Field(min_length=1)]
    terms: Annotated[str, Field(min_length=1)] = (
        "Non-commercial research and education (the annotations' terms). Not a medical device."
    )
    seed: int = 1
    network: NetworkSection = NetworkSection()
    input: InputSection = InputSection()
    data: DataSection = DataSection()
    loss: LossSection = LossSection()
    optimizer: OptimizerSection = OptimizerSection()
    schedule: ScheduleSection
    training: TrainingSection = TrainingSection()
    publishing: PublishingSection = PublishingSection()


def read_configuration(path: Path) -> Configuration:
    """Read a run's TOML file. Raises SettingsError CONFIGURATION_UNREADABLE or CONFIGURATION_INVALID."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(
            "CONFIGURATION_UNREADABLE",
            f"The configuration {path.name} is not readable as TOML: {error}. Correct the file.",
        ) from error
    return parse_configuration(document)


def parse_configuration(document: dict[str, Any]) -> Configuration:
    """Check a configuration's document. Raises SettingsError CONFIGURATION_INVALID."""
    try:
        return Configuration.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise SettingsError(
            "CONFIGURATION_INVALID", f"The configuration is wrong at {where}: {first['msg']}. Correct this field."
        ) from error


def write_configuration(configuration: Configuration, path: Path) -> None:
    """Write a configuration, including defaults, as TOML for `read_configuration`."""
    path.write_text(tomli_w.dumps(configuration.model_dump(mode="json", exclude_none=True)), encoding="utf-8")

"""One TOML file says what a run does. Where films and runs lie is said on the command line."""

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from ptx_app.data.index import MaskKind
from ptx_app.errors import SettingsError
from ptx_app.evaluation.thresholds import PublishingSection
from ptx_app.model.manifest import InputSpec, NetworkSpec, Side, WeightsName

MASK_WEIGHTS = {MaskKind.EXPERT: 1.0, MaskKind.MATCHED: 0.5, MaskKind.CONSENSUS: 0.5, MaskKind.TEACHER: 0.5}


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class NetworkSection(_Section):
    """The network and what it starts from.

    Attributes:
        start: safetensors file of a whole network to go on from; paths are relative to the project.
        encoder_weights: "none", "imagenet" (downloaded), or a safetensors file of the encoder, packed or not.
    """

    architecture: str = "Unet"
    encoder: str = "efficientnet-b3"
    decoder_attention: Literal["scse"] | None = None
    head_pooling: Literal["max", "avg"] = "max"
    head_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.3
    start: str | None = None
    encoder_weights: str = "none"

    def spec(self) -> NetworkSpec:
        """As the manifest describes it."""
        return NetworkSpec(**self.model_dump(include=set(NetworkSpec.model_fields)))


class InputSection(_Section):
    """How the network wants its input."""

    side: Side = 384
    interpolation: Literal["area", "linear"] = "area"
    channels: Literal[3] = 3
    mean: float = 0.5
    std: Annotated[float, Field(gt=0)] = 0.5
    denoising: Literal["none", "median"] = "none"

    def spec(self) -> InputSpec:
        """As the manifest describes it."""
        return InputSpec(fit="stretch", **self.model_dump())


class DataSection(_Section):
    """Which films train, and what each may say.

    Attributes:
        held_out_positives, held_out_negatives: expert-labelled training films kept back, whole patients.
        most_a_patient: films that a patient may have to be kept back.
        split_seed: of that draw.
        mask_weights: what a mask of that kind counts in the mask's loss, where not as MASK_WEIGHTS has it;
            image-label-only films have none.
        draw_weights: how often a film of that kind is drawn beside the others of its label; 0 leaves them out.
        positive_share: share of positives among the films drawn, at the run's start and at its end.
        augmentation: "none", "geometric" or "all".
        teacher: weights of the manifest that draw masks for image-label-only films, or None; see `self_training`.
    """

    held_out_positives: Annotated[int, Field(ge=1)] = 100
    held_out_negatives: Annotated[int, Field(ge=1)] = 200
    most_a_patient: Annotated[int, Field(ge=1)] = 3
    split_seed: int = 1
    mask_weights: dict[MaskKind, float] = MASK_WEIGHTS
    draw_weights: dict[MaskKind, float] = {}
    positive_share: tuple[float, float] = (0.8, 0.22)
    augmentation: Literal["none", "geometric", "all"] = "all"
    teacher: str | None = None

    @field_validator("mask_weights")
    @classmethod
    def _with_those_not_named(cls, given: dict[MaskKind, float]) -> dict[MaskKind, float]:
        return MASK_WEIGHTS | given


class LossSection(_Section):
    """`mask`: a name of MASK_LOSSES; `image`: what the image-level loss counts beside it."""

    mask: Literal["bce", "bce+dice", "focal-tversky+bce"] = "bce+dice"
    image: Annotated[float, Field(ge=0)] = 0.5


class OptimizerSection(_Section):
    """`learning_rate` is the decoder's and the heads'; the encoder's is `encoder_learning_rate_factor` times that."""

    name: Literal["adam", "adamw"] = "adamw"
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    encoder_learning_rate_factor: Annotated[float, Field(gt=0)] = 1.0
    weight_decay: Annotated[float, Field(ge=0)] = 1e-4
    gradient_clip: Annotated[float, Field(gt=0)] = 1.0


class ScheduleSection(_Section):
    """How long, and how the learning rate changes.

    Attributes:
        films: films seen by the whole run.
        name: "cosine" (to zero) or "plateau" (times 0.3 at every second validation in a row without a better held-out
            Dice; validations during the warm-up do not count).
        warm_up: share of the run in which the learning rate rises from zero.
        sides: pairs (share of the run, side): from there on films are prepared at that side; empty for the
            network's own side throughout. The last should be the network's own.
        frozen_encoder: share of the run in which the encoder is frozen.
    """

    films: Annotated[int, Field(gt=0)]
    name: Literal["cosine", "plateau"] = "cosine"
    warm_up: Annotated[float, Field(ge=0, lt=1)] = 0.05
    sides: tuple[tuple[float, Side], ...] = ()
    frozen_encoder: Annotated[float, Field(ge=0, le=1)] = 0.0


class TrainingSection(_Section):
    """The loop.

    Attributes:
        batch: films a step.
        precision: "bf16", "fp16" (CUDA alone) or "fp32".
        ema: decay of the weights' moving average, 0 for none.
        batch_norm_momentum: of all batch norms, or None for the network's own.
        frozen: modules of the encoder, by the beginning of their names, that stay frozen throughout.
        validate_every: films between validations.
        patience: validations without a better held-out Dice after which the run stops, 0 for never.
        checkpoint_minutes: minutes between checkpoints.
        workers: processes that load films; 0 loads in the loop itself, the better choice on few cores.
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
    """Everything that decides what a run does. `provenance` and `terms` stand in the manifest as they are here."""

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
    """Read a run's TOML file. Raises SettingsError CONFIGURATION_UNREADABLE, CONFIGURATION_INVALID with the field."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(
            "CONFIGURATION_UNREADABLE", f"The configuration {path.name} cannot be read as TOML: {error}."
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
            "CONFIGURATION_INVALID", f"The configuration is wrong at {where}: {first['msg']}."
        ) from error


def write_configuration(configuration: Configuration, path: Path) -> None:
    """Write a configuration, defaults included, as TOML that `read_configuration` reads back."""
    path.write_text(tomli_w.dumps(configuration.model_dump(mode="json", exclude_none=True)), encoding="utf-8")

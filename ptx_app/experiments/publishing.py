"""From a run to a manifest entry: choose thresholds and measure figures; nothing is typed by hand."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ptx_app.data.index import LabelledFilm
from ptx_app.errors import SettingsError
from ptx_app.evaluation.known_films import PredictedFilm, dicom_films, predict_films, prepared_films
from ptx_app.evaluation.manifest_figures import PLACES, manifest_figures, positives_of, scores_of
from ptx_app.evaluation.metrics import Bools, Floats, sensitivity, specificity, wilson
from ptx_app.evaluation.thresholds import Choice, PublishingSection, choose
from ptx_app.experiments.onnx_file import with_onnx
from ptx_app.inference.decide import Thresholds
from ptx_app.model.engine import Engine
from ptx_app.model.manifest import (
    MANIFEST_PATH,
    ROOT,
    UNCALIBRATED,
    Figures,
    OperatingPoint,
    Weights,
    load_manifest,
)
from ptx_app.model.manifest_editing import ManifestDocument, read_document, with_entry, write_document
from ptx_app.pipeline import Detector
from ptx_app.training.configuration import Configuration
from ptx_app.training.dataset import training_films
from ptx_app.training.run_folder import RunFolder
from ptx_app.weights.add import BUNDLED, bundled, copy_whole, try_out
from ptx_app.weights.fetch import locate
from ptx_app.weights.load import load_network
from ptx_app.weights.verify import digest

# Nine of ten films without a pneumothorax pass: a reader whom most flags mislead stops looking at them.
DEFAULT_POINT = "balanced"


@dataclass(frozen=True)
class Places:
    """Where to publish a model: `weights` is the folder for the file, `manifest` the file that gets the entry."""

    weights: Path = ROOT / BUNDLED
    manifest: Path = MANIFEST_PATH

    @classmethod
    def draft(cls, folder: Path) -> "Places":
        """A draft folder with a copy of the project's manifest."""
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(MANIFEST_PATH, folder / MANIFEST_PATH.name)
        return cls(folder, folder / MANIFEST_PATH.name)


def publish(
    run: RunFolder,
    held_out: Sequence[LabelledFilm],
    validation: Sequence[LabelledFilm],
    dicoms: Path | None,
    places: Places,
    *,
    state: str = "best",
    flip_averaging: bool | None = None,
    default: bool = False,
) -> Weights:
    """Choose thresholds on the held-out films, measure on the validation films, write the weights and their entry.

    A run keeps its weights as they are shipped, so they are already rounded to fp16 before choosing and measuring.

    Args:
        run: a folder written by training.
        held_out: the films that the run's configuration holds out.
        validation: the validation films.
        dicoms: folder of validation films in the challenge's layout, or None.
        places: where to write.
        state: "best" or "last".
        flip_averaging: None for the configuration's setting.
        default: whether to make this model the manifest's default.

    Raises:
        SettingsError: RUN_UNFINISHED, TOO_FEW_FILMS, FILM_UNREADABLE.
        WeightsError: as TorchNetwork and `write_document`.
    """
    file = run.weights_path(state)
    if not file.exists():
        raise SettingsError("RUN_UNFINISHED", f"The run has no {file.name} yet. Train it until its first validation.")
    draft = with_onnx(draft_entry(run, state, flip_averaging), file, held_out)
    weights = measured_entry(draft, file, run.configuration().publishing, held_out, validation, dicoms)
    _write(weights, file, places, default)
    return weights


def measured_entry(
    draft: Weights,
    file: Path,
    section: PublishingSection,
    held_out: Sequence[LabelledFilm],
    validation: Sequence[LabelledFilm],
    dicoms: Path | None,
) -> Weights:
    """The entry with thresholds chosen on the held-out films, and with its figures.

    Both are through the engine that users have: OpenVINO. Arguments as for `publish`; `file` has the entry's weights.

    Raises:
        SettingsError: TOO_FEW_FILMS, FILM_UNREADABLE.
        WeightsError: as `load_network`.
    """
    detector = Detector.around(draft, load_network(draft, file, engine=Engine.OPENVINO), engine=Engine.OPENVINO)
    choice, seen = chosen_and_seen(section, detector, held_out, validation)
    thresholds = choice.points[DEFAULT_POINT]
    figures = {"validation_films": manifest_figures(seen, choice.calibration, thresholds)}
    if dicoms is not None:
        as_they_came = predict_films(detector, dicom_films(dicoms), None, "validation DICOMs")
        figures["validation_dicoms"] = manifest_figures(as_they_came, choice.calibration, thresholds)
    return draft.model_copy(
        update={
            "calibration": choice.calibration,
            "operating_points": measured_points(choice, seen),
            "default_operating_point": DEFAULT_POINT,
            "figures": {films: Figures(**measured) for films, measured in figures.items()},
        }
    )


def publish_again(
    configuration: Configuration,
    data: Path,
    validation: Sequence[LabelledFilm],
    dicoms: Path | None,
    places: Places,
) -> Weights:
    """Choose and measure again, by today's rules, what the manifest has of a configuration; its weights stay.

    Args:
        configuration: its name is the entry's.
        data: prepared folder of films, of which the configuration holds out the same ones again.
        validation, dicoms, places: as for `publish`.

    Raises:
        SettingsError, WeightsError: as `training_films` and `measured_entry`; WEIGHTS_UNKNOWN.
    """
    weights = load_manifest().entry(configuration.name)
    _, held_out = training_films(configuration, data)
    changed = measured_entry(weights, locate(weights), configuration.publishing, held_out, validation, dicoms)
    write_document(with_entry(read_document(places.manifest), as_entry(changed)), places.manifest)
    return changed


def draft_entry(run: RunFolder, state: str, flip_averaging: bool | None) -> Weights:
    """The entry of a run's weights, "best" or "last", without thresholds and figures.

    It has no operating points yet, so it is not validated here and would not be valid in a manifest.
    """
    configuration = run.configuration()
    file = run.weights_path(state)
    seen = f" {run.films_seen(state):,} films were seen in this run."
    wanted = configuration.publishing.flip_averaging if flip_averaging is None else flip_averaging
    return Weights.model_construct(
        name=configuration.name,
        title=configuration.title,
        network=configuration.network.spec(),
        input=configuration.input.spec(),
        flip_averaging=wanted,
        bytes=file.stat().st_size,
        sha256=digest(file),
        sources=(bundled(f"{configuration.name}.safetensors"),),
        calibration=UNCALIBRATED,
        operating_points=(),
        default_operating_point=DEFAULT_POINT,
        provenance=configuration.provenance + seen,
        terms=configuration.terms,
        figures={},
    )


def chosen_and_seen(
    section: PublishingSection,
    detector: Detector,
    held_out: Sequence[LabelledFilm],
    validation: Sequence[LabelledFilm],
) -> tuple[Choice, list[PredictedFilm]]:
    """The thresholds chosen on the held-out films, and the predictions on the validation films."""
    choice = choose(predict_films(detector, prepared_films(held_out), len(held_out), "held-out films"), section)
    return choice, predict_films(detector, prepared_films(validation), len(validation), "validation films")


def measured_points(choice: Choice, films: Sequence[PredictedFilm]) -> tuple[OperatingPoint, ...]:
    """The operating points, with sensitivity and specificity on the validation films."""
    scores, positive = scores_of(films, choice.calibration), positives_of(films)
    return tuple(_measured(name, chosen, scores, positive, choice.films) for name, chosen in choice.points.items())


def _measured(name: str, thresholds: Thresholds, scores: Floats, positive: Bools, chosen_on: int) -> OperatingPoint:
    flagged = scores >= thresholds.score
    return OperatingPoint(
        name=name,
        score=thresholds.score,
        mask_threshold=thresholds.mask_threshold,
        smallest_region=thresholds.smallest_region,
        surest_pixel=thresholds.surest_pixel,
        smallest_relative=thresholds.smallest_relative,
        sensitivity=round(sensitivity(scores, positive, thresholds.score), PLACES),
        specificity=round(specificity(scores, positive, thresholds.score), PLACES),
        sensitivity_interval=wilson(int(flagged[positive].sum()), int(positive.sum())),
        specificity_interval=wilson(int((~flagged[~positive]).sum()), int((~positive).sum())),
        films=len(scores),
        positives=int(positive.sum()),
        measured_on=f"SIIM-ACR validation films; thresholds chosen on {chosen_on} held-out training films",
    )


def as_entry(weights: Weights) -> ManifestDocument:
    """The manifest entry of weights, as plain data."""
    return weights.model_dump(mode="json")


def _write(weights: Weights, file: Path, places: Places, default: bool) -> None:
    for made in (file, file.with_suffix(".onnx")):
        try_out(weights, made)
        copy_whole(made, places.weights / f"{weights.name}{made.suffix}")
    document = with_entry(read_document(places.manifest), as_entry(weights))
    write_document(document | {"default": weights.name} if default else document, places.manifest)

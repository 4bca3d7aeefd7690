"""The lung fields: cross-validated, trained, and put into the manifest.

Every fold is trained as the shipped network is, and measured with its last weights on films that it was not trained on.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ptx_app.data.index import LabelledFilm
from ptx_app.data.lungs import read_lung_index
from ptx_app.data.store import as_pixels, read_grey
from ptx_app.evaluation.manifest_figures import PLACES
from ptx_app.evaluation.metrics import bootstrap, dice
from ptx_app.experiments.onnx_file import onnx_entry
from ptx_app.inference.decide import binary_mask
from ptx_app.inference.lungs import lung_probability
from ptx_app.model.export import export_onnx
from ptx_app.model.manifest import ROOT, LungFields, LungFigures
from ptx_app.model.manifest_editing import read_document, write_document
from ptx_app.model.network import Network
from ptx_app.model.torch_network import TorchNetwork
from ptx_app.process import typed_command
from ptx_app.training.configuration import Configuration
from ptx_app.training.loop import TrainingRun
from ptx_app.training.run_folder import RunFolder
from ptx_app.weights.add import BUNDLED, bundled, copy_whole
from ptx_app.weights.verify import digest

MASK_THRESHOLD = 0.5
_STATE = "last"  # not the best: that would be chosen on the films that measure
_WANTED = 0.95

Overlaps = dict[str, float]


@dataclass(frozen=True)
class Folds:
    """How many parts the films are split into, and how many of these are held out in turn and measured."""

    number: int
    measured: int


@dataclass(frozen=True)
class CrossValidation:
    """Dice of every film in the fold that held it out, by the film's name; and the folds."""

    overlaps: Overlaps
    folds: Folds


def cross_validate(configuration: Configuration, data: Path, runs: Path, folds: Folds) -> CrossValidation | None:
    """Train one network for each fold and measure it on the films held out; None if training was stopped.

    Raises:
        SettingsError, WeightsError: as `TrainingRun.of` and `TorchNetwork`.
    """
    overlaps: Overlaps = {}
    for number in range(folds.measured):
        chosen = configuration.data.model_copy(update={"lung_fold": (number, folds.number)})
        name = f"{configuration.name}-{number + 1}-of-{folds.number}"
        training = TrainingRun.of(configuration.model_copy(update={"name": name, "data": chosen}), data, runs)
        if not training.train():
            return None
        entry = draft_lung_entry(configuration, training.folder.weights_path(_STATE), {})
        network = TorchNetwork(entry, training.folder.weights_path(_STATE))
        overlaps |= overlaps_of(network, entry, training.held_out)
    return CrossValidation(overlaps, folds)


def overlaps_of(network: Network, entry: LungFields, films: Sequence[LabelledFilm]) -> Overlaps:
    """Dice of each film, at the size of its mask. Raises SettingsError FILM_UNREADABLE."""
    found = {}
    for film in tqdm(films, "lungs", unit="film"):
        assert film.mask is not None  # noqa: S101  (every film of this index has one)
        truth = read_grey(film.mask) > 0
        probability = lung_probability(network, as_pixels(read_grey(film.image)), entry.input)
        mask = binary_mask(probability, (truth.shape[0], truth.shape[1]), entry.mask_threshold)
        found[film.image_id] = dice(mask, truth)
    return found


def figures_of(overlaps: Overlaps, sources: Mapping[str, Sequence[LabelledFilm]]) -> dict[str, LungFigures]:
    """Mean Dice of the films measured, by source, and of all as "all"; every film is of another patient."""
    names = {
        source: [film.image_id for film in films if film.image_id in overlaps] for source, films in sources.items()
    }
    groups = names | {"all": [name for own in names.values() for name in own]}
    return {source: _figures(np.asarray([overlaps[name] for name in own])) for source, own in groups.items()}


def _figures(values: NDArray[np.float64]) -> LungFigures:
    low, high = bootstrap(lambda chosen: float(values[chosen].mean()), [str(place) for place in range(len(values))])
    interval = (round(low, PLACES), round(high, PLACES))
    return LungFigures(films=len(values), dice=round(float(values.mean()), PLACES), dice_interval=interval)


def draft_lung_entry(configuration: Configuration, file: Path, figures: dict[str, LungFigures]) -> LungFields:
    """The manifest's entry of a weights file that a configuration has made."""
    return LungFields(
        name=configuration.name,
        title=configuration.title,
        network=configuration.network.spec(),
        input=configuration.input.spec(),
        mask_threshold=MASK_THRESHOLD,
        bytes=file.stat().st_size,
        sha256=digest(file),
        sources=(bundled(f"{configuration.name}.safetensors"),),
        provenance=configuration.provenance,
        terms=configuration.terms,
        figures=figures,
    )


def publish_lung_fields(run: RunFolder, figures: dict[str, LungFigures]) -> LungFields:
    """Copy a run's weights to where the app finds them, and put their entry into the manifest."""
    file = run.weights_path(_STATE)
    entry = draft_lung_entry(run.configuration(), file, figures)
    onnx = file.with_suffix(".onnx")
    export_onnx(entry, file, onnx)
    entry = entry.model_copy(update={"onnx": onnx_entry(entry.name, onnx, {})})
    for made in (file, onnx):
        copy_whole(made, ROOT / BUNDLED / f"{entry.name}{made.suffix}")
    write_document(read_document() | {"lung_fields": entry.model_dump(mode="json")})
    return entry


def lung_page(entry: LungFields, validation: CrossValidation, command: str) -> str:
    """The figures as Markdown. `command`: what made them."""
    worst = sorted(validation.overlaps.items(), key=lambda item: item[1])[:5]
    lines = [
        "# Lung fields",
        "",
        f"Written by `{command}`. Weights: `{entry.name}`, sha256 `{entry.sha256[:16]}…`.",
        "",
        "A lung is the lung field beside the heart and above the diaphragm: the heart's shadow is not part of it.",
        "",
        f"Mean Dice in {validation.folds.measured} of {validation.folds.number} folds: each film was outlined by a",
        f"network trained without it, in the same way as the shipped one. In brackets: 95 % interval. Goal: {_WANTED}.",
        "",
        "| Films of | Films | Dice |",
        "| --- | --- | --- |",
    ]
    for source, found in entry.figures.items():
        low, high = found.dice_interval
        lines.append(f"| {source} | {found.films} | {found.dice:.3f} ({low:.3f} to {high:.3f}) |")
    lines += ["", "Lowest: " + ", ".join(f"{name} {value:.2f}" for name, value in worst) + "."]
    return "\n".join(lines) + "\n"


def train_and_measure(configuration: Configuration, data: Path, runs: Path, folds: Folds, report: Path) -> bool:
    """Train the shipped network and one for each fold, publish the first, and write the page and its JSON.

    Returns:
        False if training was stopped; then call it again to go on.

    Raises:
        SettingsError, WeightsError: as `cross_validate` and `write_document`.
    """
    shipped = TrainingRun.of(configuration, data, runs)
    if not shipped.train():
        return False
    validation = cross_validate(configuration, data, runs, folds)
    if validation is None:
        return False
    entry = publish_lung_fields(shipped.folder, figures_of(validation.overlaps, read_lung_index(data)))
    report.parent.mkdir(parents=True, exist_ok=True)
    report.write_text(lung_page(entry, validation, typed_command()), encoding="utf-8")
    document = {
        "command": typed_command(),
        "sha256": entry.sha256,
        "folds": asdict(folds),
        "figures": entry.model_dump(mode="json")["figures"],
    }
    document["dice"] = {name: round(value, PLACES) for name, value in sorted(validation.overlaps.items())}
    report.with_suffix(".json").write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    return True

"""Lung fields: one definition of the lung, folds that share no film, and figures of films not trained on."""

import csv
import json

import cv2
import numpy as np
import pytest

from ptx_app.data.lungs import fold, read_lung_index
from ptx_app.errors import SettingsError
from ptx_app.experiments import lung_fields
from ptx_app.experiments.lung_fields import CrossValidation, Folds, figures_of, lung_page, overlaps_of
from ptx_app.model.manifest import ROOT, InputSpec, LungFields, NetworkSpec
from ptx_app.model.network import NetworkOutput
from ptx_app.training.configuration import read_configuration
from ptx_app.training.dataset import training_films
from ptx_app.training.loop import TrainingRun
from ptx_app.weights.add import BUNDLED
from ptx_app.weights.verify import digest
from tests.support.made_folder import configuration

LUNGS = LungFields(
    name="lungs",
    title="Lungs",
    network=NetworkSpec(architecture="Unet", encoder="mobilenet_v2"),
    input=InputSpec(side=64, fit="stretch", interpolation="area", channels=3, mean=0.5, std=0.5),
    mask_threshold=0.5,
    bytes=1,
    sha256="0" * 64,
    sources=(),
    provenance="Made.",
    terms="None.",
    figures={},
)
EXCLUDED, COVERED = "lung fields, heart excluded", "hemithorax-like, heart covered"


@pytest.fixture
def folder(tmp_path):
    """Seven films of one source, five of another, and two whose masks cover the heart."""
    rows = [(f"a{n}", "A", EXCLUDED) for n in range(7)] + [(f"b{n}", "B", EXCLUDED) for n in range(5)]
    rows += [(f"c{n}", "C", COVERED) for n in range(2)]
    for kind in ("images", "masks"):
        (tmp_path / kind).mkdir()
    film, mask = np.full((64, 64), 90, np.uint8), np.zeros((64, 64), np.uint8)
    mask[16:48, 8:28] = mask[16:48, 36:56] = 255
    film[mask > 0] = 30
    with (tmp_path / "index.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image_id", "split", "source", "licence", "mask_means", "height", "width"])
        for name, source, means in rows:
            writer.writerow([name, "train", source, "made", means, 64, 64])
            cv2.imwrite(str(tmp_path / "images" / f"{name}.png"), film)
            cv2.imwrite(str(tmp_path / "masks" / f"{name}.png"), mask)
    return tmp_path


def test_masks_that_cover_the_heart_are_left_out(folder):
    films = read_lung_index(folder)
    assert {source: len(own) for source, own in films.items()} == {"A": 7, "B": 5}
    assert all(film.mask is not None and film.mask.exists() for own in films.values() for film in own)


def test_each_film_is_held_out_in_one_fold_and_trained_on_in_the_others(folder):
    films = read_lung_index(folder)
    everyone = {film.image_id for own in films.values() for film in own}
    held = []
    for number in range(4):
        trained, held_out = fold(films, number, 4)
        names = {film.image_id for film in held_out}
        assert {film.image_id for film in trained} == everyone - names
        assert {name[0] for name in names} == {"a", "b"}
        held += names
    assert sorted(held) == sorted(everyone)


def test_a_run_trains_on_lung_masks(folder, tmp_path):
    data = {"lung_fold": [1, 4], "augmentation": "none"}
    chosen = configuration(data=data, loss={"image": 0.0}, schedule={"films": 16})
    training = TrainingRun.of(chosen, folder, tmp_path / "runs")
    assert training.train()
    assert {film.image_id for film in training.held_out} == {"a1", "a5", "b1"}
    assert float(training.folder.read_log()[-1]["held_out_dice"]) > 0


def test_overlap_is_of_the_networks_mask_with_the_truth_at_its_own_size(folder):
    films = read_lung_index(folder)["A"]
    spec = InputSpec(side=64, fit="stretch", interpolation="area", channels=3, mean=0.5, std=0.5)
    entry = LUNGS.model_copy(update={"input": spec})

    def dark_is_lung(batch):
        return NetworkOutput(np.where(batch[:, 0] < -0.5, 9, -9).astype(np.float32), np.zeros(len(batch), np.float32))

    def right_half(batch):
        answer = dark_is_lung(batch).mask_logits
        answer[:, :, 32:] = -9
        return NetworkOutput(answer, np.zeros(len(batch), np.float32))

    def unsure_outside(batch):
        return NetworkOutput(np.where(batch[:, 0] < -0.5, 9, -0.6).astype(np.float32), np.zeros(len(batch), np.float32))

    assert overlaps_of(dark_is_lung, entry, films[:2]) == {"a0": 1.0, "a1": 1.0}
    assert overlaps_of(unsure_outside, entry, films[:1]) == {"a0": 1.0}, "0.35 is below the threshold"
    assert overlaps_of(right_half, entry, films[:1])["a0"] == pytest.approx(2 / 3)


def test_figures_are_means_by_source_and_of_all(folder):
    sources = read_lung_index(folder)
    overlaps = {film.image_id: 0.9 for film in sources["A"]} | {film.image_id: 0.6 for film in sources["B"]}
    found = figures_of(overlaps, sources)
    assert (found["A"].dice, found["B"].dice) == (0.9, 0.6)
    assert found["all"].dice == pytest.approx((7 * 0.9 + 5 * 0.6) / 12, abs=1e-4)
    assert (found["all"].films, found["A"].dice_interval) == (12, (0.9, 0.9))


@pytest.mark.thorough
def test_one_command_cross_validates_publishes_and_writes_the_page(folder, tmp_path, monkeypatch):
    published = {}
    monkeypatch.setattr(lung_fields, "ROOT", tmp_path)
    monkeypatch.setattr(lung_fields, "read_document", lambda: {"film_check": "kept"})
    monkeypatch.setattr(lung_fields, "write_document", published.update)
    (tmp_path / BUNDLED).mkdir(parents=True)
    chosen = configuration(
        name="lungs", data={"lung_fold": [0, 6], "augmentation": "none"}, loss={"image": 0.0}, schedule={"films": 16}
    )
    report = tmp_path / "docs" / "lungs.md"
    assert lung_fields.train_and_measure(chosen, folder, tmp_path / "runs", Folds(2, 2), report)
    assert published["film_check"] == "kept"
    entry = LungFields.model_validate(published["lung_fields"])
    file = tmp_path / BUNDLED / "lungs.safetensors"
    assert (file.stat().st_size, digest(file)) == (entry.bytes, entry.sha256)
    assert entry.onnx is not None
    assert digest(file.with_suffix(".onnx")) == entry.onnx.sha256
    document = json.loads(report.with_suffix(".json").read_text())
    assert len(document["dice"]) == entry.figures["all"].films == 12
    held = [json.loads((tmp_path / "runs" / f"lungs-{n}-of-2" / "held_out.json").read_text()) for n in (1, 2)]
    assert not set(held[0]) & set(held[1])
    assert f"| all | 12 | {entry.figures['all'].dice:.3f}" in report.read_text()


def test_figures_are_of_the_folds_that_were_measured(folder):
    measured = {film.image_id: 0.9 for film in fold(read_lung_index(folder), 0, 2)[1]}
    found = figures_of(measured, read_lung_index(folder))
    assert (found["A"].films, found["B"].films, found["all"].films) == (4, 3, 7)
    entry = LUNGS.model_copy(update={"figures": found})
    page = lung_page(entry, CrossValidation(measured, Folds(2, 1)), "ptx lung-fields made.toml")
    assert "Written by `ptx lung-fields made.toml`." in page
    assert "in 1 of 2 folds" in page


def test_without_a_fold_the_index_of_lung_masks_is_refused(folder):
    with pytest.raises(SettingsError):
        training_films(configuration(), folder)


def test_a_missing_index_is_a_clear_error(tmp_path):
    with pytest.raises(SettingsError) as error:
        read_lung_index(tmp_path)
    assert error.value.code == "INDEX_UNREADABLE"


def test_the_committed_configuration_is_valid():
    assert read_configuration(ROOT / "configs" / "lung-fields.toml").data.lung_fold == (0, 20)

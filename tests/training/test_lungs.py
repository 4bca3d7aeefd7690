"""Films with lung masks: one definition of the lung, and folds that share no film."""

import csv

import cv2
import numpy as np
import pytest

from ptx_app.data.lungs import fold, read_lung_index
from ptx_app.errors import SettingsError
from ptx_app.model.manifest import ROOT
from ptx_app.training.configuration import read_configuration
from ptx_app.training.dataset import training_films
from ptx_app.training.loop import TrainingRun
from tests.support.made_folder import configuration

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


def test_without_a_fold_the_index_of_lung_masks_is_refused(folder):
    with pytest.raises(SettingsError):
        training_films(configuration(), folder)


def test_a_missing_index_is_a_clear_error(tmp_path):
    with pytest.raises(SettingsError) as error:
        read_lung_index(tmp_path)
    assert error.value.code == "INDEX_UNREADABLE"


def test_the_committed_configuration_is_valid():
    assert read_configuration(ROOT / "configs" / "lung-fields.toml").data.lung_fold == (0, 20)

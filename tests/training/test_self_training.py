"""A teacher draws masks on films without a mask, and on no others."""

import cv2
import numpy as np
import pytest

from ptx_app.data.index import MaskKind, read_index
from ptx_app.data.store import FilmStore
from ptx_app.model.manifest import load_manifest
from ptx_app.model.network import NetworkOutput
from ptx_app.pipeline import Detector
from ptx_app.training import self_training
from ptx_app.training.loop import TrainingRun
from ptx_app.training.self_training import teacher_mask, with_drawn_masks
from tests.support.made_folder import configuration, prepared_folder

TEACHER = "ptx-b3-384-2"


class BrightIsAir:
    """A network for which bright pixels are air, in both films of a mirrored pair."""

    def __init__(self, *_: object) -> None:
        self.films = 0

    def __call__(self, batch):
        self.films += 1
        assert len(batch) == 2
        grey = batch[:, 0] * 0.5 + 0.5
        return NetworkOutput((grey - 0.45) * 40, np.full(2, -9, np.float32))


@pytest.fixture
def films(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    return [film for film in read_index(prepared_folder(folder)) if film.split == "train"]


def test_only_films_without_a_mask_get_one_and_only_once(films, tmp_path, monkeypatch):
    teachers = []
    monkeypatch.setattr(self_training, "load_network", lambda *_: teachers.append(BrightIsAir()) or teachers[-1])
    taught = with_drawn_masks(films, TEACHER, tmp_path / "cache")
    for before, after in zip(films, taught, strict=True):
        if before.mask_kind is not MaskKind.IMAGE_LABEL:
            assert after == before
            continue
        assert (after.mask_kind, after.mask_known) == (MaskKind.TEACHER, True)
        assert 0.5 < after.mask_confidence <= 1
        mask = FilmStore([after], tmp_path / "store").mask(after)
        bright = cv2.resize(cv2.imread(str(before.image), cv2.IMREAD_GRAYSCALE), (512, 512)) > 120
        assert 2 * (bright & (mask > 0)).sum() / (bright.sum() + mask.sum()) > 0.95
    assert sum(film.mask_kind is MaskKind.TEACHER for film in taught) == 2
    assert with_drawn_masks(films, TEACHER, tmp_path / "cache") == taught
    assert [teacher.films for teacher in teachers] == [2]


def test_a_film_without_a_teacher_mask_keeps_its_image_level_label(films, tmp_path, monkeypatch):
    monkeypatch.setattr(self_training, "teacher_mask", lambda *_: (np.zeros((512, 512), np.uint8), 0.0))
    monkeypatch.setattr(self_training, "load_network", BrightIsAir)
    assert with_drawn_masks(films, TEACHER, tmp_path) == films


def test_films_that_another_split_brings_are_drawn_too(films, tmp_path, monkeypatch):
    monkeypatch.setattr(self_training, "load_network", BrightIsAir)
    bare = [film for film in films if film.mask_kind is MaskKind.IMAGE_LABEL]
    first = with_drawn_masks(bare[:1], TEACHER, tmp_path)
    both = with_drawn_masks(bare, TEACHER, tmp_path)
    assert both[:1] == first
    assert [film.mask_kind for film in both] == [MaskKind.TEACHER] * 2


def test_an_empty_mask_has_no_confidence():
    weights = load_manifest().entry(TEACHER)

    def nothing(batch):
        return NetworkOutput(np.full(batch[:, 0].shape, -9, np.float32), np.zeros(len(batch), np.float32))

    mask, confidence = teacher_mask(Detector(weights, nothing), np.zeros((64, 64), np.uint8))
    assert (mask.shape, mask.max(), confidence) == ((512, 512), 0, 0.0)


def test_a_run_with_a_teacher_learns_from_its_masks(films, tmp_path, monkeypatch):
    monkeypatch.setattr(self_training, "load_network", BrightIsAir)
    data = {"held_out_positives": 2, "held_out_negatives": 2, "augmentation": "none", "teacher": TEACHER}
    training = TrainingRun.of(configuration(data=data, schedule={"films": 48}), tmp_path / "data", tmp_path / "runs")
    assert training.train()
    assert any("teacher-drawn" in name for name in training._dealt)
    assert not any("image-label-only" in name for name in training._dealt)
    assert all(film.mask_kind is MaskKind.EXPERT for film in training.held_out)

"""Input cropped to the lungs: the same box in training and app, and results that lie where the lungs are."""

import numpy as np
import pytest

from ptx_app.data.index import read_index
from ptx_app.data.store import STORED_SIDE, FilmStore
from ptx_app.errors import WeightsError
from ptx_app.film.radiograph import Box, Radiograph
from ptx_app.inference.decide import Side, Thresholds
from ptx_app.inference.lungs import Lungs, lung_box
from ptx_app.inference.measure import measure
from ptx_app.model.manifest import load_manifest
from ptx_app.model.network import NetworkOutput
from ptx_app.pipeline import Detector, LungFinder
from ptx_app.training import lung_boxes
from tests.support.made_folder import prepared_folder

ENTRY = load_manifest().entry()
CROPPED, STRETCHED = (
    ENTRY.model_copy(update={"input": ENTRY.input.model_copy(update={"fit": fit, "side": 64})})
    for fit in ("lungs", "stretch")
)
ANYWHERE = Thresholds(0.0, 0.5, 0.0)


def pair(top: int, bottom: int, right_lung: tuple[int, int], left_lung: tuple[int, int]) -> Lungs:
    """Two lungs in a square of 100 px."""
    masks = []
    for left, right in (right_lung, left_lung):
        mask = np.zeros((100, 100), bool)
        mask[top:bottom, left:right] = True
        masks.append(mask)
    return Lungs(*masks)


LUNGS = pair(20, 70, (10, 40), (50, 80))


class Upper:
    """A network that marks the upper left quarter of its square, and keeps what it was shown."""

    engine = "made"

    def __call__(self, batch):
        self.shown = batch[0, 0]
        logits = np.full((len(batch), *batch.shape[2:]), -9, np.float32)
        logits[0, : batch.shape[2] // 2, : batch.shape[3] // 2] = 9
        if len(batch) == 2:
            logits[1] = logits[0][:, ::-1]
        return NetworkOutput(logits, np.zeros(len(batch), np.float32))


class Outlined(LungFinder):
    """Finds the same lungs on every film."""

    def find(self, pixels):
        return LUNGS


def detector(network=None) -> Detector:
    return Detector(CROPPED, network or Upper(), lung_finder=Outlined(None, None))


def test_the_box_holds_both_lungs_with_a_margin_of_their_own_size():
    assert lung_box(LUNGS, (1000, 2000)) == Box(155, 74, 745, 1726)


def test_the_margin_ends_at_the_film():
    assert lung_box(pair(0, 100, (1, 40), (50, 99)), (100, 100)) == Box(0, 0, 100, 100)


def test_without_a_pair_of_lungs_the_box_is_the_film():
    assert lung_box(None, (300, 200)) == Box(0, 0, 300, 200)


def test_the_network_is_shown_the_lungs_and_its_mask_lies_there():
    film = np.zeros((400, 400), np.float32)
    box = lung_box(LUNGS, film.shape)
    box.of(film)[...] = 1.0
    network = Upper()
    found = detector(network)
    examination = found.examine(Radiograph(film), overrule=True)
    assert np.allclose(network.shown, (1 - CROPPED.input.mean) / CROPPED.input.std, atol=1e-4)
    finding = found.decide(examination.prediction, film.shape, ANYWHERE)
    rows, columns = np.nonzero(finding.mask)
    assert (rows.min(), columns.min()) == (box.top, box.left)
    assert rows.max() == pytest.approx(box.top + box.height / 2, abs=6)
    assert columns.max() == pytest.approx(box.left + box.width / 2, abs=6)


def test_the_box_is_found_in_the_films_part_of_the_picture():
    picture = np.zeros((500, 600), np.float32)
    field = Box(100, 200, 500, 600)
    prepared = detector().prepare(picture, field, LUNGS)
    box = lung_box(LUNGS, (400, 400))
    assert prepared.field == field
    assert prepared.shown == Box(100 + box.top, 200 + box.left, 100 + box.bottom, 200 + box.right)


def test_size_is_a_share_of_the_film_and_side_is_from_the_middle_of_the_lungs():
    film = np.full((400, 400), 0.5, np.float32)
    found = detector()
    examination = found.examine(Radiograph(film), overrule=True)
    finding = found.decide(examination.prediction, film.shape, ANYWHERE)
    assert finding.share == finding.mask.sum() / film.size
    assert finding.regions[0].share == pytest.approx(finding.share)
    assert finding.sides == (Side.RIGHT,)
    assert [each.side for each in measure(finding, examination.lungs, None)] == [Side.RIGHT]


def test_the_probabilities_over_the_picture_are_zero_outside_the_box():
    film = np.full((400, 400), 0.5, np.float32)
    spread = detector().predict_film(film).over_picture(film.shape)
    outside = np.ones(film.shape, bool)
    lung_box(LUNGS, film.shape).of(outside)[...] = False
    assert spread.shape == film.shape
    assert not spread[outside].any()
    assert spread.max() > 0.99


def test_results_of_a_reduced_film_lie_at_the_same_place_on_the_whole_one():
    film = np.full((200, 100), 0.5, np.float32)
    found = detector()
    mask = found.decide(found.predict_film(film, (800, 400)), (800, 400), ANYWHERE).mask
    box = lung_box(LUNGS, film.shape)
    rows, columns = np.nonzero(mask)
    assert (rows.min(), columns.min()) == (4 * box.top, 4 * box.left)
    assert rows.max() == pytest.approx(4 * box.top + 2 * box.height, abs=8)


def test_weights_that_want_lungs_get_what_finds_them_and_others_do_not():
    assert Detector.around(CROPPED, Upper()).lung_finder is not None
    assert Detector.around(STRETCHED, Upper()).lung_finder is None


def test_a_manifest_without_lung_fields_is_told(monkeypatch):
    without = load_manifest().model_copy(update={"lung_fields": None})
    monkeypatch.setattr("ptx_app.pipeline.load_manifest", lambda: without)
    with pytest.raises(WeightsError) as refused:
        Detector.around(CROPPED, Upper())
    assert refused.value.code == "LUNGS_MISSING"


def test_training_crops_film_and_mask_to_the_box_that_the_app_uses(tmp_path, monkeypatch):
    monkeypatch.setattr(LungFinder, "load", classmethod(lambda cls: Outlined(None, None)))
    films = read_index(prepared_folder(tmp_path, train=3, validation=1))
    boxes = lung_boxes.lung_boxes(films, tmp_path / "cache")
    box = lung_box(LUNGS, (STORED_SIDE, STORED_SIDE))
    assert boxes == {film.image_id: box for film in films}
    whole, cropped = FilmStore(films, tmp_path / "cache"), FilmStore(films, tmp_path / "cache", boxes)
    for film in films:
        assert np.array_equal(cropped.film(film), box.of(whole.film(film)))
        assert np.array_equal(cropped.mask(film), box.of(whole.mask(film)))


def test_lungs_are_outlined_once_for_a_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(LungFinder, "load", classmethod(lambda cls: Outlined(None, None)))
    films = read_index(prepared_folder(tmp_path, train=2, validation=1))
    first = lung_boxes.lung_boxes(films[:1], tmp_path / "cache")
    outlined: list[int] = []

    def find(_self, _pixels):
        outlined.append(1)
        return LUNGS

    monkeypatch.setattr(Outlined, "find", find)
    both = lung_boxes.lung_boxes(films[:2], tmp_path / "cache")
    assert both == {film.image_id: first[films[0].image_id] for film in films[:2]}
    assert len(outlined) == 1

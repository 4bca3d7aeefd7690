"""A student learns from the mean map of its teachers, alone or mixed with the mask."""

import cv2
import numpy as np
import pytest
import torch

from ptx_app.data.index import MaskKind, read_index
from ptx_app.data.store import FilmStore
from ptx_app.errors import SettingsError
from ptx_app.film.radiograph import Box
from ptx_app.model.manifest import ROOT
from ptx_app.training import teachers
from ptx_app.training.augmentation import Augmentation
from ptx_app.training.configuration import write_configuration
from ptx_app.training.dataset import FilmDataset
from ptx_app.training.loop import TrainingRun
from ptx_app.training.losses import dice_loss
from ptx_app.training.run_folder import RunFolder
from ptx_app.training.sampler import Draw
from ptx_app.training.teachers import TeacherMaps
from tests.support.made_folder import configuration, prepared_folder

SIDE = 64


class BrightIsAir(torch.nn.Module):
    """A network for which bright pixels are air; the bias is its only weight. It counts the films it is shown."""

    def __init__(self, *_: object) -> None:
        super().__init__()
        self.bias = torch.nn.Parameter(torch.zeros(()))
        self.films = 0

    def forward(self, films: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        self.films += len(films)
        grey = films[:, :1] * 0.5 + 0.5
        return (grey - 0.45) * 40 + self.bias, torch.full((len(films), 1), -9.0)


class Flat(BrightIsAir):
    """A network with the same probability everywhere."""

    def forward(self, films: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.zeros_like(films[:, :1]) + self.bias, torch.zeros(len(films), 1)


@pytest.fixture
def films(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    return [film for film in read_index(prepared_folder(folder)) if film.split == "train"]


@pytest.fixture
def built(monkeypatch):
    """Every network built as a teacher."""
    networks = []
    monkeypatch.setattr(teachers, "build_module", lambda *_: networks.append(BrightIsAir()) or networks[-1])
    return networks


def teacher(folder, name: str = "teacher", bias: float = 0.0, fit: str = "stretch") -> RunFolder:
    run = RunFolder(folder / name)
    run.path.mkdir(parents=True)
    write_configuration(configuration(name=name, input={"side": SIDE, "fit": fit}), run.path / "config.toml")
    run.save_weights("last", {"bias": torch.tensor(bias)})
    return run


def maps_of(films, tmp_path, runs, boxes=None) -> tuple[TeacherMaps, FilmStore]:
    store = FilmStore(films, tmp_path / "store", boxes)
    return TeacherMaps(runs, films, store, "stretch", tmp_path / "maps"), store


def bright(film) -> np.ndarray:
    return cv2.resize(cv2.imread(str(film.image), cv2.IMREAD_GRAYSCALE), (512, 512)) > 120


def test_each_positive_film_is_drawn_once_with_its_mirror_image(films, tmp_path, built):
    (tmp_path / "maps").mkdir()
    run = teacher(tmp_path)
    for _ in range(2):
        maps, _ = maps_of(films, tmp_path, [run])
        for film in films:
            if film.positive:
                drawn, air = maps.of(film, (512, 512)) > 127, bright(film)
                assert 2 * (drawn & air).sum() / (drawn.sum() + air.sum()) > 0.95
    assert [network.films for network in built] == [2 * sum(film.positive for film in films)]


def test_a_map_is_of_what_the_store_gives(films, tmp_path, built):
    (tmp_path / "maps").mkdir()
    film = next(film for film in films if film.positive)
    box = Box(100, 60, 400, 460)
    maps, store = maps_of([film], tmp_path, [teacher(tmp_path)], {film.image_id: box})
    assert store.shape(film) == (300, 400)
    drawn, air = maps.of(film, (300, 400)) > 127, box.of(bright(film))
    assert 2 * (drawn & air).sum() / (drawn.sum() + air.sum()) > 0.95


def test_teachers_agree_on_their_mean(films, tmp_path, monkeypatch):
    monkeypatch.setattr(teachers, "build_module", Flat)
    (tmp_path / "maps").mkdir()
    film = next(film for film in films if film.positive)
    odds = {share: float(np.log(share / (1 - share))) for share in (0.2, 0.9)}
    runs = [teacher(tmp_path, f"t{number}", bias) for number, bias in enumerate(odds.values())]
    maps, _ = maps_of([film], tmp_path, runs)
    assert maps.of(film, (512, 512)) / 255 == pytest.approx(0.55, abs=0.005)


@pytest.mark.parametrize(("fit", "trained", "code"), [("lungs", True, "OTHERWISE"), ("stretch", False, "UNFINISHED")])
def test_a_teacher_must_have_ended_and_see_films_as_its_student_does(films, tmp_path, built, fit, trained, code):
    run = teacher(tmp_path, fit=fit)
    if not trained:
        run.weights_path("last").unlink()
    with pytest.raises(SettingsError) as error:
        maps_of(films, tmp_path, [run])
    assert error.value.code.endswith(code)


class Drawn:
    """Teachers that draw the same on every film."""

    def __init__(self, values: np.ndarray) -> None:
        self._values = values

    def of(self, _film, shape) -> np.ndarray:
        return cv2.resize(self._values, (shape[1], shape[0]), interpolation=cv2.INTER_NEAREST)


def example(films, tmp_path, kind: MaskKind, drawn: np.ndarray, share: float = 0.5):
    number = next(number for number, film in enumerate(films) if film.positive and film.mask_kind is kind)
    store = FilmStore(films, tmp_path)
    weights = {MaskKind.EXPERT: 0.8}
    spec = configuration(input={"side": SIDE}).input.spec()
    taught = FilmDataset(films, store, spec, Augmentation("none"), weights, Drawn(drawn), share)
    alone = FilmDataset(films, store, spec, Augmentation("none"), weights)
    draw = Draw(number, 0, SIDE)
    return taught[draw], alone[draw]


def test_a_known_mask_is_mixed_with_the_teachers_map(films, tmp_path):
    # Of the mask: its weight, 0.8, times what the teachers leave, 0.75.
    taught, alone = example(films, tmp_path, MaskKind.EXPERT, np.full((8, 8), 51, np.uint8), share=0.25)
    assert taught["mask"].numpy() == pytest.approx(0.6 * alone["mask"].numpy() + 0.4 * 0.2, abs=1e-6)
    assert (float(taught["mask_weight"]), float(alone["mask_weight"])) == (1.0, pytest.approx(0.8))


@pytest.mark.parametrize(("value", "weight"), [(204, 0.8), (128, 128 / 255), (127, 0.0), (0, 0.0)])
def test_a_film_without_a_mask_counts_as_much_as_its_teachers_are_sure(films, tmp_path, value, weight):
    drawn = np.zeros((8, 8), np.uint8)
    drawn[2:6, 2:6] = value
    taught, alone = example(films, tmp_path, MaskKind.IMAGE_LABEL, drawn)
    assert float(taught["mask_weight"]) == pytest.approx(weight, abs=0.02)
    assert float(alone["mask_weight"]) == 0
    assert float(taught["mask"].max()) == pytest.approx(value / 255, abs=1e-6)


def test_negative_films_stay_empty_whatever_teachers_draw(films, tmp_path):
    store, spec = FilmStore(films, tmp_path), configuration(input={"side": SIDE}).input.spec()
    dataset = FilmDataset(films, store, spec, Augmentation("none"), {}, Drawn(np.full((8, 8), 255, np.uint8)))
    number = next(number for number, film in enumerate(films) if not film.positive)
    assert not dataset[Draw(number, 0, SIDE)]["mask"].any()


def test_the_best_map_for_a_soft_truth_is_that_truth():
    truth = torch.full((1, 1, 4, 4), 0.3)
    losses = {share: float(dice_loss(torch.full_like(truth, share).logit(), truth)) for share in (0.2, 0.3, 0.4, 0.9)}
    assert min(losses, key=losses.get) == 0.3
    assert losses[0.3] == pytest.approx(0, abs=1e-6)


def test_a_run_learns_from_its_teachers(films, tmp_path, built, monkeypatch):
    run = teacher(tmp_path / "runs", "teacher")
    data = {"held_out_positives": 2, "held_out_negatives": 2, "augmentation": "none", "teachers": [str(run.path)]}
    assert (ROOT / run.path) == run.path
    student = configuration(name="student", data=data, schedule={"films": 48})
    training = TrainingRun.of(student, tmp_path / "data", tmp_path / "runs")
    assert training.train()
    assert built[0].films == 2 * sum(film.positive for film in training._films)
    assert all(film.mask_kind is MaskKind.EXPERT for film in training.held_out)

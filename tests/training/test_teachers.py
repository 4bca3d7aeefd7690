"""A student learns from the mean of its teachers on the films that it sees itself, alone or mixed with the truth."""

import numpy as np
import pytest
import torch

from ptx_app.data.index import read_index
from ptx_app.errors import SettingsError
from ptx_app.model.manifest import ROOT
from ptx_app.training import teachers
from ptx_app.training.configuration import write_configuration
from ptx_app.training.loop import TrainingRun
from ptx_app.training.losses import dice_loss
from ptx_app.training.run_folder import RunFolder
from ptx_app.training.teachers import Teachers
from tests.support.made_folder import configuration, prepared_folder

SIDE = 64


class Steady(torch.nn.Module):
    """A network with one probability for every pixel, and one for every film. It keeps what it was shown."""

    def __init__(self, *_: object) -> None:
        super().__init__()
        self.map_logit, self.score_logit = (torch.nn.Parameter(torch.zeros(())) for _ in range(2))
        self.dropout = torch.nn.Dropout(0.5)
        self.shown: list[torch.Tensor] = []

    def forward(self, films: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        self.shown.append(films.detach())
        drawn = torch.zeros_like(films[:, :1]) + self.map_logit
        return self.dropout(torch.ones(())) * drawn, torch.zeros(len(films), 1) + self.score_logit


@pytest.fixture
def built(monkeypatch):
    """Every network built as a teacher."""
    networks = []
    monkeypatch.setattr(teachers, "build_module", lambda *_: networks.append(Steady()) or networks[-1])
    return networks


def logit(share: float) -> torch.Tensor:
    return torch.tensor(float(np.log(share / (1 - share))))


def teacher(
    folder, name: str = "teacher", drawn: float = 0.5, score: float = 0.5, side: int = SIDE, fit: str = "stretch"
) -> RunFolder:
    run = RunFolder(folder / name)
    run.path.mkdir(parents=True)
    write_configuration(configuration(name=name, input={"side": side, "fit": fit}), run.path / "config.toml")
    run.save_weights("last", {"map_logit": logit(drawn), "score_logit": logit(score)})
    return run


def taught_by(runs, share: float = 0.5) -> Teachers:
    return Teachers(runs, configuration(input={"side": SIDE}).input.spec(), share)


def learned(runs, weight: float, label: float, share: float = 0.5) -> tuple[np.ndarray, float, float]:
    """Mask, weight and label of one film whose mask's upper half is air."""
    chosen = taught_by(runs, share)
    films = {side: torch.zeros(1, 3, side, side) for side in chosen.sides}
    mask = torch.zeros(1, 1, SIDE, SIDE)
    mask[:, :, : SIDE // 2] = label
    found = chosen(films, mask, torch.tensor([weight]), torch.tensor([label]))
    return found[0][0, 0].numpy(), float(found[1]), float(found[2])


def test_a_known_mask_and_label_are_mixed_with_the_teachers(tmp_path, built):
    # Of the mask: its weight, 0.8, times what the teachers leave, 0.75.
    mask, weight, label = learned([teacher(tmp_path, drawn=0.2, score=0.4)], 0.8, 1.0, share=0.25)
    assert mask[: SIDE // 2] == pytest.approx(0.6 + 0.4 * 0.2, abs=1e-3)
    assert mask[SIDE // 2 :] == pytest.approx(0.4 * 0.2, abs=1e-3)
    assert weight == 1
    assert label == pytest.approx(0.75 + 0.25 * 0.4, abs=1e-3)


@pytest.mark.parametrize(("drawn", "weight"), [(0.8, 0.8), (0.51, 0.51), (0.49, 0.0)])
def test_a_film_without_a_mask_counts_as_much_as_its_teachers_are_sure(tmp_path, built, drawn, weight):
    mask, found, _ = learned([teacher(tmp_path, drawn=drawn)], 0.0, 1.0)
    assert mask == pytest.approx(drawn, abs=1e-3)
    assert found == pytest.approx(weight, abs=1e-3)


def test_negative_films_stay_empty_whatever_teachers_draw(tmp_path, built):
    mask, weight, label = learned([teacher(tmp_path, drawn=0.9, score=0.6)], 0.7, 0.0)
    assert not mask.any()
    assert (weight, label) == (pytest.approx(0.7), pytest.approx(0.3, abs=1e-3))


def test_teachers_agree_on_their_mean_each_at_its_own_side(tmp_path, built):
    runs = [teacher(tmp_path, "a", 0.2, 0.1), teacher(tmp_path, "b", 0.9, 0.7, side=2 * SIDE)]
    mask, _, label = learned(runs, 0.0, 1.0, share=1.0)
    assert mask == pytest.approx(0.55, abs=1e-3)
    assert label == pytest.approx(0.4, abs=1e-3)
    assert [network.shown[0].shape[-1] for network in built] == [SIDE, 2 * SIDE]


def test_teachers_neither_drop_out_nor_change(tmp_path, built):
    chosen = taught_by([teacher(tmp_path)])
    assert not any(part.training for part in chosen.modules())
    assert not any(parameter.requires_grad for parameter in chosen.parameters())


@pytest.mark.parametrize(("fit", "trained", "code"), [("lungs", True, "OTHERWISE"), ("stretch", False, "UNFINISHED")])
def test_a_teacher_must_have_ended_and_see_films_as_its_student_does(tmp_path, built, fit, trained, code):
    run = teacher(tmp_path, fit=fit)
    if not trained:
        run.weights_path("last").unlink()
    with pytest.raises(SettingsError) as error:
        taught_by([run])
    assert error.value.code.endswith(code)


def test_the_best_map_for_a_soft_truth_is_that_truth():
    truth = torch.full((1, 1, 4, 4), 0.3)
    losses = {share: float(dice_loss(torch.full_like(truth, share).logit(), truth)) for share in (0.2, 0.3, 0.4, 0.9)}
    assert min(losses, key=losses.get) == 0.3
    assert losses[0.3] == pytest.approx(0, abs=1e-6)


def test_a_run_shows_its_teachers_the_student_s_own_augmented_films(tmp_path, built, monkeypatch):
    folder = tmp_path / "data"
    folder.mkdir()
    assert read_index(prepared_folder(folder))
    run = teacher(tmp_path / "runs", "teacher")
    assert (ROOT / run.path) == run.path
    data = {"held_out_positives": 2, "held_out_negatives": 2, "teachers": [str(run.path)]}
    training = TrainingRun.of(
        configuration(name="student", data=data, schedule={"films": 48}), folder, tmp_path / "runs"
    )
    seen = []
    hook = training._module.register_forward_pre_hook(
        lambda module, given: seen.append(given[0]) if module.training else None
    )
    assert training.train()
    hook.remove()
    assert len(built) == 1
    assert len(seen) == len(built[0].shown)
    assert all(torch.equal(student, shown) for student, shown in zip(seen, built[0].shown, strict=True))
    assert sum(map(len, seen)) == 48

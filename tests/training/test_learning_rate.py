"""The learning rate rises to its peak, and falls by a cosine or where the held-out Dice stalls."""

import pytest
import torch

from ptx_app.training.configuration import ScheduleSection
from ptx_app.training.optimisation import LearningRateSchedule

PEAKS = (0.1, 1.0)


def schedule(name: str, warm_up: float = 0.2) -> tuple[LearningRateSchedule, torch.optim.Optimizer]:
    groups = [{"params": [torch.nn.Parameter(torch.zeros(1))], "peak": peak} for peak in PEAKS]
    optimizer = torch.optim.SGD(groups, lr=1.0)
    return LearningRateSchedule(optimizer, ScheduleSection(films=1, name=name, warm_up=warm_up)), optimizer


def rates(made: tuple[LearningRateSchedule, torch.optim.Optimizer], progress: float) -> list[float]:
    made[0].set_rates(progress)
    return [group["lr"] for group in made[1].param_groups]


def scaled(factor: float) -> object:
    return pytest.approx([peak * factor for peak in PEAKS])


@pytest.mark.parametrize("name", ["cosine", "plateau"])
def test_warm_up_rises_to_the_peak(name):
    made = schedule(name)
    assert rates(made, 0.0) == scaled(0)
    assert rates(made, 0.1) == scaled(0.5)
    assert rates(made, 0.2) == scaled(1)


def test_cosine_falls_to_zero_whatever_dice_does():
    made = schedule("cosine")
    for _ in range(5):
        made[0].validated(0.5, 0.6)
    assert rates(made, 0.6) == scaled(0.5)
    assert rates(made, 1.0) == scaled(0)
    assert made[0].state_dict() == {}


def test_plateau_keeps_the_peak_while_dice_rises():
    made = schedule("plateau")
    for number in range(8):
        made[0].validated(0.5 + number / 100, 0.3 + number / 20)
        assert rates(made, 0.3 + number / 20) == scaled(1)


def test_plateau_steps_at_every_second_validation_without_a_better_dice():
    made, seen = schedule("plateau"), []
    for dice in (0.5, 0.5, 0.4, 0.5, 0.5, 0.6, 0.6, 0.7, 0.6, 0.6):
        made[0].validated(dice, 0.5)
        seen.append(rates(made, 0.5)[1])
    assert seen == pytest.approx([1, 1, 0.3, 0.3, 0.09, 0.09, 0.09, 0.09, 0.09, 0.027])


def test_validations_during_the_warm_up_do_not_count():
    made = schedule("plateau")
    for _ in range(5):
        made[0].validated(0.5, 0.1)
    assert rates(made, 0.2) == scaled(1)


def test_plateau_goes_on_from_its_state_with_the_same_rates():
    dices = (0.5, 0.5, 0.4, 0.5, 0.5, 0.5)
    whole = schedule("plateau")
    rates(whole, 0.1)
    for dice in dices:
        whole[0].validated(dice, 0.5)
    for stop in range(len(dices)):
        first, then = schedule("plateau"), schedule("plateau")
        for dice in dices[:stop]:
            first[0].validated(dice, 0.5)
        then[1].load_state_dict(first[1].state_dict())
        then[0].load_state_dict(first[0].state_dict())
        for dice in dices[stop:]:
            then[0].validated(dice, 0.5)
        assert rates(then, 0.6) == rates(whole, 0.6)

"""Optimizer, learning rate schedule, frozen layers, and moving average of the weights."""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ptx_app.training.configuration import OptimizerSection, ScheduleSection, TrainingSection

_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


def build_optimizer(module: nn.Module, section: OptimizerSection, recorded: bool = False) -> torch.optim.Optimizer:
    """Adam or AdamW with two groups, encoder and the rest. The schedule scales each group's "peak" learning rate.

    `recorded`: whether its steps are part of a `Replayed` function.
    """
    encoder = list(module.get_submodule("encoder").parameters())
    inside = {id(parameter) for parameter in encoder}
    rest = [parameter for parameter in module.parameters() if id(parameter) not in inside]
    groups = [
        {"params": encoder, "peak": section.learning_rate * section.encoder_learning_rate_factor},
        {"params": rest, "peak": section.learning_rate},
    ]
    kind: type[torch.optim.Adam] = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[section.name]
    rate = section.learning_rate
    if not recorded:
        return kind(groups, lr=rate, weight_decay=section.weight_decay)
    rates = [torch.tensor(rate, device=encoder[0].device) for _ in groups]
    for group, own in zip(groups, rates, strict=True):
        group["lr"] = own
    return kind(groups, lr=rates[0], weight_decay=section.weight_decay, capturable=True)


class LearningRateSchedule:
    """Sets each group's learning rate: a warm-up to its peak, then a cosine to zero or torch's ReduceLROnPlateau.

    On a plateau, every second validation in a row without a better held-out Dice multiplies the rates by 0.3. As in
    torch, "better" means more than 0.01 % above the best. Validations during the warm-up do not count.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, section: ScheduleSection) -> None:
        """`optimizer`: from `build_optimizer`; its groups have a "peak"."""
        self._optimizer, self._warm_up = optimizer, section.warm_up
        self._plateau: ReduceLROnPlateau | None = None
        if section.name == "plateau":
            # Patience is the number of poor validations that are ignored. With 1, the second takes effect.
            self._plateau = ReduceLROnPlateau(optimizer, mode="max", factor=0.3, patience=1)

    def set_rates(self, progress: float) -> None:
        """Set the learning rates before a step. `progress`: of the run, in [0, 1]."""
        if progress < self._warm_up:
            factor = progress / self._warm_up
        elif self._plateau is None:
            share = min(1.0, (progress - self._warm_up) / (1 - self._warm_up))
            factor = 0.5 * (1 + math.cos(math.pi * share))
        elif self._plateau.last_epoch == 0:  # no validation since the warm-up
            factor = 1.0
        else:
            return  # the plateau's rule has set the rates
        for group in self._optimizer.param_groups:
            rate = group["peak"] * factor
            if isinstance(group["lr"], Tensor):  # a recorded step reads it where it is
                group["lr"].fill_(rate)
            else:
                group["lr"] = rate

    def validated(self, dice: float, progress: float) -> None:
        """Call after each validation with the held-out Dice, in [0, 1]."""
        if self._plateau is not None and progress >= self._warm_up:
            self.set_rates(progress)  # the last step may still have been part of the warm-up
            self._plateau.step(dice)

    def state_dict(self) -> dict[str, Any]:
        """State for a checkpoint, in addition to the optimizer's, which has the rates. Empty for a cosine."""
        return self._plateau.state_dict() if self._plateau is not None else {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a `state_dict`. The optimizer's own state is loaded separately."""
        if self._plateau is not None:
            self._plateau.load_state_dict(state)


def set_batch_norm_momentum(module: nn.Module, momentum: float | None) -> None:
    """Set the momentum of all batch norms, unless it is None."""
    for part in module.modules():
        if isinstance(part, _NORMS) and momentum is not None:
            part.momentum = momentum


def set_training(module: nn.Module, section: TrainingSection, encoder_frozen: bool) -> None:
    """Set the network to training mode. Frozen parts get no gradients, and their batch norms do not change."""
    module.train()
    encoder = module.get_submodule("encoder")
    module.requires_grad_(True)
    for name, part in encoder.named_modules():
        if encoder_frozen or any(f"{name}.".startswith(f"{frozen}.") for frozen in section.frozen):
            part.eval()
            part.requires_grad_(False)


def build_average(module: nn.Module, decay: float) -> AveragedModel | None:
    """A moving average of weights and batch norm statistics; None if decay is 0."""
    return AveragedModel(module, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True) if decay else None

"""What moves the weights: optimizer, learning rate, what is frozen, and their moving average."""

import math

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ptx_app.training.configuration import OptimizerSection, ScheduleSection, TrainingSection

_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


def build_optimizer(module: nn.Module, section: OptimizerSection) -> torch.optim.Optimizer:
    """Adam or AdamW with two groups, encoder and the rest; the schedule scales each group's "peak" learning rate."""
    encoder = list(module.get_submodule("encoder").parameters())
    inside = {id(parameter) for parameter in encoder}
    rest = [parameter for parameter in module.parameters() if id(parameter) not in inside]
    groups = [
        {"params": encoder, "peak": section.learning_rate * section.encoder_learning_rate_factor},
        {"params": rest, "peak": section.learning_rate},
    ]
    kind: type[torch.optim.Adam] = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[section.name]
    return kind(groups, lr=section.learning_rate, weight_decay=section.weight_decay)


class LearningRateSchedule:
    """The factor on each group's peak learning rate: a warm-up, then a cosine to zero or steps where Dice stalls."""

    def __init__(self, section: ScheduleSection, wait: int = 2, step: float = 0.3) -> None:
        """`wait`: validations without a better Dice before a step; `step`: the factor of each."""
        self._section, self._wait, self._step = section, wait, step
        self.state: dict[str, float] = {"best": -1.0, "since": 0, "factor": 1.0}

    def factor(self, progress: float) -> float:
        """At a progress of the run in [0, 1]."""
        warm_up = self._section.warm_up
        if progress < warm_up:
            return progress / warm_up
        if self._section.name == "plateau":
            return self.state["factor"]
        return 0.5 * (1 + math.cos(math.pi * min(1.0, (progress - warm_up) / (1 - warm_up))))

    def validated(self, dice: float) -> None:
        """Tell it the held-out Dice after each validation."""
        if dice > self.state["best"]:
            self.state |= {"best": dice, "since": 0}
            return
        self.state["since"] += 1
        if self.state["since"] >= self._wait:
            self.state |= {"since": 0, "factor": self.state["factor"] * self._step}


def set_learning_rates(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Set every group's learning rate to `factor` times its peak."""
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * factor


def set_batch_norm_momentum(module: nn.Module, momentum: float | None) -> None:
    """Set the momentum of all batch norms, where one is given."""
    for part in module.modules():
        if isinstance(part, _NORMS) and momentum is not None:
            part.momentum = momentum


def set_training(module: nn.Module, section: TrainingSection, encoder_frozen: bool) -> None:
    """Put the network into training, except what is frozen: no gradient there, and batch norms as they were."""
    module.train()
    encoder = module.get_submodule("encoder")
    module.requires_grad_(True)
    for name, part in encoder.named_modules():
        if encoder_frozen or any(f"{name}.".startswith(f"{frozen}.") for frozen in section.frozen):
            part.eval()
            part.requires_grad_(False)


def build_average(module: nn.Module, decay: float) -> AveragedModel | None:
    """A moving average of weights and batch norm statistics, or None for a decay of 0."""
    return AveragedModel(module, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True) if decay else None

"""Batch norms with the statistics of a batch that several processes share. With a part each, they would train another
network: at 8 films and 4 processes, one normalised by pairs of films.
"""

from types import MethodType
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn


def share_batch_norms(module: nn.Module, device: torch.device) -> nn.Module:
    """The network, with batch norms that use the whole batch. Weights, statistics and their names stay.

    On GPUs these are torch's own. It has none for CPUs.
    """
    if device.type == "cuda":
        converted: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(module)
        return converted
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.forward = MethodType(_forward, part)  # type: ignore[method-assign]
    return module


def _forward(self: nn.BatchNorm2d, films: Tensor) -> Tensor:
    if not self.training:
        return nn.BatchNorm2d.forward(self, films)
    # Each process has as many films as the others, so the whole batch's mean is the mean of theirs.
    own_variance, own_mean = torch.var_mean(films.float(), (0, 2, 3), correction=0)
    mean = _Mean.apply(own_mean)  # type: ignore[no-untyped-call]
    variance = _Mean.apply(own_variance + (own_mean - mean) ** 2)  # type: ignore[no-untyped-call]
    values = films.numel() // films.shape[1] * dist.get_world_size()
    with torch.no_grad():
        for kept, now in ((self.running_mean, mean), (self.running_var, variance * values / (values - 1))):
            if kept is not None:
                kept.lerp_(now, self.momentum or 1 / (1 + int(self.num_batches_tracked or 0)))
        if self.num_batches_tracked is not None:
            self.num_batches_tracked += 1
    scale = self.weight * (variance + self.eps).rsqrt()
    shift = self.bias - mean * scale
    return torch.addcmul(shift[:, None, None], films, scale[:, None, None]).to(films.dtype)


class _Mean(torch.autograd.Function):
    """The mean of a tensor over all processes. Its gradient is the mean of theirs."""

    @staticmethod
    def forward(_ctx: Any, value: Tensor) -> Tensor:  # noqa: ANN401  (torch types it so)
        mean = value / dist.get_world_size()
        dist.all_reduce(mean)
        return mean

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # noqa: ANN401
        return _Mean.forward(ctx, grad)

"""Depthwise convolutions with fast gradients on a CPU. Those of 5 × 5 took almost half of a training step.

oneDNN is fast in the forward pass for any size, and for the gradient of 3 × 3 weights. It falls back to slow kernels
for the gradient of larger weights, and for that of the input if the stride is 2 and the precision bf16.
"""

from types import MethodType
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn
from torch.nn import functional

_QUICK = 3  # side of the weights with a fast gradient
_SIDES = (3, 5)
_PADDING = "static_padding"  # the module with which segmentation_models_pytorch pads EfficientNet's layers


def quicken_depthwise(module: nn.Module) -> None:
    """Make a network's depthwise convolutions (3 × 3 and 5 × 5) use the fast gradients on the CPU.

    Weights and their names do not change; results agree up to rounding.
    """
    for part in module.modules():
        if _is_plain(part) and _is_depthwise(part):
            part.forward = MethodType(_forward, part)  # type: ignore[method-assign]


def _is_plain(part: nn.Module) -> TypeGuard[nn.Conv2d]:
    """Whether its forward pass only pads and convolves, and for example does not pad by the film's size."""
    return type(part) is nn.Conv2d or (isinstance(part, nn.Conv2d) and hasattr(part, _PADDING))


def _is_depthwise(part: nn.Conv2d) -> bool:
    return (
        part.groups == part.in_channels == part.out_channels
        and part.kernel_size[0] == part.kernel_size[1] in _SIDES
        and part.stride[0] == part.stride[1]
        and part.dilation == (1, 1)
        and part.bias is None
        and part.padding_mode == "zeros"
        and not isinstance(part.padding, str)
        and part.weight.device.type == "cpu"
    )


def _forward(self: nn.Conv2d, films: Tensor) -> Tensor:
    padding = getattr(self, _PADDING, None)
    vertical, horizontal = (int(size) for size in self.padding)
    padded = functional.pad(films, (horizontal, horizontal, vertical, vertical)) if padding is None else padding(films)
    result: Tensor = _Depthwise.apply(padded, self.weight, self.stride[0])  # type: ignore[no-untyped-call]
    return result


class _Depthwise(torch.autograd.Function):
    """Depthwise convolution of (N, C, H, W) with weights (C, 1, K, K), without padding."""

    @staticmethod
    def forward(ctx: Any, films: Tensor, weight: Tensor, stride: int) -> Tensor:  # noqa: ANN401  (torch types it so)
        ctx.save_for_backward(films, weight)
        ctx.stride = stride
        return functional.conv2d(films, weight, stride=stride, groups=len(weight))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:  # noqa: ANN401
        films, weight = ctx.saved_tensors
        wanted = ctx.needs_input_grad
        of_films = _of_films(grad, films, weight, ctx.stride) if wanted[0] else None
        of_weight = _of_weight(grad, films.to(grad.dtype), weight, ctx.stride) if wanted[1] else None
        return of_films, of_weight, None


def _of_films(grad: Tensor, films: Tensor, weight: Tensor, stride: int) -> Tensor:
    precision = grad.dtype if stride == 1 else torch.float32
    found = _gradients(grad.to(precision), films.to(precision), weight.to(precision), stride, (True, False))[0]
    return found.to(films.dtype)


def _of_weight(grad: Tensor, films: Tensor, weight: Tensor, stride: int) -> Tensor:
    """Gradient of 5 × 5 weights from four overlapping 3 × 3 squares that cover them. Each is a separate convolution
    of the films, shifted to the square's corner.
    """
    whole = torch.zeros_like(weight)
    square = grad.new_zeros(len(weight), 1, _QUICK, _QUICK)
    height, width = ((size - 1) * stride + _QUICK for size in grad.shape[2:])
    corners = range(0, weight.shape[-1] - _QUICK + 1, _QUICK - 1)
    for top in corners:
        for left in corners:
            moved = films[:, :, top : top + height, left : left + width].contiguous(memory_format=torch.channels_last)
            found = _gradients(grad, moved, square, stride, (False, True))[1]
            whole[:, :, top : top + _QUICK, left : left + _QUICK] = found
    return whole


def _gradients(grad: Tensor, films: Tensor, weight: Tensor, stride: int, of: tuple[bool, bool]) -> list[Tensor]:
    """torch's own gradients of (films, weight), only those selected by `of`."""
    return list(
        torch.ops.aten.convolution_backward(
            grad, films, weight, None, [stride] * 2, [0, 0], [1, 1], False, [0, 0], len(weight), [*of, False]
        )
    )

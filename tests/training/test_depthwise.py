"""Fast gradients of depthwise convolutions equal torch's own, and the modules do not change."""

import copy

import pytest
import torch
from torch import nn

from ptx_app.model.manifest import NetworkSpec
from ptx_app.model.torch_network import build_module
from ptx_app.training.depthwise import quicken_depthwise


def gradients(module: nn.Module, films: torch.Tensor) -> list[torch.Tensor]:
    films = films.clone().requires_grad_()
    result = module(films)
    result.backward(torch.linspace(-1, 1, result.numel()).view_as(result))
    return [result.detach(), films.grad, *(parameter.grad for parameter in module.parameters())]


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("side", [13, 16])
def test_gradients_are_torchs_own(kernel, stride, side):
    torch.manual_seed(1)
    plain = nn.Conv2d(6, 6, kernel, stride, kernel // 2, groups=6, bias=False)
    quick = copy.deepcopy(plain)
    quicken_depthwise(quick)
    films = torch.randn(2, 6, side, side + 4)
    for own, quicker in zip(gradients(plain, films), gradients(quick, films), strict=True):
        torch.testing.assert_close(quicker, own, rtol=1e-4, atol=1e-4)


def test_an_encoder_learns_the_same_and_keeps_its_names():
    torch.manual_seed(1)
    plain = build_module(NetworkSpec(architecture="Unet", encoder="efficientnet-b0")).get_submodule("encoder").eval()
    quick = copy.deepcopy(plain)
    quicken_depthwise(quick)
    quicker = sum(part.forward.__name__ == "_forward" for part in quick.modules() if isinstance(part, nn.Conv2d))
    assert quicker == 16  # one a block
    assert list(quick.state_dict()) == list(plain.state_dict())
    quick = copy.deepcopy(quick)  # as a moving average is made
    films = torch.randn(2, 3, 64, 64)
    for module in (plain, quick):
        module(films)[-1].mean().backward()
    compared = 0
    for (name, own), other in zip(plain.named_parameters(), quick.parameters(), strict=True):
        if own.grad is not None:
            torch.testing.assert_close(other.grad, own.grad, rtol=1e-3, atol=1e-6, msg=name)
            compared += 1
    assert compared > 100


def test_encoders_that_pad_by_the_films_size_still_run():
    module = build_module(NetworkSpec(architecture="Unet", encoder="tu-tf_efficientnet_b0"))
    quicken_depthwise(module)
    mask, score = module(torch.randn(2, 3, 64, 64))
    (mask.mean() + score.mean()).backward()


def test_other_convolutions_are_left_alone():
    parts = [
        nn.Conv2d(4, 4, 3, groups=2, bias=False),
        nn.Conv2d(4, 8, 3, groups=4, bias=False),
        nn.Conv2d(4, 4, 7, groups=4, bias=False),
        nn.Conv2d(4, 4, 3, groups=4),
        nn.Conv2d(4, 4, 3, groups=4, bias=False, dilation=2),
        nn.Conv2d(4, 4, 3, groups=4, bias=False, padding="same"),
    ]
    module = nn.ModuleList(parts)
    quicken_depthwise(module)
    assert all("forward" not in vars(part) for part in parts)

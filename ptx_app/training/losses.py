"""Losses by name. Each takes mask logits and truth (N, 1, S, S) and returns one number per film, (N,)."""

from functools import partial
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from ptx_app.training.configuration import LossSection


class MaskLoss(Protocol):
    """A loss of mask logits against the truth."""

    def __call__(self, logits: Tensor, truth: Tensor, bce: float = 1.0) -> Tensor:
        """(N,) of (N, 1, S, S). `bce`: weight of binary cross-entropy next to the other part."""
        ...


_SMOOTH = 1.0  # pixels; keeps an empty prediction's gradient finite


def bce_loss(logits: Tensor, truth: Tensor) -> Tensor:
    """Binary cross-entropy, mean over the pixels of a film."""
    return binary_cross_entropy_with_logits(logits, truth, reduction="none").mean((1, 2, 3))


def dice_loss(logits: Tensor, truth: Tensor) -> Tensor:
    """1 - soft Dice of a film; 0 if the truth is empty, because Dice is then meaningless.

    The overlap is the lesser of both in each pixel: for a binary truth their product, and for a soft one lowest where
    the map equals it (Wang et al., Dice Semimetric Losses, MICCAI 2023).
    """
    probability = logits.sigmoid()
    overlap = torch.minimum(probability, truth).sum((1, 2, 3))
    area, true_area = probability.sum((1, 2, 3)), truth.sum((1, 2, 3))
    return (1 - (2 * overlap + _SMOOTH) / (area + true_area + _SMOOTH)) * (true_area > 0)


def focal_tversky_loss(logits: Tensor, truth: Tensor, miss: float = 0.7, exponent: float = 0.75) -> Tensor:
    """(1 - Tversky index) ** exponent, 0 if the truth is empty (Abraham and Khan 2019).

    Args:
        logits, truth: (N, 1, S, S).
        miss: weight of missed pixels; false positive pixels weigh 1 - miss.
        exponent: below 1, films with a high index get a steeper gradient.
    """
    probability = logits.sigmoid()
    overlap = (probability * truth).sum((1, 2, 3))
    missed = ((1 - probability) * truth).sum((1, 2, 3))
    false = (probability * (1 - truth)).sum((1, 2, 3))
    index = (overlap + _SMOOTH) / (overlap + miss * missed + (1 - miss) * false + _SMOOTH)
    # The slope of the power is infinite at a perfect overlap.
    return (1 - index).clamp(min=1e-6).pow(exponent) * (truth.sum((1, 2, 3)) > 0)


MASK_LOSSES: dict[str, MaskLoss] = {
    "bce": lambda logits, truth, bce=1.0: bce * bce_loss(logits, truth),
    "bce+dice": lambda logits, truth, bce=1.0: bce * bce_loss(logits, truth) + dice_loss(logits, truth),
    "focal-tversky+bce": lambda logits, truth, bce=1.0: (
        bce * bce_loss(logits, truth) + focal_tversky_loss(logits, truth)
    ),
}


def total_loss(
    mask_loss: MaskLoss,
    image_weight: float,
    mask_logits: Tensor,
    image_logits: Tensor,
    mask: Tensor,
    mask_weight: Tensor,
    label: Tensor,
) -> Tensor:
    """The loss of a batch: the mask loss, weighted film by film, plus the image-level loss of all films.

    Args:
        mask_loss: one of `MASK_LOSSES`.
        image_weight: weight of the image-level binary cross-entropy.
        mask_logits, mask: (N, 1, S, S).
        image_logits: (N, 1).
        mask_weight, label: (N,); a film with mask weight 0 trains only the image-level head.

    Returns:
        () float32.
    """
    masks = (mask_loss(mask_logits.float(), mask) * mask_weight).mean()
    if not image_weight:
        return masks
    return masks + image_weight * binary_cross_entropy_with_logits(image_logits.float().squeeze(1), label)


class Objective(nn.Module):
    """A network and its loss in one, so that what depends on the loss, and what does not, can be seen from outside."""

    def __init__(self, network: nn.Module, section: LossSection, precision: torch.dtype | None) -> None:
        """`precision`: dtype of automatic mixed precision, or None."""
        super().__init__()
        self.network = network
        self._masks = partial(MASK_LOSSES[section.mask], bce=section.bce)
        self._image_weight, self._precision = section.image, precision

    def forward(self, films: Tensor, mask: Tensor, mask_weight: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        """The loss () of films (N, C, S, S), as `total_loss`, and their mask logits (N, 1, S, S) without gradients."""
        with torch.autocast(films.device.type, self._precision, enabled=self._precision is not None):
            mask_logits, image_logits = self.network(films)
        loss = total_loss(self._masks, self._image_weight, mask_logits, image_logits, mask, mask_weight, label)
        return loss, mask_logits.detach()

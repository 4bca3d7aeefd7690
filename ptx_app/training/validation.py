"""Quick validation of a run on its held-out films, at the network's own side."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from ptx_app.data.index import LabelledFilm
from ptx_app.data.store import FilmStore, as_pixels, resize_mask
from ptx_app.evaluation.metrics import auc, dice, iou
from ptx_app.inference.prepare import prepare
from ptx_app.model.manifest import InputSpec

_MASK_THRESHOLDS = (0.2, 0.3, 0.4, 0.5, 0.6)


@dataclass(frozen=True)
class Validation:
    """Figures on held-out films: mean Dice and IoU of positive films at the best of `_MASK_THRESHOLDS`, and AUC."""

    dice: float
    iou: float
    mask_threshold: float
    auc: float


def validate(
    module: nn.Module,
    films: Sequence[LabelledFilm],
    store: FilmStore,
    spec: InputSpec,
    device: torch.device,
    precision: torch.dtype | None,
    batch: int = 4,
) -> Validation:
    """Run a network on held-out films. `precision`: dtype of automatic mixed precision, or None."""
    module.eval()
    scores: list[float] = []
    overlaps: list[list[tuple[float, float]]] = []
    for start in range(0, len(films), batch):
        part = films[start : start + batch]
        inputs = torch.from_numpy(np.stack([prepare(as_pixels(store.film(film)), spec) for film in part]))
        inputs = inputs.to(device, memory_format=torch.channels_last)
        with torch.inference_mode(), torch.autocast(device.type, precision, enabled=precision is not None):
            mask_logits, image_logits = module(inputs)
        probabilities = mask_logits[:, 0].float().sigmoid().cpu().numpy()
        scores += image_logits[:, 0].float().cpu().tolist()
        for film, probability in zip(part, probabilities, strict=True):
            if film.positive:
                truth = resize_mask(store.mask(film), spec.side).astype(bool)
                overlaps.append(
                    [(dice(probability >= e, truth), iou(probability >= e, truth)) for e in _MASK_THRESHOLDS]
                )
    means = np.asarray(overlaps).mean(0)
    best = int(means[:, 0].argmax())
    area = auc(np.asarray(scores), np.asarray([film.positive for film in films]))
    return Validation(float(means[best, 0]), float(means[best, 1]), _MASK_THRESHOLDS[best], area)

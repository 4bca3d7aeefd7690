"""Masks drawn by a teacher, a model trained before, on positive films without a mask.

The simplest form of self-training (Xie et al., Self-training with Noisy Student, CVPR 2020): one teacher, hard masks.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from ptx_app.data.index import LabelledFilm, MaskKind
from ptx_app.data.store import STORED_SIDE, Picture, as_pixels, read_grey
from ptx_app.inference.decide import Thresholds
from ptx_app.model.manifest import load_manifest
from ptx_app.pipeline import Detector
from ptx_app.weights.fetch import locate, select
from ptx_app.weights.load import load_network


def with_drawn_masks(films: Sequence[LabelledFilm], teacher: str, cache: Path) -> list[LabelledFilm]:
    """The films, where those with only an image-level label get the teacher's mask, if it draws one.

    Args:
        films: of a run, in order.
        teacher: name of weights in the manifest. Flip averaging is used whatever the entry says.
        cache: folder for the masks, so that a teacher draws each mask only once.

    Raises:
        WeightsError: as `select`, `locate` and `load_network`.
        SettingsError: FILM_UNREADABLE.
    """
    weights, sources = select(load_manifest(), teacher)
    file = locate(weights, given=sources)
    folder = cache / f"masks-of-{weights.name}-{weights.sha256[:16]}"
    bare = [film for film in films if not film.mask_known]
    drawn = folder / "confidences.json"
    confidences = json.loads(drawn.read_text(encoding="utf-8")) if drawn.exists() else {}
    undrawn = [film for film in bare if film.image_id not in confidences]
    if undrawn:
        folder.mkdir(parents=True, exist_ok=True)
        averaged = weights.model_copy(update={"flip_averaging": True})
        confidences |= _draw(Detector.around(averaged, load_network(averaged, file)), undrawn, folder)
        drawn.write_text(json.dumps(confidences, indent=1), encoding="utf-8")
    return [_taught(film, confidences.get(film.image_id, 0.0), folder) for film in films]


def teacher_mask(detector: Detector, film: Picture) -> tuple[Picture, float]:
    """The teacher's mask (512, 512) uint8 in {0, 255} of a positive film (H, W) uint8, whatever its score.

    The second value is the teacher's confidence: the mean probability inside the mask, in [0, 1]; 0 if it is empty.
    """
    point = detector.weights.operating_point()
    prediction = detector.predict_film(as_pixels(film), (STORED_SIDE, STORED_SIDE))
    thresholds = Thresholds(0.0, point.mask_threshold, point.smallest_region)
    mask = detector.decide(prediction, (STORED_SIDE, STORED_SIDE), thresholds).mask
    spread = prediction.over_picture((STORED_SIDE, STORED_SIDE))
    probability = cv2.resize(spread, (STORED_SIDE, STORED_SIDE), interpolation=cv2.INTER_LINEAR)
    confidence = float(probability[mask].mean()) if mask.any() else 0.0
    return mask.astype(np.uint8) * np.uint8(255), confidence


def _draw(detector: Detector, films: Sequence[LabelledFilm], folder: Path) -> dict[str, float]:
    confidences = {}
    for film in tqdm(films, f"masks of {detector.weights.name}", unit="film"):
        mask, confidence = teacher_mask(detector, read_grey(film.image))
        if confidence:
            cv2.imwrite(str(folder / f"{film.image_id}.png"), mask)
        confidences[film.image_id] = round(confidence, 4)
    return confidences


def _taught(film: LabelledFilm, confidence: float, folder: Path) -> LabelledFilm:
    if film.mask_known or not confidence:
        return film
    mask = folder / f"{film.image_id}.png"
    return replace(film, mask_kind=MaskKind.TEACHER, mask=mask, mask_confidence=confidence)

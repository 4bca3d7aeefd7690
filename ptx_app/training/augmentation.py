"""Augmentation: the same chest with other positions, exposures and image quality."""

import string
from collections.abc import Sequence
from typing import Literal

import albumentations
import cv2
import numpy as np
from numpy.typing import NDArray

Strength = Literal["none", "geometric", "all"]


class Augmentation:
    """Random changes of a film and its mask, reproducible from a seed."""

    def __init__(self, strength: Strength) -> None:
        """Args: strength: "none", "geometric" (where things are), or "all" (also how they look)."""
        steps = [] if strength == "none" else _geometric()
        if strength == "all":
            steps += _photometric()
        self._steps = albumentations.Compose(steps)

    def __call__(
        self, pixels: NDArray[np.uint8], maps: Sequence[NDArray[np.uint8]], seed: int
    ) -> tuple[NDArray[np.uint8], list[NDArray[np.uint8]]]:
        """Apply the same changes to a film (H, W) uint8 and to maps of it, (H, W) uint8, interpolated linearly."""
        self._steps.set_random_seed(seed)
        changed = self._steps(image=pixels, masks=list(maps))
        return changed["image"], list(changed["masks"])


def _geometric() -> list[albumentations.BasicTransform | albumentations.BaseCompose]:
    a = albumentations
    return [
        a.HorizontalFlip(p=0.5),
        a.Affine(
            scale=(0.85, 1.2),
            translate_percent=(-0.08, 0.08),
            rotate=(-15, 15),
            shear=(-4, 4),
            interpolation=cv2.INTER_LINEAR,
            mask_interpolation=cv2.INTER_LINEAR,
            p=0.8,
        ),
        a.OneOf(
            [
                a.ElasticTransform(alpha=60, sigma=12, approximate=True, mask_interpolation=cv2.INTER_LINEAR),
                a.GridDistortion(num_steps=5, distort_limit=0.2, mask_interpolation=cv2.INTER_LINEAR),
            ],
            p=0.2,
        ),
    ]


def _photometric() -> list[albumentations.BasicTransform | albumentations.BaseCompose]:
    a = albumentations
    return [
        a.OneOf(
            [
                a.RandomBrightnessContrast(brightness_limit=0.2, contrast_limit=0.3),
                a.RandomGamma(gamma_limit=(60, 160)),
                a.RandomToneCurve(scale=0.25),
                a.CLAHE(clip_limit=(1.0, 3.0), tile_grid_size=(8, 8)),
            ],
            p=0.65,
        ),
        # Other detectors, screenshots, and films that were reduced, enlarged or compressed on their way.
        a.OneOf(
            [
                a.GaussNoise(std_range=(0.01, 0.1), p=1.0),
                a.GaussianBlur(blur_limit=0, sigma_limit=(0.5, 3.0), p=1.0),
                a.Downscale(scale_range=(0.35, 0.8), interpolation_pair=_REDUCED),
                a.ImageCompression(quality_range=(15, 90)),
            ],
            p=0.5,
        ),
        a.OneOf(
            [
                a.CropAndPad(percent=(0.0, 0.1), fill=shade, mask_interpolation=cv2.INTER_LINEAR)
                for shade in (0, 0, 128, 255)
            ],
            p=0.08,
        ),
        Writing(p=0.12),
        # Tubes, labels and clips also hide parts of a chest. The mask is not changed.
        a.CoarseDropout(num_holes_range=(1, 3), hole_height_range=(0.03, 0.08), hole_width_range=(0.03, 0.08), p=0.1),
    ]


_REDUCED: dict[str, int] = {"downscale": cv2.INTER_AREA, "upscale": cv2.INTER_LINEAR}


class Writing(albumentations.ImageOnlyTransform):  # type: ignore[misc]
    """Burned-in letters and digits, as side markers and the captions of a screenshot. The mask is not changed."""

    def apply(self, img: NDArray[np.uint8], **_: object) -> NDArray[np.uint8]:
        """Write one to four lines on a film (H, W) uint8."""
        chance = self.py_random
        written = img.copy()
        height, width = img.shape[:2]
        for _line in range(chance.randint(1, 4)):
            text = "".join(chance.choices(string.ascii_uppercase + string.digits + " /:.-", k=chance.randint(1, 14)))
            place = (round(chance.uniform(0, 0.9) * width), round(chance.uniform(0.05, 1) * height))
            size, bold = chance.uniform(0.4, 1.3) * width / 512, chance.randint(1, 2)
            cv2.putText(written, text, place, cv2.FONT_HERSHEY_SIMPLEX, size, chance.choice((0, 255, 220)), bold)
        return written

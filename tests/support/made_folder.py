"""A prepared folder of synthetic films: noise, and on positive ones a bright ellipse covered by the mask."""

import csv
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ptx_app.data.index import INDEX_COLUMNS
from ptx_app.training.configuration import Configuration, parse_configuration

STORED_SIDE = 128


def film_and_mask(number: int, positive: bool, side: int = STORED_SIDE) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """A film and its mask, both (side, side) uint8, the mask in {0, 255}."""
    chance = np.random.default_rng(number)
    film = chance.integers(40, 90, (side, side)).astype(np.uint8)
    mask = np.zeros((side, side), np.uint8)
    if positive:
        centre = tuple(int(value) for value in chance.integers(side // 4, 3 * side // 4, 2))
        cv2.ellipse(mask, centre, (side // 6, side // 4), 0, 0, 360, 255, -1)
        film[mask > 0] += np.uint8(120)
    return film, mask


def row(name: str, **values: str) -> dict[str, str]:
    """A row of index.csv, by default of an expert-labelled negative training film."""
    usual = {"split": "train", "label": "0", "mask_kind": "expert", "patient_id": f"p-{name}", "view": "PA"}
    return dict.fromkeys(INDEX_COLUMNS, "") | usual | {"image_id": name, "image": f"{name}.png"} | values


def write_index(folder: Path, rows: Sequence[dict[str, str]]) -> Path:
    with (folder / "index.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, INDEX_COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    return folder


def prepared_folder(folder: Path, train: int = 24, validation: int = 8) -> Path:
    """Half of the films are positive. Every sixth positive training film has only an image-level label."""
    rows = []
    for number in range(train + validation):
        positive, split = number % 2 == 0, "train" if number < train else "val"
        label_only = positive and split == "train" and number % 12 == 10
        film, mask = film_and_mask(number, positive)
        name = f"film-{number}"
        cv2.imwrite(str(folder / f"{name}.png"), film)
        values = {"split": split, "label": str(int(positive)), "view": "AP" if number % 3 else "PA"}
        if label_only:
            values["mask_kind"] = "image-label-only"
        elif positive:
            cv2.imwrite(str(folder / f"{name}-mask.png"), mask)
            values["mask"] = f"{name}-mask.png"
        rows.append(row(name, **values))
    return write_index(folder, rows)


def configuration(**sections: object) -> Configuration:
    """A run of a small network that takes seconds."""
    usual = {
        "name": "tiny",
        "title": "A tiny network",
        "provenance": "Made films.",
        "network": {"encoder": "mobilenet_v2"},
        "input": {"side": 64},
        "data": {"held_out_positives": 4, "held_out_negatives": 4, "augmentation": "none"},
        "optimizer": {"learning_rate": 3e-3},
        "schedule": {"films": 160},
        "training": {"precision": "fp32", "validate_every": 80},
    }
    return parse_configuration(usual | sections)


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.mkdir(parents=True)
    prepared_folder(target)

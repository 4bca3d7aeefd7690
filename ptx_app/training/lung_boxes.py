"""Where the lungs are on the films of a run whose input is cropped to them."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from tqdm import tqdm

from ptx_app.data.index import LabelledFilm
from ptx_app.data.store import STORED_SIDE, as_pixels, read_grey
from ptx_app.film.radiograph import Box
from ptx_app.inference.lungs import lung_box
from ptx_app.pipeline import LungFinder, lung_fields


def lung_boxes(films: Sequence[LabelledFilm], cache: Path) -> dict[str, Box]:
    """The part of each film's (512, 512) px that the network is shown, by name, as `lung_box` has it.

    Args:
        films: of a prepared folder.
        cache: folder for the boxes, so that each film is outlined only once.

    Raises:
        SettingsError: FILM_UNREADABLE.
        WeightsError: as `LungFinder.load`.
    """
    entry = lung_fields()
    file = cache / f"boxes-of-{entry.name}-{entry.sha256[:16]}.json"
    known = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    boxes = {name: Box(**box) for name, box in known.items()}
    missing = [film for film in films if film.image_id not in boxes]
    if missing:
        finder = LungFinder.load()
        for film in tqdm(missing, "lungs", unit="film"):
            lungs = finder.find(as_pixels(read_grey(film.image)))
            boxes[film.image_id] = lung_box(lungs, (STORED_SIDE, STORED_SIDE))
        cache.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps({name: asdict(box) for name, box in boxes.items()}), encoding="utf-8")
    return boxes

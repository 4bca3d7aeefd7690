"""The films of a run, decoded once."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from ptx_app.data.index import LabelledFilm
from ptx_app.data.store import FilmStore
from ptx_app.training.configuration import Configuration
from ptx_app.training.dataset import training_films
from ptx_app.training.lung_boxes import lung_boxes


@dataclass(frozen=True)
class GatheredFilms:
    """What a run trains on.

    Attributes:
        films, held_out: to train on, and to validate on.
        store: of both.
    """

    films: list[LabelledFilm]
    held_out: list[LabelledFilm]
    store: FilmStore


def gather_films(configuration: Configuration, data: Path, runs: Path, also: Sequence[Path] = ()) -> GatheredFilms:
    """Gather the films of a run. What takes long is kept in the cache of `runs`.

    Args:
        configuration: of the run.
        data: prepared folder of films.
        runs: folder of runs.
        also: more prepared folders.

    Raises:
        SettingsError: as `training_films` and `FilmStore`.
        WeightsError: as `lung_boxes`.
    """
    cache = runs / "cache"
    cache.mkdir(parents=True, exist_ok=True)
    films, held_out = training_films(configuration, data, also)
    with FileLock(cache / "lock"):  # of several processes one makes the cache, and the others find it made
        boxes = lung_boxes([*films, *held_out], cache) if configuration.input.fit == "lungs" else {}
        store = FilmStore([*films, *held_out], cache, boxes)
    return GatheredFilms(films, held_out, store)

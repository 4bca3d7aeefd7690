"""The films of a run, with all that other models draw on them, decoded once."""

from collections.abc import Sequence
from pathlib import Path

from filelock import FileLock

from ptx_app.data.index import LabelledFilm
from ptx_app.data.store import FilmStore
from ptx_app.training.configuration import Configuration
from ptx_app.training.dataset import training_films
from ptx_app.training.lung_boxes import lung_boxes
from ptx_app.training.self_training import with_drawn_masks


def gather_films(
    configuration: Configuration, data: Path, runs: Path, also: Sequence[Path] = ()
) -> tuple[list[LabelledFilm], list[LabelledFilm], FilmStore]:
    """The films to train on, those held out, and the store of both. What takes long is kept in the cache of `runs`.

    Args:
        configuration: of the run.
        data: prepared folder of films.
        runs: folder of runs.
        also: more prepared folders.

    Raises:
        SettingsError: as `training_films` and `FilmStore`.
        WeightsError: as `with_drawn_masks` and `lung_boxes`.
    """
    cache = runs / "cache"
    cache.mkdir(parents=True, exist_ok=True)
    films, held_out = training_films(configuration, data, also)
    with FileLock(cache / "lock"):  # of several processes one makes the cache, and the others find it made
        if configuration.data.teacher is not None:
            films = with_drawn_masks(films, configuration.data.teacher, cache)
        boxes = lung_boxes([*films, *held_out], cache) if configuration.input.fit == "lungs" else {}
        return films, held_out, FilmStore([*films, *held_out], cache, boxes)

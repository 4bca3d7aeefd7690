"""From a film on disk to a training sample, with the app's own `prepare`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from ptx_app.data.index import LabelledFilm, MaskKind, check_patients, excluded_films, read_index
from ptx_app.data.lungs import fold, read_lung_index
from ptx_app.data.split import hold_out
from ptx_app.data.store import FilmStore, as_pixels, resize_mask
from ptx_app.errors import SettingsError
from ptx_app.inference.prepare import prepare
from ptx_app.model.manifest import InputSpec
from ptx_app.training.augmentation import Augmentation
from ptx_app.training.configuration import Configuration
from ptx_app.training.sampler import Draw

_HALF = 128  # of a pixel, in 255


def training_films(
    configuration: Configuration, data: Path, also: Sequence[Path] = ()
) -> tuple[list[LabelledFilm], list[LabelledFilm]]:
    """The films of a prepared folder to train on and those to hold out, as `hold_out` returns them.

    Excluded films are in neither list. With `data.lung_fold`, these are the films with lung masks, as `fold` has them.

    Args:
        configuration: of the run.
        data: the prepared folder.
        also: more of them, such as readers' answers.

    Raises:
        SettingsError: as `read_index` and `hold_out`, or FILM_IN_TWO_FOLDERS.
    """
    section, excluded = configuration.data, excluded_films()
    if section.lung_fold is not None:
        return fold(read_lung_index(data), *section.lung_fold)
    known = [film for folder in (data, *also) for film in read_index(folder)]
    if len({film.image_id for film in known}) < len(known):
        raise SettingsError("FILM_IN_TWO_FOLDERS", "A film is in more than one of the folders. Leave one of them out.")
    check_patients(known)
    films = [film for film in known if film.split == "train" and film.image_id not in excluded]
    return hold_out(
        films, section.held_out_positives, section.held_out_negatives, section.split_seed, section.most_a_patient
    )


class TrainingExample(TypedDict):
    """One film, or a batch of N with a leading axis.

    Attributes:
        films: (channels, side, side) float32, as `prepare` returns it, by side: the run's, and each teacher's.
        mask: (1, side, side) float32 in {0, 1}, at the run's side.
        mask_weight: () float32, weight in the mask loss; 0 if the mask is not known.
        label: () float32, 1 = pneumothorax.
        position: () int64, index of the film in the list of films.
    """

    films: dict[int, torch.Tensor]
    mask: torch.Tensor
    mask_weight: torch.Tensor
    label: torch.Tensor
    position: torch.Tensor


class FilmDataset(Dataset[TrainingExample]):
    """Augmented and prepared films, indexed by `Draw`."""

    def __init__(
        self,
        films: Sequence[LabelledFilm],
        store: FilmStore,
        spec: InputSpec,
        augmentation: Augmentation,
        mask_weights: Mapping[MaskKind, float],
        sides: Sequence[int] = (),
    ) -> None:
        """Args:
        films, store: the films, and where their pictures are.
        spec: the run's input.
        augmentation: of films and masks.
        mask_weights: weight in the mask loss by kind of mask; multiplied by the mask's confidence.
        sides: to prepare films at, besides the draw's.
        """
        self._sides = tuple(sides)
        self._films, self._store, self._spec = films, store, spec
        self._augmentation, self._mask_weights = augmentation, mask_weights

    def __getitem__(self, draw: Draw) -> TrainingExample:
        film = self._films[draw.film]
        pixels, (mask,) = self._augmentation(
            self._store.film(film), [self._store.mask(film) * np.uint8(255)], draw.seed
        )
        shown = as_pixels(pixels)
        return TrainingExample(
            films={side: self._prepared(shown, side) for side in {draw.side, *self._sides}},
            mask=torch.from_numpy(resize_mask((mask >= _HALF).astype(np.uint8), draw.side)[None].astype(np.float32)),
            mask_weight=torch.tensor(self._mask_weight(film), dtype=torch.float32),
            label=torch.tensor(float(film.positive)),
            position=torch.tensor(draw.film),
        )

    def _prepared(self, shown: NDArray[np.float32], side: int) -> torch.Tensor:
        return torch.from_numpy(prepare(shown, self._spec.model_copy(update={"side": side})))

    def _mask_weight(self, film: LabelledFilm) -> float:
        return self._mask_weights.get(film.mask_kind, 1.0) * film.mask_confidence if film.mask_known else 0.0

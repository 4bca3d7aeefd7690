"""From a film on disk to a training sample, with the app's own `prepare`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypedDict

import cv2
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
from ptx_app.training.teachers import TeacherMaps

_HALF = 128  # of a pixel, in 255
_SURE = 0.5


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
        film: (channels, side, side) float32, as `prepare` returns it.
        mask: (1, side, side) float32 in [0, 1]; between 0 and 1 only where teachers draw.
        mask_weight: () float32, weight in the mask loss; 0 if the mask is not known, by teachers neither.
        label: () float32, 1 = pneumothorax.
        position: () int64, index of the film in the list of films.
    """

    film: torch.Tensor
    mask: torch.Tensor
    mask_weight: torch.Tensor
    label: torch.Tensor
    position: torch.Tensor


class FilmDataset(Dataset[TrainingExample]):
    """Augmented and prepared films, indexed by `Draw`.

    With teachers, a positive film's mask is the mean of its own, if it is known, and the teachers' map. The teachers
    get their share, and of the rest as much as the mask's weight is below 1.
    """

    def __init__(
        self,
        films: Sequence[LabelledFilm],
        store: FilmStore,
        spec: InputSpec,
        augmentation: Augmentation,
        mask_weights: Mapping[MaskKind, float],
        teachers: TeacherMaps | None = None,
        teachers_share: float = 0.5,
    ) -> None:
        """`mask_weights`: weight in the mask loss by kind of mask; multiplied by the mask's confidence."""
        self._teachers, self._teachers_share = teachers, teachers_share
        self._films, self._store, self._spec = films, store, spec
        self._augmentation, self._mask_weights = augmentation, mask_weights

    def __getitem__(self, draw: Draw) -> TrainingExample:
        film = self._films[draw.film]
        mask, weight = self._store.mask(film) * np.uint8(255), self._mask_weight(film)
        maps = [mask]
        if self._teachers is not None and film.positive:
            maps.append(self._teachers.of(film, mask.shape))
        pixels, (mask, *drawn) = self._augmentation(self._store.film(film), maps, draw.seed)
        prepared = prepare(as_pixels(pixels), self._spec.model_copy(update={"side": draw.side}))
        target = resize_mask((mask >= _HALF).astype(np.uint8), draw.side).astype(np.float32)
        if drawn:
            target, weight = self._mixed(target, weight, as_pixels(drawn[0]))
        return TrainingExample(
            film=torch.from_numpy(prepared),
            mask=torch.from_numpy(target[None]),
            mask_weight=torch.tensor(weight, dtype=torch.float32),
            label=torch.tensor(float(film.positive)),
            position=torch.tensor(draw.film),
        )

    def _mask_weight(self, film: LabelledFilm) -> float:
        return self._mask_weights.get(film.mask_kind, 1.0) * film.mask_confidence if film.mask_known else 0.0

    def _mixed(
        self, truth: NDArray[np.float32], weight: float, drawn: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], float]:
        """Truth and the teachers' map in one, and its weight: 1, or how sure the teachers are if the truth is not
        known: their mean probability where it is at least a half.
        """
        side = len(truth)
        taught = cv2.resize(drawn, (side, side), interpolation=cv2.INTER_AREA)
        own = min(weight, 1.0) * (1 - self._teachers_share)
        sure = taught[taught >= _SURE]
        return own * truth + np.float32(1 - own) * taught, 1.0 if weight else float(sure.mean()) if sure.size else 0.0

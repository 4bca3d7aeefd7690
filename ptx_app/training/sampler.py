"""Which films a run sees and in which order: many positives at first, their natural share at the end."""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from ptx_app.data.index import LabelledFilm, MaskKind


class Draw(NamedTuple):
    """One film of a batch: index in the list of films, seed of its augmentation, side in px to prepare it at."""

    film: int
    seed: int
    side: int


class FallingShareSampler:
    """Endless batches whose share of positive films falls with the run's progress.

    Films are grouped into strata by label and mask kind. Each stratum is dealt like a pack of cards and shuffled again
    when it is used up, so no film comes twice before every film of its stratum came once. The order depends only on the
    seed and on the number of films dealt from each stratum: `dealt` is the whole state.
    """

    def __init__(
        self,
        films: Sequence[LabelledFilm],
        batch: int,
        seed: int,
        positive_share: Callable[[], float],
        side: Callable[[], int],
        draw_weights: Mapping[MaskKind, float],
        dealt: Mapping[str, int] | None = None,
        part: slice = slice(None),
    ) -> None:
        """Args:
        films: the training films.
        batch: films per batch.
        seed: seed of all random choices.
        positive_share, side: called before each batch.
        draw_weights: how often a film is dealt relative to others of its label, by mask kind.
        dealt: films dealt before, by stratum, to resume a run.
        part: which films of each batch to give; the others are dealt all the same, to other processes.
        """
        self._strata: dict[str, list[int]] = {}
        self._weights: dict[str, float] = {}
        self._shuffled: dict[str, tuple[int, list[int]]] = {}  # of each stratum, its present turn and order
        for position, film in enumerate(films):
            name = stratum(film)
            self._strata.setdefault(name, []).append(position)
            self._weights[name] = self._weights.get(name, 0.0) + draw_weights.get(film.mask_kind, 1.0)
        self._batch, self._seed, self._positive_share, self._side = batch, seed, positive_share, side
        self._part = part
        self._dealt = dict.fromkeys(sorted(self._strata), 0) | dict(dealt or {})

    def __iter__(self) -> Iterator[list[Draw]]:
        while True:
            share, side = self._positive_share(), self._side()
            yield [self._deal(share, side) for _ in range(self._batch)][self._part]

    def _deal(self, share: float, side: int) -> Draw:
        number = sum(self._dealt.values())
        chance = random.Random(f"{self._seed}/{number}")  # noqa: S311  (a draw, no secret)
        label = "positive" if chance.random() < share else "negative"
        names = [name for name in sorted(self._strata) if name.startswith(label)] or sorted(self._strata)
        name = chance.choices(names, [self._weights[name] for name in names])[0]
        pack = self._strata[name]
        turn, place = divmod(self._dealt[name], len(pack))
        if self._shuffled.get(name, (-1, []))[0] != turn:
            order = random.Random(f"{self._seed}/{name}/{turn}").sample(pack, len(pack))  # noqa: S311
            self._shuffled[name] = turn, order
        self._dealt[name] += 1
        return Draw(self._shuffled[name][1][place], chance.getrandbits(31), side)


def stratum(film: LabelledFilm) -> str:
    """The name of a film's stratum."""
    return f"{'positive' if film.positive else 'negative'} {film.mask_kind}"

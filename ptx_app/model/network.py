"""What inference needs from a network, whatever computes it: numpy in, numpy out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class NetworkOutput:
    """Raw outputs for N films.

    Attributes:
        mask_logits: (N, S, S) float32.
        score_logits: (N,) float32.
        activation: (N, s, s) float32, what each place adds to the score, or None if the network does not tell; see
            `with_activation` of the torch networks.
    """

    mask_logits: NDArray[np.float32]
    score_logits: NDArray[np.float32]
    activation: NDArray[np.float32] | None = None


def output_of(films: Sequence[Sequence[NDArray[np.float32]]]) -> NetworkOutput:
    """The output for N films of an exported network, from what it returns for each: (1, 1, S, S), (1, 1) and, if it was
    exported with it, (1, 1, s, s).
    """
    mask, score, *more = (np.concatenate(parts) for parts in zip(*films, strict=True))
    return NetworkOutput(mask[:, 0], score[:, 0], more[0][:, 0] if more else None)


class Network(Protocol):
    """What inference needs from a network: numpy in, numpy out. `engine` says in words what computes it."""

    engine: str

    def __call__(self, batch: NDArray[np.float32]) -> NetworkOutput:
        """Run (N, channels, S, S) float32 through the network."""

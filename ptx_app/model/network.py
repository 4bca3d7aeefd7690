"""What inference needs from a network, whatever computes it: numpy in, numpy out."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class NetworkOutput:
    """Raw outputs for N films: `mask_logits` (N, S, S) float32 and `score_logits` (N,) float32."""

    mask_logits: NDArray[np.float32]
    score_logits: NDArray[np.float32]


class Network(Protocol):
    """What inference needs from a network: numpy in, numpy out. `engine` says in words what computes it."""

    engine: str

    def __call__(self, batch: NDArray[np.float32]) -> NetworkOutput:
        """Run (N, channels, S, S) float32 through the network."""

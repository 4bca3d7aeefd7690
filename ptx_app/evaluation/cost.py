"""The cost of a model: size, operations, time and memory for one film."""

import multiprocessing
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from ptx_app.model.manifest import Weights
from ptx_app.model.torch_network import TorchNetwork, build_module
from ptx_app.peak_memory import peak_memory
from ptx_app.pipeline import Detector

_THREADS, _TIMES = 2, 5


@dataclass(frozen=True)
class Cost:
    """Cost of one film on two cores.

    Attributes:
        parameters: number of parameters of the network.
        multiply_adds: of one pass at the network's side.
        seconds: median from pixels to probability, with flip averaging if the entry has it.
        peak_mib: peak resident memory of a process that does nothing else, in MiB.
    """

    parameters: int
    multiply_adds: int
    seconds: float
    peak_mib: float


def measure_cost(weights: Weights, file: Path) -> Cost:
    """Measure in a separate process, so that no other memory counts. Raises WeightsError as TorchNetwork."""
    module = build_module(weights.network).eval()
    spec = weights.input
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        module(torch.zeros(1, spec.channels, spec.side, spec.side))
    parameters = sum(parameter.numel() for parameter in module.parameters())
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        seconds, peak = pool.submit(_run, weights, file).result()
    return Cost(parameters, counter.get_total_flops() // 2, round(seconds, 3), round(peak, 0))


def _run(weights: Weights, file: Path) -> tuple[float, float]:
    torch.set_num_threads(_THREADS)
    detector = Detector.around(weights, TorchNetwork(weights, file, torch.device("cpu")))
    film = np.zeros((1024, 1024), np.float32)
    taken = []
    for _ in range(_TIMES + 1):
        begun = time.perf_counter()
        detector.predict_film(film)
        taken.append(time.perf_counter() - begun)
    return statistics.median(taken[1:]), peak_memory() / 2**20

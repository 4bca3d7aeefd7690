"""How long the ways from a film's bytes to its contour take, and the memory of the processes that go them.

Times differ between machines and from minute to minute. So all ways take turns in one run, and ratios of medians count.
The plain way is what a tutorial would show: pydicom's own pixels, torch in fp32 without further settings.
"""

import io
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pydicom

from ptx_app.film.check.frontal import check
from ptx_app.film.modality import ModalityValues
from ptx_app.inference.decide import Thresholds
from ptx_app.model.engine import Engine
from ptx_app.model.manifest import ROOT, Weights
from ptx_app.output.packed import PackedGreys, message
from ptx_app.output.pictures import thumbnail
from ptx_app.pipeline import Detector, required_prediction
from ptx_app.weights.load import load_network

Way = Callable[[], object]
_BUSY = 0.6
"""Load average above which times are not to be trusted."""


@dataclass(frozen=True)
class Times:
    """Seconds of one way: median, fastest and slowest of all rounds."""

    median: float
    fastest: float
    slowest: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> "Times":
        """The times of at least one round."""
        return cls(statistics.median(seconds), min(seconds), max(seconds))


def timed_in_turns(ways: Mapping[str, Way], rounds: int) -> dict[str, Times]:
    """Run each way once to warm up, then all of them in turn, `rounds` times."""
    for way in ways.values():
        way()
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            begun = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - begun)
    return {name: Times.of(taken) for name, taken in seconds.items()}


def busy() -> float | None:
    """The load average of the last minute if it is too high for times to be trusted, else None."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    return load if load > _BUSY else None


def step_ways(detector: Detector, data: bytes) -> dict[str, Way]:
    """The steps of a film in the app, each on the result of the one before."""
    radiograph = detector.read(data)
    lungs = detector.find_lungs(radiograph.film)
    prepared = detector.prepare(radiograph.pixels, radiograph.field, lungs)
    prediction = detector.predict(prepared)
    thresholds = replace(Thresholds.of(detector.weights.operating_point()), score=0.0)
    modality = radiograph.modality or ModalityValues.of_picture(radiograph.pixels)
    greys = PackedGreys.of(modality)
    sent = partial(message, "", greys, spacing=radiograph.spacing, prediction=prediction)
    return {
        "read": lambda: detector.read(data),
        "check": lambda: check(radiograph),
        **({"lungs": lambda: detector.find_lungs(radiograph.film)} if detector.lung_finder else {}),
        "prepare": lambda: detector.prepare(radiograph.pixels, radiograph.field, lungs),
        "network": lambda: detector.predict(prepared),
        "decide": lambda: detector.decide(prediction, radiograph.shape, thresholds),
        "thumbnail": lambda: thumbnail(radiograph.pixels),
        "pack": lambda: PackedGreys.of(modality),
        "message": sent,
    }


def app_way(detector: Detector, data: bytes) -> Way:
    """From bytes to what the browser draws film and contour from, as the app goes."""
    thresholds = replace(Thresholds.of(detector.weights.operating_point()), score=0.0)

    def once() -> bytes:
        examination = detector.examine(detector.read(data), overrule=True)
        film, prediction = examination.radiograph, required_prediction(examination)
        detector.decide(prediction, film.shape, thresholds)
        thumbnail(film.pixels)
        greys = PackedGreys.of(film.modality or ModalityValues.of_picture(film.pixels))
        return message("", greys, spacing=film.spacing, prediction=prediction)

    return once


def network_ways(weights: Weights, file: Path) -> dict[str, Way]:
    """The network alone on one prepared film, with its mirror image if the weights use flip averaging: plain torch
    first, then each engine that is installed.
    """
    spec = weights.input
    shape = (2 if weights.flip_averaging else 1, spec.channels, spec.side, spec.side)
    batch = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    ways: dict[str, Way] = {}
    if Engine.TORCH.installed:
        module = plain_module(weights, file)
        ways["plain torch"] = lambda: _plainly(module, batch)
    for engine in Engine:
        if engine.installed:
            network = load_network(weights, file, engine=engine)
            ways[network.engine] = lambda network=network: network(batch)  # type: ignore[misc]
    return ways


def plain_module(weights: Weights, file: Path) -> Any:  # noqa: ANN401  (torch is imported only here)
    """The torch module of weights, as a tutorial would load it."""
    from safetensors.torch import load_file

    from ptx_app.model.torch_network import build_module

    module = build_module(weights.network)
    module.load_state_dict(load_file(file))
    return module.eval()


def _plainly(module: Any, batch: np.ndarray[Any, Any]) -> Any:  # noqa: ANN401
    import torch

    with torch.no_grad():
        return module(torch.from_numpy(batch))[0]


def plain_way(weights: Weights, file: Path, data: bytes) -> Way:
    """From a DICOM file's bytes to a contour in the plain way, with as many passes as the weights ask for."""
    module, side = plain_module(weights, file), weights.input.side
    threshold = weights.operating_point().mask_threshold

    def once() -> bytes:
        dataset: Any = pydicom.dcmread(io.BytesIO(data))
        grey = dataset.pixel_array.astype(np.float32)
        grey = (grey - grey.min()) / (grey.max() - grey.min())
        small = (cv2.resize(grey, (side, side)) - weights.input.mean) / weights.input.std
        views = [small, small[:, ::-1]] if weights.flip_averaging else [small]
        batch = np.repeat(np.stack(views)[:, None], weights.input.channels, axis=1).astype(np.float32)
        maps = 1 / (1 + np.exp(-_plainly(module, batch)[:, 0].numpy()))
        maps = [maps[0], maps[1][:, ::-1]] if weights.flip_averaging else [maps[0]]
        full = cv2.resize(np.mean(maps, axis=0), grey.shape[::-1]) >= threshold
        contours, _ = cv2.findContours(full.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        picture = cv2.cvtColor((grey * 255).astype(np.uint8), cv2.COLOR_GRAY2BGR)
        cv2.drawContours(picture, contours, -1, (0, 176, 255), 2)
        return bytes(cv2.imencode(".png", picture)[1])

    return once


def cold_start(engine: Engine, weights: str) -> dict[str, float]:
    """Seconds and memory of a new process until it has loaded the network and read the example film.

    Returns:
        "loaded" and "first_film" in s since the start, and "memory" in MB: the process's own pages and its share of
        those it shares with others (PSS), where the system tells.
    """
    begun = time.time()
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-m", "ptx_app.evaluation.speed", engine.value, weights],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    told: dict[str, float] = json.loads(done.stdout)
    return told | {name: round(told[name] - begun, 2) for name in ("loaded", "first_film")}


def _memory() -> float:
    try:
        rollup = Path("/proc/self/smaps_rollup").read_text(encoding="ascii")
    except OSError:
        return float("nan")
    return int(rollup.split("\nPss:")[1].split()[0]) / 1000


def main() -> None:
    """The child of `cold_start`."""
    from ptx_app.film.examples import EXAMPLES
    from ptx_app.process import begin

    begin()
    detector = Detector.load(sys.argv[2], engine=Engine(sys.argv[1]), lungs=True)
    loaded = time.time()
    detector.detect(EXAMPLES[0].data(), overrule=True)
    told = {"loaded": loaded, "first_film": time.time(), "memory": round(_memory())}
    sys.stdout.write(json.dumps(told))


if __name__ == "__main__":
    main()

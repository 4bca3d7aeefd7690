"""ptx benchmark: from a file's bytes to a contour, next to a plain implementation, in one run on one machine.

Times differ between machines and from minute to minute. So both ways take turns, and the ratio of their medians counts.
The plain way is what a tutorial would show: pydicom's own pixels, NCHW fp32, no_grad.
"""

import argparse
import io
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pydicom
import torch
from safetensors.torch import load_file

from ptx_app.film import read_film
from ptx_app.film.examples import example_bytes
from ptx_app.film.sandbox.reader import SandboxedReader
from ptx_app.inference.decide import Thresholds
from ptx_app.model.manifest import ROOT, Weights, load_manifest
from ptx_app.model.torch_network import build_module
from ptx_app.output.packed import PackedGreys, message
from ptx_app.output.pictures import grey_picture, thumbnail
from ptx_app.pipeline import Detector, required_prediction
from ptx_app.weights.fetch import resolve

GOAL_SECONDS = 1.5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("--film", type=Path, help="a DICOM film (default: the example as a 1024 px JPEG)")
    parser.add_argument("--rounds", type=int, default=15, help="how often to time each way (default: 15)")
    parser.add_argument("--weights", help="entry of weights_manifest.json, or the file of an entry")


def run(arguments: argparse.Namespace) -> int:
    """Print the times of both ways and their ratio, and the memory of the page's process after one film."""
    data = arguments.film.read_bytes() if arguments.film else _film_1024()
    weights, path = resolve(load_manifest(), arguments.weights)
    module = _plain_module(weights, path)
    with SandboxedReader(workers=1) as reader:
        detector = Detector.of(weights, path, reader.read)
        ways = (_app_way(detector, data), _plain_way(weights, module, data))
        app, plain = _timed_in_turns(*ways, arguments.rounds)
        guarded, unguarded = _timed_in_turns(lambda: reader.read(data), lambda: read_film(data), arguments.rounds)
    fast, eager = _timed_in_turns(*_network_alone(detector, module), arguments.rounds)
    _say(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}")
    _say(f"From bytes to contour, warm, {arguments.rounds} rounds, seconds:")
    _say(f"  app    median {statistics.median(app):.3f}  worst {max(app):.3f}  (goal {GOAL_SECONDS})")
    _say(f"  plain  median {statistics.median(plain):.3f}  worst {max(plain):.3f}")
    _say(f"  ratio plain / app: {statistics.median(plain) / statistics.median(app):.2f}")
    _say(f"The network alone: app {statistics.median(fast):.3f}, plain {statistics.median(eager):.3f}")
    _say(f"  ratio plain / app: {statistics.median(eager) / statistics.median(fast):.2f}")
    _say(f"Reading alone: child process {statistics.median(guarded):.4f}, here {statistics.median(unguarded):.4f}")
    _say(_memory_of_the_page())
    return 0


def _app_way(detector: Detector, data: bytes) -> Callable[[], object]:
    thresholds = Thresholds(0.0, detector.weights.operating_point().mask_threshold, 0.0)

    def once() -> bytes:
        examination = detector.examine(detector.read(data), overrule=True)
        film = examination.radiograph
        assert film.modality is not None  # noqa: S101  (it has just been read)
        thumbnail(film.pixels)
        prediction = required_prediction(examination)
        detector.decide(prediction, film.shape, thresholds)
        # The browser draws the contour from this.
        greys = PackedGreys.of(film.modality)
        return message("", greys, field=film.field, spacing=film.spacing, prediction=prediction)

    return once


def _plain_module(weights: Weights, path: Path) -> torch.nn.Module:
    module = build_module(weights.network)
    module.load_state_dict(load_file(path))
    return module.eval()


def _network_alone(detector: Detector, module: torch.nn.Module) -> tuple[Callable[[], object], Callable[[], object]]:
    spec = detector.weights.input
    shape = (1, spec.channels, spec.side, spec.side)
    batch = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)

    def plain() -> object:
        with torch.no_grad():
            return module(torch.from_numpy(batch))

    return (lambda: detector.network(batch)), plain


def _plain_way(weights: Weights, module: torch.nn.Module, data: bytes) -> Callable[[], object]:
    side = weights.input.side

    def once() -> bytes:
        dataset: Any = pydicom.dcmread(io.BytesIO(data))
        grey = dataset.pixel_array.astype(np.float32)
        grey = (grey - grey.min()) / (grey.max() - grey.min())
        small = (cv2.resize(grey, (side, side)) - weights.input.mean) / weights.input.std
        batch = torch.from_numpy(np.repeat(small[None, None], weights.input.channels, axis=1)).float()
        with torch.no_grad():
            mask, _ = module(batch)
        probability = torch.sigmoid(mask)[0, 0].numpy()
        full = cv2.resize(probability, grey.shape[::-1]) >= weights.operating_point().mask_threshold
        contours, _ = cv2.findContours(full.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        picture = cv2.cvtColor((grey * 255).astype(np.uint8), cv2.COLOR_GRAY2BGR)
        cv2.drawContours(picture, contours, -1, (0, 176, 255), 2)
        return bytes(cv2.imencode(".png", picture)[1])

    return once


def _timed_in_turns(
    first: Callable[[], object], second: Callable[[], object], rounds: int
) -> tuple[list[float], list[float]]:
    for way in (first, second):
        way()  # warm
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for way, taken in zip((first, second), times, strict=True):
            started = time.perf_counter()
            way()
            taken.append(time.perf_counter() - started)
    return times


def _film_1024() -> bytes:
    """The example film as a 1024 px, 8-bit, JPEG Baseline DICOM, like the challenge's films."""
    pixels = cv2.resize(read_film(example_bytes()).pixels, (1024, 1024), interpolation=cv2.INTER_AREA)
    dataset: Any = pydicom.dcmread(io.BytesIO(example_bytes()))
    for keyword in ("WindowCenter", "WindowWidth", "SmallestImagePixelValue", "LargestImagePixelValue"):
        if keyword in dataset:
            delattr(dataset, keyword)
    dataset.Rows, dataset.Columns = 1024, 1024
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 8, 8, 7, 0
    dataset.PhotometricInterpretation = "MONOCHROME2"
    stream = bytes(cv2.imencode(".jpg", grey_picture(np.asarray(pixels, np.float32)))[1])
    dataset.PixelData = pydicom.encaps.encapsulate([stream + b"\0" * (len(stream) % 2)])
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.JPEGBaseline8Bit
    written = io.BytesIO()
    dataset.save_as(written)
    return written.getvalue()


def _memory_of_the_page() -> str:
    """Run the page in its own process until the example has its verdict, and return the memory that it prints."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "ptx_app.ui.page_memory"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )  # fmt: skip
    return done.stdout.strip()


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")

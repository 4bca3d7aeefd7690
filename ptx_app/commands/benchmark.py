"""ptx benchmark: from a file's bytes to a contour, next to a plain implementation, in one run on one machine."""

import argparse
import io
import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import ComputedRadiographyImageStorage, JPEGBaseline8Bit, generate_uid

from ptx_app.evaluation import speed
from ptx_app.evaluation.speed import Times
from ptx_app.film import read_film
from ptx_app.film.examples import EXAMPLES
from ptx_app.film.files import bytes_of, walk
from ptx_app.film.radiograph import grey_picture
from ptx_app.film.sandbox.reader import SandboxedReader
from ptx_app.model.engine import Engine
from ptx_app.model.manifest import ROOT, load_manifest
from ptx_app.pipeline import Detector
from ptx_app.weights.fetch import locate, select


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    parser.add_argument("films", type=Path, nargs="*", help="DICOM files or folders (default: the example at 1024 px)")
    parser.add_argument("--rounds", type=int, default=11, help="how often to time each way (default: 11)")
    parser.add_argument("--weights", help="entry of weights_manifest.json, or the file of an entry")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write all figures as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Print the times of all ways, their ratios, and memory."""
    load = speed.busy()
    if load is not None:
        _say(f"The machine is busy (load average {load:.1f}): trust the ratios, not the seconds.")
    weights, sources = select(load_manifest(), arguments.weights)
    file = locate(weights, given=sources)
    films = [bytes_of(file) for file in walk(arguments.films)] or [_film_1024()]
    with SandboxedReader(processes=1) as reader:
        detector = replace(Detector.load(arguments.weights, lungs=True), read=reader.read)
        steps = [speed.timed_in_turns(speed.step_ways(detector, film), arguments.rounds) for film in films]
        whole = {"app": speed.app_way(detector, films[0])}
        if Engine.TORCH.installed:
            whole["plain torch"] = speed.plain_way(weights, file, films[0])
        ways = speed.timed_in_turns(whole, arguments.rounds)
    networks = speed.timed_in_turns(speed.network_ways(weights, file), arguments.rounds)
    cold = {engine.value: speed.cold_start(engine, weights.name) for engine in Engine if engine.installed}
    document: dict[str, Any] = {
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
        "load_average_at_start": load or 0.0,
        "weights": weights.name,
        "sha256": weights.sha256,
        "rounds": arguments.rounds,
        "bytes_to_contour": _plain(ways),
        "network": _plain(networks),
        "steps": [_plain(each) for each in steps],
        "new_process": cold,
        "page": _memory_of_the_page(),
    }
    if arguments.json:
        arguments.json.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    _say(f"{document['machine']}; {weights.name}; {arguments.rounds} rounds")
    _say("From bytes to contour, warm:")
    _table(ways)
    _say(f"The network on {'a film and its mirror image' if weights.flip_averaging else 'a film'}:")
    _table(networks)
    for number, each in enumerate(steps, 1):
        _say(f"Steps of film {number}:")
        _table(each)
    _say("A new process:")
    for name, told in cold.items():
        _say(
            f"  {name:24} loaded {told['loaded']:.1f} s, first film {told['first_film']:.1f} s, {told['memory']:.0f} MB"
        )
    _say(document["page"])
    return 0


def _plain(times: Mapping[str, Times]) -> dict[str, Any]:
    return {name: {key: round(value, 5) for key, value in asdict(each).items()} for name, each in times.items()}


def _table(times: Mapping[str, Times]) -> None:
    """One line for each way, with its ratio to the plain one if that is among them."""
    plain = times.get("plain torch")
    for name, each in times.items():
        ratio = f"   {plain.median / each.median:.2f} times as fast as plain" if plain and each is not plain else ""
        _say(f"  {name:24} {each.median:.4f} s ({each.fastest:.4f} to {each.slowest:.4f}){ratio}")


def _film_1024() -> bytes:
    """The first example as a 1024 px, 8-bit, JPEG Baseline DICOM, like the challenge's films."""
    pixels = cv2.resize(EXAMPLES[0].load(read_film).pixels, (1024, 1024), interpolation=cv2.INTER_LINEAR)
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = JPEGBaseline8Bit
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = ComputedRadiographyImageStorage, generate_uid()
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID, dataset.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    dataset.Modality, dataset.BodyPartExamined, dataset.ViewPosition = "CR", "CHEST", "PA"
    dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = 1024, 1024, 1
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 8, 8, 7, 0
    dataset.PhotometricInterpretation = "MONOCHROME2"
    stream = bytes(cv2.imencode(".jpg", grey_picture(np.asarray(pixels, np.float32)))[1])
    dataset.PixelData = encapsulate([stream + b"\0" * (len(stream) % 2)])
    written = io.BytesIO()
    dataset.save_as(written, enforce_file_format=True)
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

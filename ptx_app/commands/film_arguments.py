"""The options that `ptx predict` and `ptx watch` share: with which weights to read films, and what to make of each."""

import argparse
import os
from pathlib import Path

from ptx_app.errors import SettingsError
from ptx_app.inference.decide import Thresholds
from ptx_app.output.setting import Setting
from ptx_app.pipeline import Detector
from ptx_app.results import Wanted
from ptx_app.settings import read_settings


def add_film_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--output", type=Path, required=True, help="folder for results.csv and the pictures")
    parser.add_argument("--weights", help="entry of weights_manifest.json, or the file of an entry")
    parser.add_argument("--operating-point", help="operating point of that entry")
    parser.add_argument("--probability", action="store_true", help="also write STEM_probability.npy, float16")
    parser.add_argument(
        "--dicom", action="store_true", help="also write STEM_seg.dcm, _sc.dcm, _sr.dcm and _gsps.dcm, de-identified"
    )
    parser.add_argument(
        "--identified",
        action="store_true",
        help="with --dicom: keep the patient and the study of DICOM films, and refer to these films",
    )
    parser.add_argument("--all", action="store_true", help="also analyse pictures that the film check rejects")
    parser.add_argument("--jobs", type=_jobs, default=2, help="files to work on at once (default: 2)")


def _jobs(text: str) -> int:
    jobs = int(text)
    if not 1 <= jobs <= 64:
        raise argparse.ArgumentTypeError("from 1 to 64")
    return jobs


def detector_and_wanted(arguments: argparse.Namespace, *, record: bool) -> tuple[Detector, Wanted]:
    """The detector, and what to make of every film.

    Args:
        arguments: with the options that `add_film_arguments` added.
        record: whether the result as JSON is wanted.

    Raises:
        SettingsError: IDENTIFIED_ALONE, or as `read_settings` and `operating_point`.
        WeightsError: as `Detector.load`.
    """
    if arguments.identified and not arguments.dicom:
        raise SettingsError("IDENTIFIED_ALONE", "--identified is about DICOM files. Add --dicom.")
    settings = read_settings(os.environ)
    detector = Detector.load(
        arguments.weights or settings.weights, given=settings.weights_sources, engine=settings.engine
    )
    point = detector.weights.operating_point(arguments.operating_point)
    return detector, Wanted(
        setting=Setting.of(detector.weights, point, Thresholds.of(point), detector.network.engine),
        overrule=arguments.all,
        probability=arguments.probability,
        record=record,
        dicom=arguments.dicom,
        identified=arguments.identified,
    )

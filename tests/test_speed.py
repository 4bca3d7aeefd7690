"""The benchmark: its ways take turns, give what the app gives, and are summed up truly."""

import json
import re
from pathlib import Path
from unittest.mock import Mock

import cv2
import numpy as np
import pytest

from ptx_app.__main__ import main
from ptx_app.commands import benchmark
from ptx_app.evaluation import speed
from ptx_app.evaluation.speed import Times, plain_way, step_ways, timed_in_turns
from ptx_app.model.engine import Engine
from ptx_app.model.manifest import load_manifest
from ptx_app.pipeline import Detector
from tests.support.films import dicom_of, real_dicom


def test_ways_take_turns_after_a_warm_up():
    went = []
    times = timed_in_turns({"a": lambda: went.append("a"), "b": lambda: went.append("b")}, 3)
    assert "".join(went) == "ab" + "ab" * 3
    assert list(times) == ["a", "b"]


def test_times_are_median_fastest_and_slowest():
    assert Times.of([3.0, 1.0, 2.0, 9.0, 2.5]) == Times(2.5, 1.0, 9.0)


@pytest.mark.parametrize(("load", "told"), [(0.6, None), (0.61, 0.61), (0.0, None)])
def test_a_busy_machine_is_named(load, told, monkeypatch):
    monkeypatch.setattr(speed.os, "getloadavg", lambda: (load, 9.0, 9.0))
    assert speed.busy() == told


def test_the_memory_of_a_process_is_its_share_in_megabytes(monkeypatch):
    rollup = "00400000-7ffd rw-p\nRss:    90000 kB\nPss:    81234 kB\nPss_Anon:   1 kB\n"
    monkeypatch.setattr(speed.Path, "read_text", lambda *_, **__: rollup)
    assert speed._memory() == 81.234
    monkeypatch.setattr(speed.Path, "read_text", Mock(side_effect=OSError))
    assert np.isnan(speed._memory())


def bright_is_air(batch):
    """A network for `plain_way`: on a normalised picture, what is brighter than the middle grey is air."""
    return [batch[:, :1] * 20]


@pytest.mark.parametrize("flip_averaging", [False, True])
def test_the_plain_way_outlines_what_the_network_marks(flip_averaging, monkeypatch):
    monkeypatch.setattr(speed, "plain_module", lambda *_: bright_is_air)
    weights = load_manifest().entry()
    spec = weights.input.model_copy(update={"side": 64, "mean": 0.5, "std": 0.5})
    film = np.zeros((128, 160), np.float32)
    film[20:60, 30:70] = 1
    way = plain_way(
        weights.model_copy(update={"input": spec, "flip_averaging": flip_averaging}), Path("none"), dicom_of(film)
    )
    picture = cv2.imdecode(np.frombuffer(way(), np.uint8), cv2.IMREAD_COLOR)
    assert picture.shape == (128, 160, 3)
    rows, columns = np.nonzero((picture == (0, 176, 255)).all(axis=2))
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == pytest.approx((20, 59, 30, 69), abs=2)
    assert (picture[45, 50] == 255).all()  # the film within its contour


def test_every_step_of_the_app_is_timed_and_works():
    ways = step_ways(Detector.load(), real_dicom())
    assert list(ways) == ["read", "check", "lungs", "prepare", "network", "decide", "thumbnail", "pack", "message"]
    results = {name: way() for name, way in ways.items()}
    assert results["read"].shape == results["decide"].mask.shape
    assert results["decide"].flagged  # the outline is timed even if the score would hide it
    assert len(results["message"]) > results["pack"].shape[0]


def test_a_new_process_says_when_it_was_ready():
    told = speed.cold_start(Engine.OPENVINO, Detector.load().weights.name)
    assert 0 < told["loaded"] < told["first_film"]
    assert np.isnan(told["memory"]) or told["memory"] > 50


def test_the_page_is_measured_with_a_film_that_has_its_verdict():
    said = benchmark._memory_of_the_page()
    assert re.match(r"Memory of the page's process after one film: \d{3,} MB", said)
    assert "Modules imported that should not be: nothing" in said


@pytest.mark.thorough
def test_the_verb_prints_ratios_and_writes_them(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(benchmark.speed, "cold_start", lambda *_: {"loaded": 1.0, "first_film": 2.0, "memory": 3.0})
    monkeypatch.setattr(benchmark, "_memory_of_the_page", lambda: "Memory: not measured")
    assert main(["benchmark", "--rounds", "1", "--json", str(tmp_path / "b.json")]) == 0
    said = capsys.readouterr().out
    document = json.loads((tmp_path / "b.json").read_text())
    assert set(document["bytes_to_contour"]) == {"app", "plain torch"}
    assert any(name.startswith("OpenVINO") for name in document["network"])
    assert said.count("times as fast as plain") == 1 + len(document["network"]) - 1
    assert document["weights"] in said

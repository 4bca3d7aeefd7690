"""One command trains and measures several configurations on the same budget."""

import argparse
import json
import sys
from concurrent.futures import Future
from pathlib import Path
from types import ModuleType

import pytest
import torch

from ptx_app.commands import compare as command
from ptx_app.errors import SettingsError
from ptx_app.evaluation import cost
from ptx_app.experiments.comparison import merged, read_comparison
from ptx_app.model.manifest import load_manifest
from tests.support import made_folder

PROJECT = Path(__file__).resolve().parents[2]

SMALL = """
notes = ["Made films say little."]
[base]
title = "All"
provenance = "Made films."
network = { encoder = "mobilenet_v2" }
input = { side = 32 }
data = { held_out_positives = 4, held_out_negatives = 4, augmentation = "none" }
schedule = { films = 16 }
training = { precision = "fp32", validate_every = 16 }
[variants]
all = {}
bce = { title = "BCE alone", loss = { mask = "bce" } }
flips = { title = "Flips", publishing = { flip_averaging = true } }
"""


class Inline:
    """Runs what it is given at once, in place of the process pool."""

    def __init__(self, workers, context):
        assert (workers, context.get_start_method()) == (1, "spawn")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def submit(self, work, *arguments):
        done = Future()
        done.set_result(work(*arguments))
        return done


def test_a_cost_is_the_median_of_five_films_after_a_warm_up_and_one_pass_of_the_network(monkeypatch):
    clock = [0.0]
    seconds = iter([100.0, 5.0, 1.0, 4.0, 3.1239, 2.0])  # the first one warms up

    class Slow:
        def predict_film(self, film):
            assert film.shape == (1024, 1024)
            clock[0] += next(seconds)

    monkeypatch.setattr(cost, "ProcessPoolExecutor", Inline)
    monkeypatch.setattr(cost, "build_module", lambda _: torch.nn.Conv2d(3, 2, 5, padding=2))
    monkeypatch.setattr(cost, "TorchNetwork", lambda *_: None)
    monkeypatch.setattr(cost.Detector, "around", lambda *_: Slow())
    monkeypatch.setattr(cost.time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(cost.torch, "set_num_threads", lambda threads: clock.append(threads))
    monkeypatch.setattr(cost, "peak_memory", lambda: 7 * 2**20)
    weights = load_manifest().entry()
    weights = weights.model_copy(update={"input": weights.input.model_copy(update={"channels": 3, "side": 32})})
    found = cost.measure_cost(weights, Path("none"))
    assert clock[1:] == [2]  # threads, as the table of costs says
    assert next(seconds, None) is None
    assert found == cost.Cost(parameters=2 * (75 + 1), multiply_adds=32 * 32 * 2 * 75, seconds=3.124, peak_mib=7)


def test_changes_are_made_table_by_table():
    base = {"a": {"b": 1, "c": 2}, "d": 3}
    assert merged(base, {"a": {"b": 5}, "e": 6}) == {"a": {"b": 5, "c": 2}, "d": 3, "e": 6}
    assert base == {"a": {"b": 1, "c": 2}, "d": 3}


@pytest.mark.parametrize(
    "path", sorted((PROJECT / "configs" / "comparisons").glob("*.toml")), ids=lambda path: path.stem
)
def test_the_projects_own_comparisons_are_valid(path):
    variants = read_comparison(path).configurations
    assert len({variant.name for variant in variants}) == len(variants) >= 3


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("[base]", "CONFIGURATION_UNREADABLE"),
        (SMALL + "long = { schedule = { films = 32 } }", "COMPARISON_UNFAIR"),
        (SMALL + "quick = { schedule = { warm_up = 0.5 } }", "COMPARISON_UNFAIR"),
        (SMALL + "wrong = { loss = { mask = 'hinge' } }", "CONFIGURATION_INVALID"),
    ],
)
def test_an_invalid_comparison_is_reported(text, code, tmp_path):
    path = tmp_path / "comparison.toml"
    path.write_text(text)
    with pytest.raises(SettingsError) as told:
        read_comparison(path)
    assert told.value.code == code


@pytest.mark.thorough
def test_one_command_writes_one_table(tmp_path, capsys, monkeypatch):
    # The page's test harness leaves app.py as the main module, which a spawned process would run again.
    monkeypatch.setitem(sys.modules, "__main__", ModuleType("__main__"))
    data = tmp_path / "data"
    data.mkdir()
    made_folder.prepared_folder(data)
    path = tmp_path / "small.toml"
    path.write_text(SMALL)
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    words = [str(path), "--data", str(data), "--runs", str(tmp_path / "runs"), "--output", str(tmp_path / "out")]
    assert command.run(parser.parse_args(words)) == 0
    rows = json.loads((tmp_path / "out" / "small.json").read_text())["rows"]
    assert [row["title"] for row in rows] == ["All", "BCE alone", "Flips"]
    assert rows[0]["difference"]["dice_mean"] == {"value": 0, "low": 0, "high": 0}
    assert [row["flip_averaging"] for row in rows] == [False, False, True]
    table = (tmp_path / "out" / "small.md").read_text()
    assert table.endswith("\n\nMade films say little.\n")
    assert all(0 < row["cost"]["peak_mib"] < 2000 for row in rows)
    assert sorted(run.name for run in (tmp_path / "runs").iterdir()) == ["cache", "small-all", "small-bce"]
    assert all(0 <= row["dice_mean"]["value"] <= 1 and row["cost"]["multiply_adds"] > 1e6 for row in rows)
    assert all(row["cost"]["seconds"] > 0 and row["cost"]["peak_mib"] > 50 for row in rows)
    table = (tmp_path / "out" / "small.md").read_text()
    assert "16 films" in table
    assert "| BCE alone | 32 |" in table

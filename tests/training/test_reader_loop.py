"""From a reader's answer on the page to weights that the page runs, in a checkout of its own."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ptx_app.data.index import MaskKind, read_index
from ptx_app.model.manifest import MANIFEST_PATH, ROOT, load_manifest
from ptx_app.training.configuration import write_configuration
from ptx_app.training.dataset import training_films
from ptx_app.weights.verify import digest
from tests.support.made_folder import configuration, prepared_folder

_PAGE = """
import json, os, sys, time
from streamlit.testing.v1 import AppTest
page = AppTest.from_file("app.py", default_timeout=120)
page.query_params["example"] = "pneumothorax"
page.run()
while page.session_state["visit"].pending:
    time.sleep(0.1)
page.run()
if sys.argv[1:]:
    page.button(key=sys.argv[1]).click().run()
assert not page.exception
(report,) = (each.value for each in page.code if "analysed by" in each.value)
print(json.dumps([report, page.session_state["visit"].current.film.prediction.score]), flush=True)
os._exit(0)  # threads of the engine may still run
"""

_TRAIN_AND_PUBLISH = """
import sys
from ptx_app.__main__ import main
data, answers = sys.argv[1:]
sys.exit(
    main(["train", "tiny.toml", "--data", data, "--also", answers])
    or main(["publish", "runs/tiny", "--data", data, "--default"])
)
"""


@pytest.fixture
def checkout(tmp_path) -> Path:
    """What of the repository the page and the trainer need, to be written to."""
    folder = tmp_path / "checkout"
    shutil.copytree(ROOT / "ptx_app", folder / "ptx_app", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / ".streamlit", folder / ".streamlit")
    for file in (ROOT / "app.py", MANIFEST_PATH):
        shutil.copy(file, folder)
    return folder


def ran(checkout: Path, script: str, *words: str | Path, **settings: str) -> str:
    """What a script has printed that imports the checkout's package."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("PTX_")} | settings
    done = subprocess.run(
        [sys.executable, "-c", script, *words], cwd=checkout, env=own, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.thorough
def test_a_readers_answer_is_trained_on_and_the_page_runs_the_new_weights(checkout, tmp_path):
    data, answers, before = tmp_path / "films", tmp_path / "answers", load_manifest().entry()
    data.mkdir()
    prepared_folder(data)
    report, old_score = json.loads(ran(checkout, _PAGE, "agree-1", PTX_FEEDBACK_DIR=str(answers)).splitlines()[-1])
    assert f"analysed by {before.name} " in report
    (answered,) = read_index(answers)
    assert answered.mask_kind is MaskKind.READER_AGREED

    wanted = configuration(schedule={"films": 48}, training={"precision": "fp32", "validate_every": 48})
    assert answered in training_films(wanted, data, [answers])[0]
    write_configuration(wanted, checkout / "tiny.toml")
    said = ran(checkout, _TRAIN_AND_PUBLISH, data, answers)
    made = load_manifest(checkout / MANIFEST_PATH.name).entry()
    assert (made.name, made.sha256) == ("tiny", digest(checkout / "runs" / "tiny" / "best.safetensors"))
    assert f"sha256 {made.sha256}" in said

    report, score = json.loads(ran(checkout, _PAGE).splitlines()[-1])
    assert "analysed by tiny " in report
    assert score != pytest.approx(old_score, abs=1e-4)

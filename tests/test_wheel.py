"""The wheel alone is enough: outside the repository and without the training packages it analyses a film."""

import csv
import os
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import ptx_app
from ptx_app.__main__ import EXTRAS
from ptx_app.model.manifest import ROOT
from tests.support.films import real_dicom

pytest.importorskip("hatchling", reason="the wheel is built with hatchling, of requirements-dev.txt")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (built,) = folder.iterdir()
    return built


@pytest.fixture(scope="module")
def environment(wheel, tmp_path_factory) -> dict[str, str]:
    """Where Python finds the wheel's package and this interpreter's, but not those of the extras."""
    place, missing = tmp_path_factory.mktemp("installed"), tmp_path_factory.mktemp("missing")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(place), str(wheel)]
    subprocess.run(pip, check=True, capture_output=True)
    for name in (name for names in EXTRAS.values() for name in names if name != "pyarrow"):  # Streamlit brings it
        (missing / f"{name}.py").write_text(f"raise ModuleNotFoundError(name={name!r})\n", encoding="utf-8")
    cache = tmp_path_factory.mktemp("cache")
    path = os.pathsep.join((str(place / "bin"), os.environ["PATH"]))
    return os.environ | {"PYTHONPATH": f"{missing}{os.pathsep}{place}", "PATH": path, "PTX_CACHE": str(cache)}


def ptx(environment: dict[str, str], folder: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(["ptx", *words], env=environment, cwd=folder, capture_output=True, text=True)


def test_every_file_of_the_package_is_in_the_wheel(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if name.startswith("ptx_app/")}
    paths = (path.relative_to(ROOT) for path in (ROOT / "ptx_app").rglob("*") if path.is_file())
    files = {path.as_posix() for path in paths if "__pycache__" not in path.parts}
    assert names == files | {"ptx_app/weights_manifest.json"}
    assert f"-{ptx_app.__version__}-" in wheel.name


@pytest.mark.thorough
def test_a_film_is_analysed_away_from_the_repository(environment, tmp_path):
    (tmp_path / "film.dcm").write_bytes(real_dicom())
    done = ptx(environment, tmp_path, "predict", "film.dcm", "--output", "out")
    assert done.returncode == 0, done.stderr
    with (tmp_path / "out" / "results.csv").open(encoding="utf-8") as table:
        (row,) = csv.DictReader(table)
    assert row["status"] == "ok"
    assert (tmp_path / "out" / "film_overlay.png").is_file()


@pytest.mark.parametrize(
    ("words", "extra"),
    [
        (["evaluate"], "train"),
        (["watch", "films", "--output", "out"], "hospital"),
        (["predict", "films", "--output", "out", "--scheduler", "tcp://127.0.0.1:1"], "cluster"),
    ],
)
def test_a_verb_of_an_extra_says_what_is_missing(environment, tmp_path, words, extra):
    (tmp_path / "films").mkdir()
    (tmp_path / "films" / "film.dcm").write_bytes(real_dicom())
    done = ptx(environment, tmp_path, *words)
    assert done.returncode == 1
    assert done.stderr.startswith("PACKAGE_MISSING: ")
    assert f"ptx_app[{extra}]" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("extra", EXTRAS)
def test_the_packages_that_may_be_missing_are_those_of_the_extra(extra):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    imported_as = {"scikit-learn": "sklearn", "segmentation-models-pytorch": "segmentation_models_pytorch"}
    asked = [line.partition(">")[0] for line in project["optional-dependencies"][extra]]
    assert sorted(imported_as.get(name, name.replace("-", "_")) for name in asked) == sorted(EXTRAS[extra])

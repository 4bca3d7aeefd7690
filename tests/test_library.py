"""The package as a library: an import changes nothing in the program and loads only what is needed."""

import doctest
import importlib
import re
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import pydicom
import pytest

import ptx_app
from ptx_app import privacy
from ptx_app.errors import FilmError
from ptx_app.film import read_film
from ptx_app.model.manifest import ROOT
from ptx_app.process import typed_command
from tests.support.films import real_dicom
from tests.support.marked_films import marked_dicom, markers_in, misnamed_dicom

HEAVY = ("torch", "pydicom", "numpy", "streamlit", "cv2", "pydantic")


def printed(code: str, cwd: Path = ROOT) -> str:
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_package_alone_loads_nothing_heavy():
    assert printed(f"import sys, ptx_app; print(*(name for name in {HEAVY} if name in sys.modules))") == ""


def test_reading_a_film_loads_no_torch():
    code = "import sys; from ptx_app import read_film; from ptx_app.film.examples import EXAMPLES\n"
    assert printed(code + "read_film(EXAMPLES[0].data()); print(*({'torch', 'streamlit'} & set(sys.modules)))") == ""


def test_highdicom_is_loaded_only_for_an_export():
    code = "import sys, ptx_app.commands.predict, ptx_app.output.dicom.objects; print('highdicom' in sys.modules)"
    assert printed(code) == "False"


def test_everything_promised_is_there_and_nothing_else_is_made_up():
    for name in ptx_app.__all__:
        assert getattr(ptx_app, name) is not None
        assert name in dir(ptx_app)
    with pytest.raises(AttributeError, match="Detektor"):
        _ = ptx_app.Detektor


_SNAPSHOT = """
import importlib, logging, os, pkgutil, sys, warnings

def state():
    loggers = [logging.root, *logging.root.manager.loggerDict.values()]
    kept = {
        each.name: (each.level, [*each.filters], [*each.handlers], each.propagate, each.manager.disable)
        for each in loggers if isinstance(each, logging.Logger)
    }
    settings = {name: str(value) for name, value in vars(pydicom.config.settings).items()}
    flags = {name: value for name, value in vars(pydicom.config).items() if isinstance(value, (bool, int, str))}
    return dict(os.environ), list(warnings.filters), settings, flags, mpl.rcParams.copy(), kept

# What other packages do when they are imported is theirs.
import albumentations, cv2, gdown, highdicom, imagecodecs, matplotlib as mpl, PIL.Image, pydicom, pydicom.pixels
import scipy.optimize
import sklearn.linear_model, streamlit.testing.v1, torch, tqdm, safetensors.torch, filelock, platformdirs
import pydicom.pixels.decoders, pydicom.pixels.utils, matplotlib.figure, torch.utils.flop_counter, torch.utils.data
import PIL.PngImagePlugin, PIL.JpegImagePlugin, PIL.TiffImagePlugin

before = state()
import ptx_app
for module in pkgutil.walk_packages(ptx_app.__path__, "ptx_app."):
    if not module.name.startswith("ptx_app.ui"):
        importlib.import_module(module.name)
after = state()
for was, now in zip(before[:-1], after[:-1]):
    assert was == now, (was, now)
for name, was in before[-1].items():
    assert was == after[-1][name], name
for name in set(after[-1]) - set(before[-1]):
    assert not name.startswith("ptx_app") or after[-1][name][:4] == (0, [], [], True), name
"""


def test_importing_any_module_changes_no_logger_warning_variable_or_setting():
    printed(_SNAPSHOT)


_UI = """
import cv2, gc, importlib, os, pkgutil, streamlit.net_util as net_util, streamlit.web.bootstrap
from starlette.formparsers import MultiPartParser
def state():
    return MultiPartParser.spool_max_size, net_util.get_external_ip, gc.get_freeze_count(), dict(os.environ)
before = state()
import ptx_app.ui
for module in pkgutil.walk_packages(ptx_app.ui.__path__, "ptx_app.ui."):
    importlib.import_module(module.name)
assert state() == before, (before[:3], state()[:3])
from ptx_app.ui.server import prepare_process
prepare_process()
assert state()[:2] != before[:2]
"""


def test_importing_the_page_changes_nothing_until_its_entry_point_asks():
    printed(_UI)


_LOGGERS = """
import logging, PIL.Image, pydicom.pixels.decoders, pydicom.pixels.encoders, pydicom.pixels.utils
PIL.Image.init()  # loads every plugin
print(*(name for name, each in logging.root.manager.loggerDict.items() if isinstance(each, logging.Logger)))
"""


def test_every_logger_of_the_decoders_is_held_back():
    made = {name for name in printed(_LOGGERS).split() if name.partition(".")[0] in ("PIL", "pydicom")}
    assert "pydicom" in made
    assert made <= set(privacy._LOGGERS)


_LOUD = """
import io, logging, sys, warnings
said = io.StringIO()
logging.basicConfig(level=logging.DEBUG, stream=said)
warnings.simplefilter("always")
logging.captureWarnings(True)
import pydicom
pydicom.config.debug(True)
from ptx_app import read_film
from ptx_app.errors import FilmError
from tests.support.marked_films import damaged_dicoms, marked_dicom, marked_jpeg, marked_png, markers_in, misnamed_dicom
for film in (marked_dicom(), misnamed_dicom(), marked_png(), marked_jpeg(), *damaged_dicoms()):
    said.truncate(0)
    try:
        read_film(film)
    except FilmError:
        pass
    assert not markers_in(said.getvalue()), said.getvalue()
pydicom.dcmread(io.BytesIO(misnamed_dicom()), force=True)
assert "pydicom" in said.getvalue(), "the program's own use of pydicom is logged as it wants"
assert pydicom.config.settings.reading_validation_mode == pydicom.config.WARN
"""


def test_in_a_program_that_logs_everything_reading_a_film_says_nothing_of_the_patient():
    printed(_LOUD)


def test_films_read_at_once_in_threads_restore_what_was_set_and_say_nothing(capfd):
    films = [marked_dicom(), misnamed_dicom(), real_dicom()] * 4
    before = list(warnings.filters), pydicom.config.settings.reading_validation_mode

    def read(film: bytes) -> None:
        try:
            read_film(film)
        except FilmError:
            return

    threads = [threading.Thread(target=read, args=(film,)) for film in films]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (list(warnings.filters), pydicom.config.settings.reading_validation_mode) == before
    assert not markers_in("".join(capfd.readouterr()))


def examples(page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / "docs" / page).read_text(encoding="utf-8"), re.DOTALL)


def test_the_example_of_the_documentation_runs(tmp_path):
    (example,) = examples("library.md")
    assert len([line for line in example.splitlines() if line]) <= 10
    (tmp_path / "film.dcm").write_bytes(real_dicom())
    said = printed(f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{example}", cwd=tmp_path)
    assert re.search(r"score 0\.\d\d", said)
    assert (tmp_path / "overlay.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("words", "typed"),
    [
        (["/usr/bin/ptx", "evaluate", "--against", "a b"], "ptx evaluate --against 'a b'"),
        (["/src/ptx_app/__main__.py", "film-check", "--keep"], "ptx film-check --keep"),
        (["/src/tools/make_speed.py", "--rounds", "3"], "python -m tools.make_speed --rounds 3"),
    ],
)
def test_a_page_of_figures_names_the_command_that_made_it(words, typed, monkeypatch):
    monkeypatch.setattr(sys, "argv", words)
    assert typed_command() == typed


WITH_EXAMPLES = [
    ".".join(file.relative_to(ROOT).with_suffix("").parts)
    for file in sorted((ROOT / "ptx_app").rglob("*.py"))
    if ">>>" in file.read_text(encoding="utf-8")
]


@pytest.mark.parametrize("module", WITH_EXAMPLES)
def test_the_examples_in_docstrings_hold(module):
    found = doctest.testmod(importlib.import_module(module))
    assert found.attempted > 0
    assert found.failed == 0


def test_public_functions_have_examples():
    assert {"ptx_app.film.reading", "ptx_app.inference.decide", "ptx_app.film.radiograph"} <= set(WITH_EXAMPLES)

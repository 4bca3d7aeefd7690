"""Tries what README.md promises to a new user: a new environment from requirements-app.txt, and the app in it.

python -m tools.try_install             needs a network; takes a minute

It installs into a temporary folder, says how long that took and how large it is, analyses the example film with `ptx
predict`, and starts both entry points until each shows the example's verdict. Without Chromium it only asks the servers
whether they are well.
"""

import subprocess
import sys
import tempfile
import time
import urllib.request
import venv
from pathlib import Path

from ptx_app.model.manifest import ROOT
from tests.support.films import real_dicom
from tests.support.serving import CHROMIUM, running_browser, running_server

ENTRIES = ("app.py", "hosts/community-cloud/streamlit_app.py")
_MOST_MB = 1100


def main() -> None:
    """Install, measure, run. Exits with 1 if something is not as promised."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        python = install(folder / "venv", ROOT / "hosts/community-cloud/requirements.txt")
        analyse(python, folder)
        for entry in ENTRIES:
            serve(python, entry)


def install(target: Path, requirements: Path) -> Path:
    """Make an environment and return its Python. Exits if it is too large or has torch."""
    begun = time.monotonic()
    venv.create(target, with_pip=True)
    python = target / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", "-r", requirements], check=True)
    seconds = time.monotonic() - begun
    size = sum(path.lstat().st_size for path in target.rglob("*") if path.is_file() and not path.is_symlink()) / 1e6
    print(f"Installed in {seconds:.0f} s; {size:.0f} MB on the disk (at most {_MOST_MB})")
    if size > _MOST_MB or list(target.glob("lib/python*/site-packages/torch")):
        sys.exit("Too large, or torch was installed.")
    return python


def analyse(python: Path, folder: Path) -> None:
    """Run the command line on the example film."""
    film = folder / "film.dcm"
    film.write_bytes(real_dicom())
    subprocess.run([python, "-m", "ptx_app", "predict", film, "--output", folder / "out"], cwd=ROOT, check=True)
    print((folder / "out" / "results.csv").read_text(encoding="utf-8").strip())


def serve(python: Path, entry: str) -> None:
    """Start an entry point and open the example in a browser."""
    begun = time.monotonic()
    with running_server(ROOT / entry, python=python, environment={"PYTHONPATH": ""}) as server:
        print(f"{entry}: the server answers after {time.monotonic() - begun:.1f} s")
        if not CHROMIUM:
            urllib.request.urlopen(f"{server.address}/_stcore/health").read()
            return
        with running_browser() as browser:
            page = browser.new_page()
            page.goto(f"{server.address}/?example=pneumothorax")
            page.get_by_role("heading", name="Pneumothorax flagged").wait_for(timeout=60_000)
            print(f"{entry}: the example has its verdict after {time.monotonic() - begun:.1f} s")


if __name__ == "__main__":
    main()

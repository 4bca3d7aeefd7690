"""Tries what README.md promises to a new user: a new environment from requirements-app.txt, and the app in it.

python -m tools.try_install             needs a network; takes two minutes

It installs into a temporary folder, says how long that took and how large it is, analyses the example film with `ptx
predict`, and starts both entry points until each shows the example's verdict. Without Chromium it only asks the servers
whether they are well. Then it builds the wheel, installs it into another new environment, with the packages that pip
chooses from its own ranges, and analyses the film there, away from the repository.
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
        film = folder / "film.dcm"
        film.write_bytes(real_dicom())
        python = install(folder / "venv", "-r", ROOT / "hosts/community-cloud/requirements.txt")
        analyse(film, ROOT, python, "-m", "ptx_app")
        for entry in ENTRIES:
            serve(python, entry)
        python = install(folder / "venv-of-the-wheel", wheel(folder / "dist"))
        analyse(film, folder, python.parent / "ptx")


def wheel(target: Path) -> Path:
    """Build the package's wheel into a folder."""
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", target, ROOT], check=True
    )
    (made,) = target.glob("*.whl")
    return made


def install(target: Path, *what: str | Path) -> Path:
    """Make an environment with what pip is told to install, and return its Python.

    Exits if it is too large or has torch.
    """
    begun = time.monotonic()
    venv.create(target, with_pip=True)
    python = target / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", *what], check=True)
    seconds = time.monotonic() - begun
    size = sum(path.lstat().st_size for path in target.rglob("*") if path.is_file() and not path.is_symlink()) / 1e6
    print(f"Installed in {seconds:.0f} s; {size:.0f} MB on the disk (at most {_MOST_MB})")
    if size > _MOST_MB or list(target.glob("lib/python*/site-packages/torch")):
        sys.exit("Too large, or torch was installed.")
    return python


def analyse(film: Path, where: Path, *ptx: str | Path) -> None:
    """Run the command line on a film in a folder, and print the table."""
    with tempfile.TemporaryDirectory() as output:
        subprocess.run([*ptx, "predict", film, "--output", output], cwd=where, check=True)
        print((Path(output) / "results.csv").read_text(encoding="utf-8").strip())


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

"""hosts/container/Dockerfile: what it copies is what the page needs, and the page can run where it may write nothing.

No test builds it, because that takes a network and an image to start from. docs/deployment.md says how it was tried.
"""

import json
import os
import re
import resource
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ptx_app.model.manifest import ROOT
from tests.support.serving import CHROMIUM, NO_CHROMIUM, running_browser, running_server

DOCKERFILE = ROOT / "hosts/container/Dockerfile"
# requirements-dev.txt has it where there is a wheel.
HADOLINT = shutil.which("hadolint", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")


def instructions() -> list[tuple[str, str]]:
    """Each instruction and its arguments, in order, without comments."""
    lines = [line for line in DOCKERFILE.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [
        (name.upper(), rest.strip()) for name, _, rest in (line.partition(" ") for line in joined.split("\n") if line)
    ]


def last_stage() -> list[tuple[str, str]]:
    found = instructions()
    return found[max(place for place, (name, _) in enumerate(found) if name == "FROM") :]


def copied() -> dict[str, Path]:
    """What comes from the repository into the container: the path there, relative to the folder it runs in."""
    found = {}
    for name, rest in instructions():
        if name == "COPY" and not rest.startswith("--from"):
            *sources, target = shlex.split(rest)
            for source in sources:
                into = target.endswith("/") and (ROOT / source).is_file()
                found[source] = Path(target) / Path(source).name if into else Path(target)
    return found


def test_it_is_not_root_and_nothing_is_run_after_that():
    names = [name for name, _ in last_stage()]
    (user,) = [rest for name, rest in last_stage() if name == "USER"]
    uid, gid = map(int, user.split(":"))
    assert min(uid, gid) >= 1000
    assert not {"RUN", "COPY", "ADD"} & set(names[names.index("USER") :])
    assert "ADD" not in [name for name, _ in instructions()], "it may fetch from the network"


def test_the_base_is_named_with_its_version():
    (base,) = [rest for name, rest in instructions() if name == "ARG" and rest.startswith("BASE=")]
    assert re.fullmatch(r"BASE=docker\.io/library/python:3\.1[123]-slim-\w+", base)
    assert [rest.split()[0] for name, rest in instructions() if name == "FROM"] == ["${BASE}"] * 2


def test_it_installs_what_the_app_needs_and_no_more():
    installs = [rest for name, rest in instructions() if name == "RUN" and "pip install" in rest]
    assert len(installs) == 1
    assert re.findall(r"-r (\S+)", installs[0]) == ["/requirements-app.txt"]
    assert ("ARG", 'EXTRAS=""') in instructions()


def test_its_health_is_the_servers():
    (check,) = [rest for name, rest in last_stage() if name == "HEALTHCHECK"]
    command = json.loads(check[check.index("[") :])
    assert "http://127.0.0.1:8501/_stcore/health" in command[-1]
    compile(command[-1], "health", "exec")
    assert ("EXPOSE", "8501") in last_stage()


def test_the_ignored_files_are_all_but_those_copied():
    lines = [
        line
        for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
        if line and not line.startswith("#")
    ]
    assert lines[0] == "*"
    let_through = {line.removeprefix("!") for line in lines if line.startswith("!")}
    assert let_through == set(copied())
    assert all((ROOT / name).exists() for name in let_through)
    assert "**/__pycache__" in lines


@pytest.mark.skipif(not HADOLINT, reason="hadolint is missing")
def test_hadolint_has_nothing_to_say():
    done = subprocess.run([HADOLINT, DOCKERFILE], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def _write_nothing() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


@pytest.mark.thorough
@pytest.mark.skipif(not CHROMIUM, reason=NO_CHROMIUM)
def test_what_is_copied_reads_a_film_where_nothing_can_be_written(tmp_path):
    for source, target in copied().items():
        (tmp_path / target).parent.mkdir(parents=True, exist_ok=True)
        copy = shutil.copytree if (ROOT / source).is_dir() else shutil.copy
        copy(ROOT / source, tmp_path / target)
    environment = {"PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1", "HOME": "/nonexistent"}
    with (
        running_server(tmp_path / "app.py", environment=environment, before=_write_nothing) as server,
        running_browser() as browser,
    ):
        page = browser.new_page()
        page.set_default_timeout(180_000)
        page.goto(f"{server.address}/?example=pneumothorax")
        page.get_by_role("heading", name="Pneumothorax flagged").wait_for()
        assert "Traceback" not in server.said

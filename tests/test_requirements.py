"""The requirements files pin what pyproject.toml asks for: all of it, within its ranges, and no more."""

import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import ptx_app
from ptx_app.model.manifest import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]


def by_name(lines: Iterator[str] | list[str]) -> dict[str, Requirement]:
    requirements = [Requirement(line) for line in lines]
    assert len({canonicalize_name(each.name) for each in requirements}) == len(requirements), "one is named twice"
    return {canonicalize_name(each.name): each for each in requirements}


def pinned(file: Path) -> dict[str, Requirement]:
    lines = (line.partition("#")[0].strip() for line in file.read_text(encoding="utf-8").splitlines())
    return by_name(line for line in lines if line and not line.startswith("-"))


@pytest.mark.parametrize(
    ("file", "asked"),
    [
        ("requirements.txt", PROJECT["dependencies"] + EXTRAS["train"]),
        ("requirements-dev.txt", EXTRAS["dev"]),
    ],
)
def test_every_dependency_is_pinned_within_its_range_and_nothing_else_is(file, asked):
    pins, ranges = pinned(ROOT / file), by_name(asked)
    assert set(pins) == set(ranges)
    for name, pin in pins.items():
        (exact,) = pin.specifier
        assert exact.operator == "==", f"{name} is not pinned"
        assert exact.version in ranges[name].specifier, f"{name} is pinned outside of its range"


def test_the_developers_pins_include_the_others():
    assert "-r requirements.txt" in (ROOT / "requirements-dev.txt").read_text(encoding="utf-8").splitlines()


def test_what_builds_the_wheel_is_what_the_tests_build_it_with():
    build = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["build-system"]["requires"]
    assert set(build) <= set(EXTRAS["dev"])


def test_the_citation_and_the_changelog_name_this_version():
    assert f"\nversion: {ptx_app.__version__}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\n## {ptx_app.__version__} " in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")

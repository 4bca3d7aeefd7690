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
        ("requirements-app.txt", PROJECT["dependencies"]),
        ("requirements.txt", EXTRAS["train"]),
        ("requirements-dev.txt", [*EXTRAS["dev"], *EXTRAS["hospital"], *EXTRAS["sign-in"], *EXTRAS["cluster"]]),
    ],
)
def test_every_dependency_is_pinned_within_its_range_and_nothing_else_is(file, asked):
    pins, ranges = pinned(ROOT / file), by_name(asked)
    assert set(pins) == set(ranges)
    for name, pin in pins.items():
        (exact,) = pin.specifier
        assert exact.operator == "==", f"{name} is not pinned"
        assert pin.marker == ranges[name].marker, f"{name} is for other machines"
        assert exact.version in ranges[name].specifier, f"{name} is pinned outside of its range"


@pytest.mark.parametrize(
    ("file", "other"), [("requirements-dev.txt", "requirements.txt"), ("requirements.txt", "requirements-app.txt")]
)
def test_a_file_of_pins_includes_the_smaller_one(file, other):
    assert f"-r {other}" in (ROOT / file).read_text(encoding="utf-8").splitlines()


MACHINES = [
    {"sys_platform": system, "platform_machine": machine}
    for system, machine in (
        ("linux", "x86_64"), ("linux", "aarch64"), ("linux", "riscv64"), ("darwin", "arm64"), ("darwin", "x86_64"),
        ("win32", "AMD64"), ("win32", "ARM64"),
    )
]  # fmt: skip


@pytest.mark.parametrize("machine", MACHINES, ids=lambda machine: "-".join(machine.values()))
def test_each_machine_gets_one_engine(machine):
    pins = pinned(ROOT / "requirements-app.txt")
    chosen = [name for name in ("openvino", "onnxruntime") if pins[name].marker.evaluate(machine)]
    supported = {("linux", "x86_64"), ("linux", "aarch64"), ("darwin", "arm64"), ("win32", "AMD64")}
    assert chosen == (["openvino"] if tuple(machine.values()) in supported else ["onnxruntime"])


def test_no_torch_in_what_the_app_needs():
    assert not {"torch", "torchvision", "segmentation-models-pytorch", "albumentations"} & set(
        pinned(ROOT / "requirements-app.txt")
    )


def test_what_builds_the_wheel_is_what_the_tests_build_it_with():
    build = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["build-system"]["requires"]
    assert set(build) <= set(EXTRAS["dev"])


def test_the_citation_and_the_changelog_name_this_version():
    assert f"\nversion: {ptx_app.__version__}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\n## {ptx_app.__version__} " in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")

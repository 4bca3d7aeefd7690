"""Mutation testing: change single places of the code and see if a test fails.

Run `python -m tools.mutation --sample 150 --seed 1`. It draws a random sample of mutants, the same number from
inference, film and evaluation. Each one is written into a copy of the commit, never into the working tree. Then the
tests of its package run until one fails. A place with several mutants (`<` may become `<=`, `==`, …) counts once. Type
annotations are not changed, as they do not affect the code. The result is a Markdown file with the figures and the
mutants that no test noticed. Needs cosmic-ray.
"""

import argparse
import ast
import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from queue import SimpleQueue
from random import Random

from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator, operator_names
from scipy.stats import binomtest

from ptx_app.process import typed_command

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Part:
    """A pattern of modules, the package that they count towards, and their test files, fastest first."""

    package: str
    modules: str
    tests: tuple[str, ...]


_FINDING = ("tests/decisions/test_finding.py", "tests/test_inference.py")
_FILM = (
    "tests/decisions/test_film_reading.py",
    "tests/test_film_odd.py",
    "tests/test_modality.py",
    "tests/test_film_made.py",
    "tests/test_film_cases.py",
)
_FILM_CHECK = ("tests/test_film_check.py",)
_EVALUATION = (
    "tests/decisions/test_thresholds_and_figures.py",
    "tests/decisions/test_hard_cases.py",
    "tests/training/test_training_measures.py",
    "tests/training/test_training_evaluation.py",
)
_KNOWN_FILMS = ("tests/training/test_training_prepare.py", "tests/training/test_training_runs.py")

# If several patterns match a module, the last one counts. Modules without tests are skipped.
PLAN = (
    Part("inference", "ptx_app/inference/*.py", (*_FINDING, "tests/test_lung_crop.py")),
    Part("inference", "ptx_app/inference/measure.py", ("tests/test_measure.py",)),
    Part(
        "inference",
        "ptx_app/inference/lungs.py",
        ("tests/test_measure.py", "tests/test_lung_crop.py", "tests/training/test_lungs.py"),
    ),
    Part("film", "ptx_app/film/**/*.py", _FILM),
    Part("film", "ptx_app/film/field.py", ("tests/test_film_field.py", "tests/test_film_made.py")),
    Part("film", "ptx_app/film/zip_archive.py", ("tests/test_zip_archive.py",)),
    Part("film", "ptx_app/film/**/source.py", ("tests/test_dicom_objects.py",)),
    Part("film", "ptx_app/film/files.py", ("tests/test_files.py",)),
    Part("film", "ptx_app/film/check/*.py", _FILM_CHECK),
    Part("film", "ptx_app/film/examples.py", ()),  # two files and what is known of them
    Part("film", "ptx_app/film/sandbox/*.py", ()),  # its tests check time limits and fail on a busy machine
    Part("evaluation", "ptx_app/evaluation/*.py", _EVALUATION),
    Part("evaluation", "ptx_app/evaluation/known_films.py", (*_EVALUATION, *_KNOWN_FILMS)),
    Part("evaluation", "ptx_app/evaluation/plots.py", ()),  # this and the next two draw pictures and take times
    Part("evaluation", "ptx_app/evaluation/cost.py", ()),
    Part("evaluation", "ptx_app/evaluation/speed.py", ()),
)

# An operator is replaced by another of the same kind only. Most other replacements are errors that any test finds.
_KINDS = (
    {"Add", "Sub", "Mul", "Div", "FloorDiv", "Mod", "Pow"},
    {"BitAnd", "BitOr", "BitXor", "LShift", "RShift"},
    {"Eq", "NotEq", "Lt", "LtE", "Gt", "GtE"},
    {"Is", "IsNot"},
    {"UAdd", "USub", "Delete"},
    {"Not", "Delete"},
    {"Invert", "Delete"},
)

# Hypothesis uses the same examples in every run, and does not shrink failing examples.
_EXAMPLES = """
from hypothesis import Phase, settings
settings.register_profile("mutation", derandomize=True, deadline=None, database=None,
                          phases=[Phase.explicit, Phase.generate])
"""


class Outcome(StrEnum):
    """The result of the tests for a mutant."""

    KILLED = "killed"
    SURVIVED = "survived"
    TIMEOUT = "timeout"


@dataclass(frozen=True)
class Mutant:
    """A change of one place: the `occurrence`-th place in a module where its operator applies."""

    part: Part
    module: str
    line: int
    operator: str
    occurrence: int


def unpack(tree: Path, folder: Path) -> str:
    """Unpack a checkout's commit into a folder. Returns the commit's short hash."""
    git = ["git", "-C", str(tree)]
    archive = subprocess.run([*git, "archive", "HEAD"], check=True, capture_output=True).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as packed:
        packed.extractall(folder, filter="data")
    (folder / "mutation_examples.py").write_text(_EXAMPLES, encoding="utf-8")
    return subprocess.run(
        [*git, "rev-parse", "--short", "HEAD"], check=True, capture_output=True, text=True
    ).stdout.strip()


def places(folder: Path, plan: Sequence[Part]) -> dict[str, list[list[Mutant]]]:
    """For each package, the mutants grouped by place."""
    parts = {path.relative_to(folder).as_posix(): part for part in plan for path in folder.glob(part.modules)}
    found: dict[str, list[list[Mutant]]] = {part.package: [] for part in plan}
    for module, part in sorted(parts.items()):
        if not part.tests:
            continue
        by_place: dict[tuple[object, ...], list[Mutant]] = {}
        for place, mutant in _mutants(part, module, (folder / module).read_text(encoding="utf-8")):
            by_place.setdefault(place, []).append(mutant)
        found[part.package] += by_place.values()
    return found


def _mutants(part: Part, module: str, code: str) -> Iterator[tuple[tuple[object, ...], Mutant]]:
    annotations, nodes = _annotations(code), list(ast_nodes(get_ast(code)))
    for name in operator_names():
        operator = get_operator(name)
        family, *pair = name.split("_")
        if operator.arguments() or (pair and not any(set(pair) <= kind for kind in _KINDS)):
            continue
        starts = (start for node in nodes for start, _ in operator().mutation_positions(node))
        for occurrence, start in enumerate(starts):
            if not any(begin <= start < end for begin, end in annotations) and _applies(name, occurrence, code):
                yield (start, family), Mutant(part, module, start[0], name, occurrence)


def _applies(name: str, occurrence: int, code: str) -> bool:
    """Whether the mutant can be made: cosmic-ray fails at exceptions with a dotted name, such as `struct.error`."""
    if not name.endswith("ExceptionReplacer"):
        return True
    try:
        mutate_code(code, get_operator(name)(), occurrence)
    except AttributeError:
        return False
    return True


def _annotations(code: str) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Start and end of each type annotation."""
    nodes = list(ast.walk(ast.parse(code)))
    found = [node.annotation for node in nodes if isinstance(node, ast.arg | ast.AnnAssign)]
    found += [node.returns for node in nodes if isinstance(node, ast.FunctionDef)]
    return [
        ((node.lineno, node.col_offset), (node.end_lineno or node.lineno, node.end_col_offset or 0))
        for node in found
        if node is not None
    ]


def drawn(found: dict[str, list[list[Mutant]]], sample: int, seed: int) -> list[Mutant]:
    """Draw about `sample` mutants, the same number from each package: first a place, then one of its mutants."""
    chance, each = Random(seed), sample // len(found)
    return [
        chance.choice(place)
        for of_package in found.values()
        for place in chance.sample(of_package, min(each, len(of_package)))
    ]


def run_tests(folder: Path, tests: Sequence[str], seconds: float) -> Outcome:
    """Run test files in a copy until a test fails or the time is up."""
    options = ["-x", "-q", "-p", "no:cacheprovider", "-p", "mutation_examples", "--hypothesis-profile=mutation"]
    command = [sys.executable, "-B", "-m", "pytest", *options, *tests]
    running = subprocess.Popen(
        command,
        cwd=folder,
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},  # stale bytecode would hide the next mutant
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        return Outcome.KILLED if running.wait(seconds) else Outcome.SURVIVED
    except subprocess.TimeoutExpired:
        return Outcome.TIMEOUT
    finally:
        with contextlib.suppress(ProcessLookupError):  # it has its own session, so this ends its children too
            os.killpg(running.pid, signal.SIGKILL)
        running.wait()


def try_mutant(mutant: Mutant, folder: Path, seconds: float) -> tuple[Outcome, str]:
    """The result of the tests for a mutant, and its change in one line."""
    module = folder / mutant.module
    code = module.read_text(encoding="utf-8")
    changed = mutate_code(code, get_operator(mutant.operator)(), mutant.occurrence)
    module.write_text(changed, encoding="utf-8")
    try:
        return run_tests(folder, mutant.part.tests, seconds), one_line(code, changed)
    finally:
        module.write_text(code, encoding="utf-8")


def one_line(before: str, after: str) -> str:
    """The lines that differ, before and after."""
    was, now = before.splitlines(), after.splitlines()
    for end in (0, -1):
        while was and now and was[end] == now[end]:
            del was[end], now[end]
    return " → ".join(f"`{' '.join(line.strip() for line in lines)}`" for lines in (was, now))


@dataclass(frozen=True)
class Tried:
    """A mutant, its outcome, and its change in one line."""

    mutant: Mutant
    outcome: Outcome
    change: str


def measure(
    tree: Path, plan: Sequence[Part], sample: int, seed: int, jobs: int
) -> tuple[str, dict[str, int], list[Tried]]:
    """Draw mutants of a checkout's commit and test them, `jobs` at a time.

    Returns:
        The commit, the number of places by package, and the tested mutants.

    Raises:
        SystemExit: a test fails on the unchanged code.
    """
    with tempfile.TemporaryDirectory() as temporary:
        folders = SimpleQueue[Path]()
        for job in range(jobs):
            folder = Path(temporary) / str(job)
            commit = unpack(tree, folder)
            folders.put(folder)
        found = places(folder, plan)
        mutants = drawn(found, sample, seed)
        limits = {tests: _limit(folder, tests) for tests in dict.fromkeys(mutant.part.tests for mutant in mutants)}
        done = 0

        def try_one(mutant: Mutant) -> Tried:
            nonlocal done
            own = folders.get()
            outcome, change = try_mutant(mutant, own, limits[mutant.part.tests])
            folders.put(own)
            done += 1
            print(
                f"{done}/{len(mutants)} {outcome}: {mutant.module}:{mutant.line} {change}", file=sys.stderr, flush=True
            )
            return Tried(mutant, outcome, change)

        with ThreadPoolExecutor(jobs) as pool:
            return commit, {package: len(of) for package, of in found.items()}, list(pool.map(try_one, mutants))


def _limit(folder: Path, tests: Sequence[str]) -> float:
    """Time limit for tests in s: 20 s plus three times their time on the unchanged code, where they must pass."""
    begun = time.monotonic()
    if run_tests(folder, tests, 900) is not Outcome.SURVIVED:
        raise SystemExit(f"Tests fail without any mutant: {' '.join(tests)}")
    return 3 * (time.monotonic() - begun) + 20


def markdown(tree: Path, commit: str, numbers: dict[str, int], tried: Sequence[Tried], minutes: float) -> str:
    """The document as Markdown. `tree`: the repository whose code was changed."""
    manifest = json.loads((tree / "weights_manifest.json").read_text(encoding="utf-8"))
    (sha256,) = (entry["sha256"] for entry in manifest["weights"] if entry["name"] == manifest["default"])
    lines = [
        "# Mutation testing",
        "",
        f"Written by `{typed_command()}` at commit {commit}, in {minutes:.0f} minutes; no figure is typed by hand. "
        f"Weights: `{manifest['default']}`, sha256 `{sha256[:16]}…`. Each mutant "
        "changes one place of the code: an operator, a number, a condition, an exception, a decorator, a loop. It is "
        "killed if a test of its package fails. A timeout also counts as noticed. The films of PTX_DATA were "
        f"{'available' if os.environ.get('PTX_DATA') else 'not available, so tests that need them were skipped'}.",
        "",
        "| Package | Places | Sample | Killed | Timed out | Survived | Noticed (95 % interval, Wilson) |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for package, number in numbers.items():
        outcomes = Counter(one.outcome for one in tried if one.mutant.part.package == package)
        total, noticed = outcomes.total(), outcomes[Outcome.KILLED] + outcomes[Outcome.TIMEOUT]
        low, high = binomtest(noticed, total).proportion_ci(method="wilson")
        counts = " | ".join(str(outcomes[outcome]) for outcome in (Outcome.KILLED, Outcome.TIMEOUT, Outcome.SURVIVED))
        share = f"{noticed / total:.1%} ({low:.1%} to {high:.1%})"
        lines.append(f"| {package} | {number} | {total} | {counts} | {share} |")
    lines += ["", "## Survivors", "", "Some of these changes have no effect on the result.", ""]
    lines += [
        f"- {one.mutant.module}:{one.mutant.line}, {one.mutant.operator.removeprefix('core/')}: {one.change}"
        for one in tried
        if one.outcome is Outcome.SURVIVED
    ]
    return "\n".join(lines) + "\n"


def read_plan(path: Path) -> tuple[Part, ...]:
    """Read a plan for a checkout with another layout. JSON: a list of {"package", "modules", "tests"}."""
    entries = json.loads(path.read_text(encoding="utf-8"))
    return tuple(Part(entry["package"], entry["modules"], tuple(entry["tests"])) for entry in entries)


def main() -> None:
    """Measure and write the document."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sample", type=int, default=150, help="number of mutants over all packages")
    parser.add_argument("--seed", type=int, default=1, help="random seed of the sample")
    parser.add_argument("--jobs", type=int, default=1, help="number of mutants tested at a time")
    parser.add_argument("--tree", type=Path, default=ROOT, help="checkout to measure, at its current commit")
    parser.add_argument("--plan", type=Path, help="JSON file of modules and tests, for an older checkout")
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "mutation.md")
    arguments = parser.parse_args()
    begun = time.monotonic()
    plan = read_plan(arguments.plan) if arguments.plan else PLAN
    commit, numbers, tried = measure(arguments.tree, plan, arguments.sample, arguments.seed, arguments.jobs)
    text = markdown(arguments.tree, commit, numbers, tried, (time.monotonic() - begun) / 60)
    arguments.output.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()

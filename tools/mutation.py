"""Changes single places of the code and looks whether the tests notice: python -m tools.mutation --sample 150 --seed 1

A sample of mutants is drawn from inference, film and evaluation, as many of each. One after the other is written into
a copy of the commit, never into the working tree, and the tests of its package run until the first that fails. A place
with several mutants (`<` may become `<=`, `==`, …) counts once. Type annotations are left alone: nothing runs them.
Writes the figures and the mutants that no test noticed as Markdown. Needs cosmic-ray.
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

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Part:
    """Modules by a pattern, the package that they count for, and the test files that run for them, quickest first."""

    package: str
    modules: str
    tests: tuple[str, ...]


_FILM = ("tests/decisions/test_reading.py", "tests/test_film_made.py", "tests/test_film_cases.py")
_FILM_CHECK = ("tests/test_film_check.py",)
_EVALUATION = (
    "tests/decisions/test_thresholds_and_figures.py",
    "tests/decisions/test_hard_cases.py",
    "tests/training/test_training_measures.py",
    "tests/training/test_training_evaluation.py",
)

# Of the patterns that fit a module the last one counts. Modules without tests are left out.
PLAN = (
    Part("inference", "ptx_app/inference/*.py", ("tests/decisions/test_finding.py", "tests/test_inference.py")),
    Part("film", "ptx_app/film/**/*.py", _FILM),
    Part("film", "ptx_app/film/check/*.py", _FILM_CHECK),
    Part("film", "ptx_app/film/examples.py", ()),  # this and the next make drawings
    Part("film", "ptx_app/film/simulate.py", ()),
    Part("film", "ptx_app/film/sandbox/*.py", ()),  # its tests are of time limits, and fail on a busy machine
    Part("evaluation", "ptx_app/evaluation/*.py", _EVALUATION),
)

# An operator is replaced by another of its kind: most others would be errors that any test finds.
_KINDS = (
    {"Add", "Sub", "Mul", "Div", "FloorDiv", "Mod", "Pow"},
    {"BitAnd", "BitOr", "BitXor", "LShift", "RShift"},
    {"Eq", "NotEq", "Lt", "LtE", "Gt", "GtE"},
    {"Is", "IsNot"},
    {"UAdd", "USub", "Delete"},
    {"Not", "Delete"},
    {"Invert", "Delete"},
)

# Examples are the same in every run, and a test that fails does not look for a smaller one.
_EXAMPLES = """
from hypothesis import Phase, settings
settings.register_profile("mutation", derandomize=True, deadline=None, database=None,
                          phases=[Phase.explicit, Phase.generate])
"""


class Outcome(StrEnum):
    """What the tests say of a mutant."""

    KILLED = "killed"
    SURVIVED = "survived"
    TIMEOUT = "timeout"


@dataclass(frozen=True)
class Mutant:
    """A change of one place: the `occurrence`-th of its operator in a module."""

    part: Part
    module: str
    line: int
    operator: str
    occurrence: int


def unpack(tree: Path, folder: Path) -> str:
    """Put the commit of a checkout into a folder; its short hash."""
    git = ["git", "-C", str(tree)]
    archive = subprocess.run([*git, "archive", "HEAD"], check=True, capture_output=True).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as packed:
        packed.extractall(folder, filter="data")
    (folder / "mutation_examples.py").write_text(_EXAMPLES, encoding="utf-8")
    return subprocess.run(
        [*git, "rev-parse", "--short", "HEAD"], check=True, capture_output=True, text=True
    ).stdout.strip()


def places(folder: Path, plan: Sequence[Part]) -> dict[str, list[list[Mutant]]]:
    """By package, the mutants of each place."""
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
            if not any(begin <= start < end for begin, end in annotations):
                yield (start, family), Mutant(part, module, start[0], name, occurrence)


def _annotations(code: str) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Where type annotations begin and end."""
    nodes = list(ast.walk(ast.parse(code)))
    found = [node.annotation for node in nodes if isinstance(node, ast.arg | ast.AnnAssign)]
    found += [node.returns for node in nodes if isinstance(node, ast.FunctionDef)]
    return [
        ((node.lineno, node.col_offset), (node.end_lineno or node.lineno, node.end_col_offset or 0))
        for node in found
        if node is not None
    ]


def drawn(found: dict[str, list[list[Mutant]]], sample: int, seed: int) -> list[Mutant]:
    """About `sample` mutants, as many of each package: a place, then one of its mutants."""
    chance, each = Random(seed), sample // len(found)
    return [
        chance.choice(place)
        for of_package in found.values()
        for place in chance.sample(of_package, min(each, len(of_package)))
    ]


def run_tests(folder: Path, tests: Sequence[str], seconds: float) -> Outcome:
    """Run test files in a copy until one fails or the time is over."""
    options = ["-x", "-q", "-p", "no:cacheprovider", "-p", "mutation_examples", "--hypothesis-profile=mutation"]
    command = [sys.executable, "-B", "-m", "pytest", *options, *tests]
    running = subprocess.Popen(
        command,
        cwd=folder,
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},  # a stale one would hide the next mutant
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        return Outcome.KILLED if running.wait(seconds) else Outcome.SURVIVED
    except subprocess.TimeoutExpired:
        return Outcome.TIMEOUT
    finally:
        with contextlib.suppress(ProcessLookupError):  # of a session of its own, so that no child outlives it
            os.killpg(running.pid, signal.SIGKILL)
        running.wait()


def try_mutant(mutant: Mutant, folder: Path, seconds: float) -> tuple[Outcome, str]:
    """What the tests say of a mutant, and its change in one line."""
    module = folder / mutant.module
    code = module.read_text(encoding="utf-8")
    changed = mutate_code(code, get_operator(mutant.operator)(), mutant.occurrence)
    module.write_text(changed, encoding="utf-8")
    try:
        return run_tests(folder, mutant.part.tests, seconds), one_line(code, changed)
    finally:
        module.write_text(code, encoding="utf-8")


def one_line(before: str, after: str) -> str:
    """The lines that differ, as they were and as they are."""
    was, now = before.splitlines(), after.splitlines()
    for end in (0, -1):
        while was and now and was[end] == now[end]:
            del was[end], now[end]
    return " → ".join(f"`{' '.join(line.strip() for line in lines)}`" for lines in (was, now))


@dataclass(frozen=True)
class Tried:
    """A mutant, what became of it, and its change."""

    mutant: Mutant
    outcome: Outcome
    change: str


def measure(
    tree: Path, plan: Sequence[Part], sample: int, seed: int, jobs: int
) -> tuple[str, dict[str, int], list[Tried]]:
    """Draw and try mutants of a checkout's commit, `jobs` at a time.

    Returns:
        The commit, the number of places by package, and what was tried.

    Raises:
        SystemExit: tests fail on the code as it is.
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
    """How long tests may take: thrice as long as on the code as it is, where they must pass, and a little."""
    begun = time.monotonic()
    if run_tests(folder, tests, 900) is not Outcome.SURVIVED:
        raise SystemExit(f"Tests fail without any mutant: {' '.join(tests)}")
    return 3 * (time.monotonic() - begun) + 20


def markdown(command: str, commit: str, numbers: dict[str, int], tried: Sequence[Tried], minutes: float) -> str:
    """The document."""
    lines = [
        "# Do the tests notice a change?",
        "",
        f"Written by `{command}` at commit {commit}, in {minutes:.0f} minutes; no figure is typed by hand. Each mutant "
        "changes one place of the code: an operator, a number, a condition, an exception, a decorator, a loop. It is "
        "killed where a test of its package fails. One that never ends counts as noticed, too. The films of PTX_DATA "
        f"were {'at hand' if os.environ.get('PTX_DATA') else 'not at hand, so that tests of them were skipped'}.",
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
    lines += ["", "## Survivors", "", "Some change nothing that can be seen from outside.", ""]
    lines += [
        f"- {one.mutant.module}:{one.mutant.line}, {one.mutant.operator.removeprefix('core/')}: {one.change}"
        for one in tried
        if one.outcome is Outcome.SURVIVED
    ]
    return "\n".join(lines) + "\n"


def read_plan(path: Path) -> tuple[Part, ...]:
    """A plan of a JSON file, for a checkout that is laid out otherwise: a list of {"package", "modules", "tests"}."""
    entries = json.loads(path.read_text(encoding="utf-8"))
    return tuple(Part(entry["package"], entry["modules"], tuple(entry["tests"])) for entry in entries)


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sample", type=int, default=150, help="mutants of all packages together")
    parser.add_argument("--seed", type=int, default=1, help="of the sample")
    parser.add_argument("--jobs", type=int, default=1, help="mutants tried at a time")
    parser.add_argument("--tree", type=Path, default=ROOT, help="checkout whose commit is measured")
    parser.add_argument("--plan", type=Path, help="JSON file of modules and tests, for an older checkout")
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "mutation.md")
    arguments = parser.parse_args()
    begun = time.monotonic()
    plan = read_plan(arguments.plan) if arguments.plan else PLAN
    commit, numbers, tried = measure(arguments.tree, plan, arguments.sample, arguments.seed, arguments.jobs)
    command = f"python -m tools.mutation --sample {arguments.sample} --seed {arguments.seed}"
    text = markdown(command, commit, numbers, tried, (time.monotonic() - begun) / 60)
    arguments.output.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()

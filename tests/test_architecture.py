"""The structure that docs/architecture.md draws: floors one way, no circle, short files, one name for one thing."""

from __future__ import annotations

import ast
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FLOORS = (
    ("cosdpo.errors", "cosdpo.arrays", "cosdpo.claim", "cosdpo.activity", "cosdpo.files", "cosdpo.hub_check"),
    ("cosdpo.config", "cosdpo.simplex", "cosdpo.losses"),
    ("cosdpo.cli", "cosdpo.data"),
    ("cosdpo.models",),
    ("cosdpo.methods", "cosdpo.evaluation", "cosdpo.export", "cosdpo.hub_card"),
    ("cosdpo.training", "cosdpo.loaded", "cosdpo.vllm_resolver", "cosdpo.hub"),
    ("cosdpo.tasks",),
    ("cosdpo.preflight",),
    ("cosdpo.experiment",),
    ("cosdpo.reports",),
    ("serve.engine",),
    ("serve.http", "serve"),
)
"""From the ground up: a package imports from its own floor and from those below."""
DRAWING = ("matplotlib", "markupsafe")


def product_files() -> list[Path]:
    """Every Python file that is no test."""
    return [path for folder in ("cosdpo", "serve", "jobs", "benchmarks") for path in (ROOT / folder).rglob("*.py")]


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def package_of(module: str) -> str | None:
    """The package or top-level module of FLOORS that a module belongs to."""
    named = [name for floor in FLOORS for name in floor if module == name or module.startswith(f"{name}.")]
    return max(named, key=len, default=None)


def imports(path: Path) -> Iterator[str]:
    """Modules that a file imports, wherever in it; `from package import name` counts as package.name too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.fixture(scope="module")
def edges() -> dict[tuple[str, str], set[str]]:
    """Which package imports which, with the files that do."""
    found: dict[tuple[str, str], set[str]] = defaultdict(set)
    for path in (*(ROOT / "cosdpo").rglob("*.py"), *(ROOT / "serve").rglob("*.py")):
        own = package_of(module_of(path))
        for module in imports(path):
            other = package_of(module)
            if own and other and own != other:
                found[own, other].add(str(path.relative_to(ROOT)))
    return dict(found)


def test_every_module_has_a_floor():
    homeless = [
        module
        for path in product_files()
        if (module := module_of(path)).startswith(("cosdpo.", "serve")) and package_of(module) is None
    ]
    assert homeless == []


def test_floors_are_one_way(edges):
    level = {name: height for height, floor in enumerate(FLOORS) for name in floor}
    upward = {edge: files for edge, files in edges.items() if level[edge[0]] < level[edge[1]]}
    assert upward == {}


def test_no_circle_of_packages(edges):
    above: dict[str, set[str]] = defaultdict(set)
    for own, other in edges:
        above[own].add(other)
    done: set[str] = set()

    def visit(package: str, path: tuple[str, ...]) -> None:
        assert package not in path, " -> ".join((*path, package))
        if package not in done:
            for other in above[package]:
                visit(other, (*path, package))
            done.add(package)

    for package in list(above):
        visit(package, ())


def test_only_reports_draw():
    drawing = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "cosdpo").rglob("*.py")
        if any(module.split(".")[0] in DRAWING for module in imports(path))
    }
    assert all(name.startswith("cosdpo/reports/") for name in drawing), drawing


def test_only_tasks_ask_which_task_it_is():
    """A third task is a new folder: but for the configuration, nobody elsewhere compares a task with a name."""
    asking = set()
    for path in (ROOT / "cosdpo").rglob("*.py"):
        if {"tasks", "config"} & set(path.parts):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Compare) and any(
                isinstance(side, ast.Attribute) and side.attr == "task" for side in (node.left, *node.comparators)
            ):
                asking.add(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert asking == set()


def test_files_are_short():
    lines = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in product_files()}
    assert {name: count for name, count in lines.items() if count > 300} == {}
    assert {name: count for name, count in lines.items() if name.startswith("jobs/") and count >= 40} == {}


def test_a_file_name_means_one_thing():
    names = Counter(path.name for path in product_files() if not path.name.startswith("__"))
    # A script of jobs/ or benchmarks/ is called what it runs.
    scripts = {path.name for folder in ("jobs", "benchmarks") for path in (ROOT / folder).glob("*.py")}
    assert {name for name, count in names.items() if count > 1} <= scripts


def test_a_class_name_means_one_thing():
    classes: dict[str, list[str]] = defaultdict(list)
    for path in product_files():
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                classes[node.name].append(str(path.relative_to(ROOT)))
    assert {name: files for name, files in classes.items() if len(files) > 1} == {}

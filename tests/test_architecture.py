"""Imports point one way: the list below is the architecture, and the files are held to it.

The levels are those of `docs/architecture.md`, from the ground up. A module may import what stands
before it and nothing else, wherever in the file the import is written.
"""

import ast
import subprocess
import sys
from collections.abc import Collection, Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

import lora_ref

PACKAGE = Path(lora_ref.__file__).parent

LEVELS: dict[str, tuple[str, ...]] = {
    "shared": (
        "errors",
        "suggestions",
        "module_names",
        "read_text",
        "atomic_write",
        "processes",
        "checks",
    ),
    "mathematics": (
        "exact",
        "lowrank",
        "quantize.levels",
        "quantize.array",
        "quantize",
        "ops.special",
        "ops.activations",
        "ops.attention",
        "ops.normalization",
        "ops.losses",
        "ops",
    ),
    "layers": (
        "layers.base",
        "layers.composite",
        "layers.linear",
        "layers.initializers",
        "layers.low_rank",
        "layers.lora",
        "layers.multitask",
        "layers.dora",
        "layers.qlora",
        "layers.activation",
        "layers.norm",
        "layers.embedding",
        "layers.attention",
        "layers.adapter",
        "layers",
    ),
    "use": (
        "counting.*",
        "gradcheck.slopes",
        "gradcheck.passes",
        "gradcheck.differences",
        "gradcheck.reference",
        "gradcheck.init_and_step",
        "gradcheck.masking",
        "gradcheck",
        "training.*",
        "checkpoint.strict_json",
        "checkpoint.safetensors",
        "checkpoint.shapes",
        "checkpoint.adapter_config",
        "checkpoint.peft",
        "checkpoint.conventions.*",
        "checkpoint.inspection",
        "checkpoint.operations",
        "checkpoint",
        "transformer.*",
        "mistakes.*",
        "study.*",
        "text_study.*",
        "sentiment.*",
    ),
    "teaching": (
        "claims.*",
        "walkthrough.example",
        "walkthrough.steps",
        "walkthrough.text",
        "walkthrough",
        "figures.*",
        "exercises.*",
    ),  # the modules of a folder, at one place; circles are refused below
    "command line": ("", "cli.*", "__main__"),  # "" is lora_ref itself, what `import lora_ref` runs
}
ORDER = [f"lora_ref.{name}".rstrip(".") for names in LEVELS.values() for name in names]

THIRD_PARTY = {"numpy"}
SCRIPTS = {("lora_ref.study.extract_digits", "sklearn")}  # made the data; nothing imports it
FIGURES = "lora_ref.figures"  # the only place for matplotlib, and there inside functions


RULES = {
    "one way": "imports point one way, towards what all share",
    "no circle": "no modules import each other",
    "listed": "every module stands in ORDER",
    "absolute": "imports are written in full",
    "visible": "no import is hidden in a string",
    "third party": "NumPy is the only import from outside",
    "lazy": "matplotlib is imported inside functions",
}


class Import(NamedTuple):
    """One import as it stands in a file."""

    source: str  # "lora_ref" in `from lora_ref import exact`; a relative one keeps its dots
    name: str  # "exact"; "" in `import lora_ref`
    line: int
    at_once: bool  # whether it runs when the file is imported

    def module(self, modules: Collection[str]) -> str:
        """Return the full name of the module, which the imported name may be itself."""
        inner = f"{self.source}.{self.name}"
        return inner if inner in modules else self.source


def imports_below(node: ast.AST, at_once: bool = True) -> Iterator[Import]:
    """Yield every import below a node, wherever it is written."""
    for child in ast.iter_child_nodes(node):
        now = at_once and not runs_later(child)
        match child:
            case ast.Import():
                for alias in child.names:
                    yield Import(alias.name, "", child.lineno, now)
            case ast.ImportFrom():
                source = "." * child.level + (child.module or "")
                for alias in child.names:
                    yield Import(source, alias.name, child.lineno, now)
            case ast.Name(id="__import__" | "import_module") | ast.Attribute(attr="import_module"):
                yield Import("?", "", child.lineno, now)
            case _:
                yield from imports_below(child, now)


def runs_later(node: ast.AST) -> bool:
    """Return whether importing the file passes over what is below this node."""
    if isinstance(node, ast.If):
        return "TYPE_CHECKING" in ast.unparse(node.test)
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)


@cache
def imports_of(source: str) -> tuple[Import, ...]:
    return tuple(imports_below(ast.parse(source)))


@cache
def files() -> dict[str, str]:
    """Return what stands in every file of the package, by its path from there."""
    paths = sorted(PACKAGE.rglob("*.py"))
    return {p.relative_to(PACKAGE).as_posix(): p.read_text(encoding="utf-8") for p in paths}


def read(files: dict[str, str]) -> dict[str, tuple[Import, ...]]:
    """Return what every module imports, by full name."""
    found = {}
    for path, text in files.items():
        name = f"lora_ref/{path}".removesuffix(".py").replace("/", ".")
        found[name.removesuffix(".__init__")] = imports_of(text)
    return found


@cache
def place(name: str) -> int | None:
    """Return where a module stands in `ORDER`, or None."""
    if name in ORDER:
        return ORDER.index(name)
    for i, listed in enumerate(ORDER):
        folder = listed.removesuffix(".*")
        if listed != folder and (name == folder or name.startswith(f"{folder}.")):
            return i
    return None


def faults(files: dict[str, str]) -> dict[str, list[str]]:
    """Return what is wrong with the imports of a package, as sentences, by rule."""
    modules = read(files)
    found: dict[str, list[str]] = {rule: [] for rule in RULES}
    graph: dict[str, set[str]] = {name: set() for name in modules}
    for name, imports in modules.items():
        here = place(name)
        if here is None:
            found["listed"].append(f"{name} stands nowhere in ORDER")
        for one in imports:
            module = one.module(modules)
            top, where = module.partition(".")[0], f"{name}, line {one.line}:"
            if module == "?":
                found["visible"].append(f"{where} an import by string, which no list can see")
            elif module.startswith("."):
                found["absolute"].append(f"{where} a relative import, {module}")
            elif top == "lora_ref":
                graph[name].add(module)
                there = place(module)
                if there is None:
                    found["listed"].append(f"{where} {module} stands nowhere in ORDER")
                elif here is not None and not is_below(there, here):
                    found["one way"].append(f"{where} {module} does not stand below it")
            elif top == "matplotlib":
                if not name.startswith(FIGURES):
                    found["third party"].append(f"{where} matplotlib belongs into {FIGURES}")
                if one.at_once:
                    found["lazy"].append(f"{where} matplotlib at the top of a file")
            elif (name, top) in SCRIPTS and not one.at_once:
                continue
            elif top not in sys.stdlib_module_names | THIRD_PARTY:
                found["third party"].append(f"{where} {top} is neither NumPy nor Python's own")
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        found["no circle"].append(" -> ".join(error.args[1]))
    return found


def is_below(there: int, here: int) -> bool:
    return there < here or (there == here and ORDER[here].endswith(".*"))


@pytest.mark.parametrize("rule", RULES)
def test_the_package_keeps(rule: str) -> None:
    found = faults(files())[rule]
    assert not found, f"{RULES[rule]}, but:\n" + "\n".join(found)


def test_ORDER_names_nothing_that_does_not_exist() -> None:
    modules = set(read(files()))
    stale = [name for name in ORDER if name.removesuffix(".*") not in modules]
    assert not stale, f"listed in ORDER, not in the package: {', '.join(stale)}"


def test_every_module_has_one_place() -> None:
    assert len(ORDER) == len(set(ORDER))
    assert place("lora_ref.layers.base") < place("lora_ref.layers")
    assert place("lora_ref.claims.claim") == place("lora_ref.claims.quantities.counts")
    assert place("lora_ref.claim") is None
    assert place("lora_ref.layers.unheard_of") is None


def test_every_module_is_seen_and_has_imports_to_judge() -> None:
    modules = read(files())
    assert {"lora_ref", "lora_ref.errors", "lora_ref.layers", "lora_ref.layers.lora"} <= set(
        modules
    )
    seen = {one.module(modules) for one in modules["lora_ref.layers.low_rank"]}
    assert seen >= {"numpy", "lora_ref.checks", "lora_ref.errors", "lora_ref.layers.base"}
    assert not modules["lora_ref.errors"]


# ---------------------------------------------------------------------- the rules can fail

INSIDE = "\n\ndef late():\n    "
PLANTED: dict[str, tuple[str, str, str, str]] = {
    "upwards": (
        "checks.py",
        "from lora_ref.layers import Linear",
        "one way",
        "lora_ref.checks, line {line}: lora_ref.layers does not stand below it",
    ),
    "upwards, by its whole name": (
        "layers/base.py",
        "import lora_ref.gradcheck.init_and_step",
        "one way",
        "lora_ref.layers.base, line {line}: "
        "lora_ref.gradcheck.init_and_step does not stand below it",
    ),
    "upwards, under another name": (
        "layers/linear.py",
        "from lora_ref.layers import lora as elsewhere",
        "one way",
        "lora_ref.layers.linear, line {line}: lora_ref.layers.lora does not stand below it",
    ),
    "upwards, from the root": (
        "errors.py",
        "from lora_ref import __version__",
        "one way",
        "lora_ref.errors, line {line}: lora_ref does not stand below it",
    ),
    "upwards, inside a function": (
        "errors.py",
        f"{INSIDE}from lora_ref import checks",
        "one way",
        "lora_ref.errors, line {line}: lora_ref.checks does not stand below it",
    ),
    "in a circle": (
        "checks.py",
        "from lora_ref.layers.base import Layer",
        "no circle",
        "lora_ref.checks",
    ),
    "relative": (
        "layers/lora.py",
        "from .base import Layer",
        "absolute",
        "lora_ref.layers.lora, line {line}: a relative import, .base",
    ),
    "by string": (
        "checks.py",
        "import importlib; late = importlib.import_module('lora_ref.layers')",
        "visible",
        "lora_ref.checks, line {line}: an import by string, which no list can see",
    ),
    "of a stranger": (
        "layers/lora.py",
        "import scipy.linalg",
        "third party",
        "lora_ref.layers.lora, line {line}: scipy is neither NumPy nor Python's own",
    ),
    "of a plotting library": (
        "gradcheck/init_and_step.py",
        f"{INSIDE}from matplotlib.figure import Figure",
        "third party",
        "lora_ref.gradcheck.init_and_step, line {line}: matplotlib belongs into lora_ref.figures",
    ),
    "of a plotting library, at once": (
        "figures.py",
        "import matplotlib.pyplot as plt",
        "lazy",
        "lora_ref.figures, line {line}: matplotlib at the top of a file",
    ),
    "of nothing": (
        "errors.py",
        "from lora_ref.unheard_of import name",
        "listed",
        "lora_ref.errors, line {line}: lora_ref.unheard_of stands nowhere in ORDER",
    ),
    "none, in a new file": (
        "layers/unheard_of.py",
        "",
        "listed",
        "lora_ref.layers.unheard_of stands nowhere in ORDER",
    ),
}


@pytest.mark.parametrize("plant", PLANTED)
def test_a_planted_import_is_named(plant: str) -> None:
    file, text, rule, sentence = PLANTED[plant]
    before = faults(files())[rule]
    planted = files().get(file, "") + "\n" + text
    new = [fault for fault in faults({**files(), file: planted})[rule] if fault not in before]
    expected = sentence.format(line=planted.count("\n") + 1)
    assert any(expected in fault for fault in new), new


def test_a_module_may_import_within_its_folder_and_draw_inside_a_function() -> None:
    late = (
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    from matplotlib.figure import Figure\n"
        "def draw():\n    import matplotlib.pyplot as plt\n"
    )
    found = faults({**files(), "figures/pictures.py": late})
    assert not found["lazy"] + found["third party"] + found["listed"]


# ---------------------------------------------------------------------- what importing does


def run(code: str, *flags: str) -> str:
    """Return what some code prints in a Python of its own."""
    done = subprocess.run(
        [sys.executable, *flags, "-c", code],
        cwd=PACKAGE.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def importable() -> str:
    return ", ".join(name for name in read(files()) if not name.endswith("__main__"))


def test_importing_the_package_or_any_module_of_it_loads_no_matplotlib() -> None:
    loaded = "print(*{name.partition('.')[0] for name in sys.modules})"
    said = run(f"import sys; import lora_ref; {loaded}; import {importable()}; {loaded}")
    at_once, in_all = (set(line.split()) for line in said.splitlines())
    assert {"lora_ref"} <= at_once <= in_all
    assert "numpy" in in_all
    assert "numpy" not in at_once, "the bare import is instant"
    assert "matplotlib" not in in_all


def test_the_package_can_be_imported_without_its_docstrings() -> None:
    assert run(f"import {importable()}; print(lora_ref.__doc__)", "-OO") == "None\n"

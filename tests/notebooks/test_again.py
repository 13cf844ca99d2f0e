"""Any cell can be run again, and with other numbers: nothing fails but with a sentence.

Run by ``make test-notebooks``. Each notebook runs to its end, then every cell once more in order,
then each cell with each of its own numbers changed: ranks, sizes, rates and seeds, as far as they
are given a name. A cell with the tag ``slow`` is run once more, and not varied.
"""

import ast
import contextlib
import io
import warnings

import build
import pytest

from lora_ref.errors import LoraRefError
from lora_ref.figures import Picture

pytestmark = pytest.mark.jupyter

FIXED = {"axis", "keepdims", "dtype", "ndmin", "indent", "width", "figsize", "decimals"}
"""Keywords that are no choice of a reader's."""


def code_of(source):
    return [cell for cell in build.cells_of(source) if cell.kind == "code"]


def run(text, namespace):
    """Run a cell; what it prints and warns about is nobody's business here."""
    with (
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        body = ast.parse(text)
        last = body.body[-1] if body.body else None
        exec(compile(body, "cell", "exec"), namespace)
        if isinstance(last, ast.Expr):  # its value is shown, so it has to be drawn
            value = eval(compile(ast.Expression(last.value), "cell", "eval"), namespace)
            if not isinstance(value, Picture):
                repr(value)


def constants(node):
    """Return the numbers of an expression that is a number, or a tuple or list of some."""
    if isinstance(node, ast.UnaryOp):
        node = node.operand
    if isinstance(node, ast.Tuple | ast.List):
        return [one for each in node.elts for one in constants(each)]
    number = isinstance(node, ast.Constant) and type(node.value) in (int, float)
    return [node] if number else []


def choices(tree):
    """Return the numbers of a cell that a reader would change, those that have a name."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            found += constants(node.value)
        elif isinstance(node, ast.For):
            found += constants(node.iter)
        elif isinstance(node, ast.Call):
            named = [word for word in node.keywords if word.arg not in FIXED]
            found += [one for word in named for one in constants(word.value)]
            if "default_rng" in ast.unparse(node.func):
                found += [one for argument in node.args for one in constants(argument)]
    return list({id(one): one for one in found}.values())


def varied(text):
    """Yield a cell with one of its numbers changed, and what was changed."""
    for i in range(len(choices(ast.parse(text)))):
        tree = ast.parse(text)
        number = choices(tree)[i]
        old = number.value
        number.value = old + 1 if isinstance(old, int) else 1.5 * old or 0.5
        yield ast.unparse(tree), f"line {number.lineno}: {old} -> {number.value}"


@pytest.mark.parametrize("source", build.sources(), ids=lambda path: path.stem)
def test_every_cell_runs_again_and_with_other_numbers(source):
    cells, namespace = code_of(source), {"__name__": "__main__"}
    for cell in cells:
        run(cell.text, namespace)
    for cell in cells:
        run(cell.text, namespace)
    wrong = []
    for cell in cells:
        for text, what in () if build.SLOW in cell.tags else varied(cell.text):
            try:
                run(text, dict(namespace))
            except LoraRefError:
                continue
            except Exception as error:
                where = f"the cell at line {cell.line}, {what}"
                wrong.append(f"{where}: {type(error).__name__}: {error}")
    assert not wrong, "\n".join(wrong)

"""The golden cases: as they are committed, by loops, by their formulas, and against mistakes."""

import copy
import json
import math
import re
from pathlib import Path
from statistics import NormalDist

import golden
import numpy as np
import pytest
from cases import each
from golden_by_loops import computed, entries
from golden_cases import FILES
from golden_cases.case import difference
from json_schema import faults

FOLDER = Path(golden.__file__).parent / "golden"
SCHEMA = json.loads((FOLDER / "schema.json").read_text(encoding="utf-8"))
PAGE = (FOLDER / "README.md").read_text(encoding="utf-8")
STORED = {name: json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8")) for name in FILES}
CASES = {case["id"]: case for file in STORED.values() for case in file["cases"]}
SOURCES = {case.id: case for file in FILES.values() for case in file.cases}
LEVELS = CASES["nf4-levels"]["expected"]["levels"]
EXACT = [name for name, case in CASES.items() if case["tolerance"] == 0]

every_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)
every_mistake = each(
    ("name", "mistake"), [(name, m) for name, case in SOURCES.items() for m in case.wrong]
)


def disagreements(found, case, tolerance=None):
    """Return the names of a case that are missing or further off than its tolerance."""
    tolerance = case["tolerance"] if tolerance is None else tolerance
    expected = case["expected"]
    assert found.keys() <= expected.keys()
    return [
        name
        for name in expected
        if name not in found or not difference(found[name], expected[name]) <= tolerance
    ]


# ------------------------------------------------------------------------------------- the files


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_as_committed(name):
    """All bytes but those of what is rounded: BLAS adds in another order on another machine."""
    now = golden.as_records(FILES[name])
    for case, stored in zip(now["cases"], STORED[name]["cases"], strict=True):
        if case["tolerance"] > 0:
            assert disagreements(case["expected"], stored) == []
            case["expected"] = stored["expected"]
    text = (FOLDER / f"{name}.json").read_text(encoding="utf-8")
    assert golden.as_json(now) == text, "run: make docs"


def test_the_page_is_as_committed():
    assert golden.as_page() == PAGE, "run: make docs"


def test_there_is_no_other_file():
    names = {path.name for path in FOLDER.iterdir()}
    assert names == {"README.md", "schema.json", *(f"{name}.json" for name in FILES)}


def test_ids_are_different_and_the_files_are_small():
    assert len(CASES) == sum(len(file["cases"]) for file in STORED.values())
    assert sum((FOLDER / f"{name}.json").stat().st_size for name in FILES) <= 60_000


@pytest.mark.parametrize("name", STORED)
def test_a_file_keeps_to_the_schema(name):
    assert faults(STORED[name], SCHEMA) == []


SPOILT = {
    "a key missing": lambda case: case.pop("formula"),
    "a key too many": lambda case: case.update(note="none"),
    "a number as text": lambda case: case["expected"].update(y=["1.0"]),
    "no entry": lambda case: case["expected"].update(y=[]),
    "nothing expected": lambda case: case.update(expected={}),
    "no sentence": lambda case: case.update(tests="the output"),
    "a negative tolerance": lambda case: case.update(tolerance=-1),
    "a truth value for a number": lambda case: case.update(tolerance=True),
    "no mistake": lambda case: case.update(catches=[]),
    "a mistake that shows nowhere": lambda case: case["catches"][0].update(shows_in=[]),
}


@pytest.mark.parametrize("spoil", SPOILT.values(), ids=SPOILT)
def test_the_schema_refuses(spoil):
    file = copy.deepcopy(STORED["lora"])
    spoil(file["cases"][0])
    assert faults(file, SCHEMA)


@every_case
def test_inputs_tell_axes_apart(case):
    assert all(value is not None for value in entries(case["inputs"]))
    for name, value in case["inputs"].items():
        for matrix in value if name in "AB" and case["function"] == "multitask" else [value]:
            array = np.array(matrix)
            if array.ndim == 2:
                assert len(set(array.shape)) == 2, f"{name} is square"
                assert min(array.shape) > 1
                assert array.any()


# ---------------------------------------------------------------------------- what is expected


@every_case
def test_plain_loops_give_what_is_expected(case):
    assert disagreements(computed(case, LEVELS), case) == []


def test_a_last_digit_is_seen():
    case = copy.deepcopy(CASES["lora"])
    found = computed(case, LEVELS)
    case["expected"]["grad_A"][0][0] += 2.0**-20
    assert disagreements(found, case) == ["grad_A"]


NAMES = "argmin exp hstack linspace maximum pi reshape rint shape sort sqrt tri"
FUNCTIONS = {name: getattr(np, name) for name in NAMES.split()}
"""What the formulas take from NumPy."""


@every_case
def test_the_formula_gives_what_is_expected(case):
    names = {**FUNCTIONS, "erf": np.vectorize(math.erf), "inv_cdf": NormalDist().inv_cdf}
    names |= SOURCES[case["id"]].inputs | {"levels": np.array(LEVELS)}
    exec("\n".join(case["formula"]), names)
    assert disagreements({name: names[name] for name in case["expected"]}, case) == []


@every_case
def test_in_float32_a_case_passes_by_what_the_page_says(case):
    def narrow(value):
        if isinstance(value, list):
            return [narrow(one) for one in value]
        is_float = isinstance(value, np.ndarray) and value.dtype == np.float64
        return value.astype(np.float32) if is_float else value

    source = SOURCES[case["id"]]
    found = source.compute(**{key: narrow(value) for key, value in source.inputs.items()})
    assert disagreements(found, case, tolerance=1e-5 if case["tolerance"] else 0) == []
    assert "In float32 take 1e-5 where it is not 0" in PAGE


def multipliers(inputs):
    """Return what stands before each update."""
    if "alpha" not in inputs:
        return []
    one = not isinstance(inputs["alpha"], list)
    alphas, factors = ([inputs["alpha"]], [inputs["A"]]) if one else (inputs["alpha"], inputs["A"])
    weights = inputs.get("weights", [1] * len(alphas))
    power = 0.5 if inputs.get("rank_stabilized") else 1
    return [w * a / len(A) ** power for w, a, A in zip(weights, alphas, factors, strict=True)]


@pytest.mark.parametrize("name", [name for name in EXACT if not name.startswith("nf4")])
def test_an_exact_case_is_exact_in_any_order(name):
    """Every term is a multiple of a unit, and no sum of some of them reaches 2^24 units."""
    inputs = CASES[name]["inputs"]
    numbers = [n for value in inputs.values() if not isinstance(value, str) for n in entries(value)]
    assert all(float(8 * number).is_integer() for number in numbers)
    assert all((4 * s).is_integer() for s in multipliers(inputs))
    unit = 8**3 * 4  # of one: a term is at most three of these numbers and a multiplier
    for value in computed(CASES[name], absolute=True).values():
        assert max(entries(value)) * unit < 2**24


# ---------------------------------------------------------------------------------- mistakes


@every_mistake
def test_a_mistake_fails_its_case_where_it_says(name, mistake):
    case = SOURCES[name]
    stored = next(one for one in CASES[name]["catches"] if one["mistake"] == mistake)
    found = case.differences(mistake)
    assert stored["shows_in"] == list(found)
    assert min(found.values()) > 1e-4, "too small to be told from rounding in float32"


def test_what_passes_is_told_from_what_does_not():
    right = np.array([[1.0, -4.0]])
    assert difference(right + np.array([0.5, 0.0]), right) == 0.125
    assert difference(right.T, right) == math.inf
    assert difference(right * math.nan, right) == math.inf
    assert difference([right, right], [right]) == math.inf


# ---------------------------------------------------------------------------------- the page


def test_the_code_of_the_page_prints_what_it_says(monkeypatch, capsys):
    monkeypatch.chdir(FOLDER.parents[1])
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    exec(code, {})
    assert "It prints `" + capsys.readouterr().out.strip() + "`" in PAGE


def test_links_of_the_page_lead_to_files():
    links = re.findall(r"\]\(([^)#\s]+)\)", PAGE)
    assert len(links) > len(CASES)
    assert [link for link in links if not (FOLDER / link).exists()] == []

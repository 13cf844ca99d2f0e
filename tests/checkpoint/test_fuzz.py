"""Damaged adapters load to finite numbers of the right shape, or raise LoraRefError; nothing else.

500 mutations of good files by default, 2,000 with `make test-exhaustive`; `make fuzz` tries twenty
times as many, drawn anew.
"""

import json
import re
import warnings

import numpy as np
import pytest
from hypothesis import settings

from lora_ref.checkpoint import load_peft, save_peft
from lora_ref.checkpoint.peft import CONFIG, WEIGHTS
from lora_ref.errors import LoraRefError
from lora_ref.layers import DoRALinear, Linear, LoRALinear
from tests.fixtures.how_many_seeds import seeds

MUTATIONS = 2_000
LONG = settings.get_current_profile_name() == "fuzz"

NASTY = [None, True, False, 0, -1, 3, 2.5, 1e300, 10**30, float("nan"), float("inf"), "", "no"]
NASTY += ["all", "lora_only", "fc", "(", ".*", "\0", "[[", {}, [], [""], [[]], {"fc1": 2}, {"(": 1}]
NASTY += [{"fc1": -1}, {"fc2": 1e400}, "pissa", ["fc1", "fc1"], ["head"], [None], "a" * 5000]


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """A LoRA and a DoRA adapter of the same base, as bytes, and the base."""
    rng, found = np.random.default_rng(0), []

    def drawn(*shape):
        return rng.standard_normal(shape)

    head = Linear(drawn(2, 3), drawn(2), train=("W", "bias"))
    for kind in (LoRALinear, DoRALinear):
        more = {"magnitude": drawn(4)} if kind is DoRALinear else {}
        fc1 = kind(drawn(4, 5), drawn(2, 5), drawn(4, 2), **more, alpha=3.0, bias=drawn(4))
        more = {"magnitude": drawn(3)} if kind is DoRALinear else {}
        fc2 = kind(drawn(3, 4), drawn(1, 4), drawn(3, 1), **more, alpha=3.0)
        folder = tmp_path_factory.mktemp("good")
        save_peft(folder, {"fc1": fc1, "fc2": fc2, "head": head}, dtype=np.float32)
        found.append({name: (folder / name).read_bytes() for name in (CONFIG, WEIGHTS)})
    base = {"fc1.weight": fc1.W0, "fc1.bias": fc1.bias, "fc2.weight": fc2.W0}
    return found, {**base, "head.weight": head.W, "head.bias": head.bias}


def flipped(data, rng):
    at = rng.integers(len(data))
    return data[:at] + bytes([data[at] ^ (1 << rng.integers(8))]) + data[at + 1 :]


def cut(data, rng):
    at, size = rng.integers(len(data)), rng.choice([1, 2, 8, 64, 10**6])
    return data[:at] + data[at + size :]


def inserted(data, rng):
    at = rng.integers(len(data) + 1)
    return data[:at] + rng.bytes(int(rng.choice([1, 3, 8]))) + data[at:]


def with_another_number(data, rng):
    """Put one number of the text in the place of another, or a nasty one; the length may follow."""
    text = data[8:] if data[8:9] == b"{" else data
    numbers = list(re.finditer(rb"-?\d+", text[:2000]))
    if not numbers:
        return data
    old, other = rng.choice(len(numbers), 2)
    new = rng.choice([numbers[other][0], b"0", b"-1", b"1e9", b"99999999999999999999", b"true"])
    changed = text[: numbers[old].start()] + bytes(new) + text[numbers[old].end() :]
    if text is data:
        return changed
    length = int.from_bytes(data[:8], "little") + (len(changed) - len(text)) * rng.integers(2)
    return int(length).to_bytes(8, "little") + changed


def with_another_option(data, rng):
    """Give an option of the configuration a nasty value, or take it out, or write it twice."""
    try:
        options = json.loads(data)
        key = str(rng.choice(list(options)))
    except (ValueError, TypeError, AttributeError):
        return flipped(data, rng)
    match rng.integers(4):
        case 0:
            del options[key]
        case 1:
            return data.replace(b"{", b'{"%s": 1,' % key.encode(), 1)
        case _:
            options[key] = NASTY[rng.integers(len(NASTY))]
    return json.dumps(options).encode()


def check_loaded(layers, base):
    for name, layer in layers.items():
        for array in vars(layer).values():
            if isinstance(array, np.ndarray):
                assert np.isfinite(array).all()
        weight = base[f"{name}.weight"]
        assert layer.forward(np.ones((2, weight.shape[1])))[0].shape == (2, len(weight))


@pytest.mark.parametrize("start", seeds(4))
def test_a_damaged_adapter_loads_right_or_is_refused(start, good, tmp_path):
    folders, base = good
    seed = None if LONG else start
    rng, outcomes = np.random.default_rng(seed), {"loaded": 0, "refused": 0}
    written = {}
    longest, before = 0, {name: array.copy() for name, array in base.items()}
    for _ in range(MUTATIONS // 4 * (20 if LONG else 1)):
        files = dict(folders[rng.integers(2)])
        for _ in range(rng.integers(1, 4)):
            name = (CONFIG, WEIGHTS)[rng.integers(2)]
            ways = [flipped, cut, inserted, with_another_number, with_another_option]
            if files[name]:
                files[name] = ways[rng.integers(5 if name == CONFIG else 4)](files[name], rng)
        for name, data in files.items():
            if written.get(name) != data:
                (tmp_path / name).write_bytes(data)
        written = files
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                loaded = load_peft(tmp_path, base, strict=bool(rng.integers(2)))
            with np.errstate(all="ignore"):
                check_loaded(loaded, base)
            outcomes["loaded"] += 1
        except LoraRefError as error:
            longest = max(longest, len(str(error)))
            outcomes["refused"] += 1
    assert longest < 2_000
    assert min(outcomes.values()) > 20, outcomes
    for name, array in base.items():
        assert array.tobytes() == before[name].tobytes()

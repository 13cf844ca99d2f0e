"""The golden cases in PyTorch and PEFT: what these compute has to pass them too."""

import json
from functools import partial

import pytest

torch = pytest.importorskip("torch")
peft = pytest.importorskip("peft")

import golden  # noqa: E402
from golden_cases import FILES  # noqa: E402
from golden_cases.case import difference  # noqa: E402
from torch.nn import functional as F  # noqa: E402

CASES = {
    case["id"]: case
    for name in FILES
    for case in json.loads((golden.FOLDER / f"{name}.json").read_text(encoding="utf-8"))["cases"]
}


def tensors(inputs, *moving):
    """Return lists as tensors in float64; those that move will have a gradient."""
    found = {
        name: torch.tensor(value, dtype=torch.float64) if isinstance(value, list) else value
        for name, value in inputs.items()
    }
    for name in moving:
        found[name].requires_grad_()
    return found


def gradients(y, at, *moving):
    y.backward(at["grad_y"])
    return {"y": y, **{f"grad_{name}": at[name].grad for name in moving}}


class Masked(torch.nn.Module):
    """Dropout with a given mask."""

    def __init__(self, mask):
        super().__init__()
        self.mask = mask

    def forward(self, x):
        return x * self.mask


def in_peft(inputs):
    """Return both passes and the merge of an adapted layer."""
    at = tensors(inputs, "x")
    use_dora, (out_features, in_features) = "magnitude" in at, at["W0"].shape
    config = peft.LoraConfig(
        r=len(at["A"]),
        lora_alpha=at["alpha"],
        target_modules=["fc"],
        use_rslora=at.get("rank_stabilized", False),
        use_dora=use_dora,
    )
    base = torch.nn.ModuleDict({"fc": torch.nn.Linear(in_features, out_features)})
    model = peft.get_peft_model(base, config).double()
    layer = model.base_model.model["fc"]
    if "mask" in at:
        layer.lora_dropout["default"] = Masked(at["mask"])
    places = {"A": layer.lora_A["default"].weight, "B": layer.lora_B["default"].weight}
    if use_dora:
        places["magnitude"] = layer.lora_magnitude_vector["default"].weight
    with torch.no_grad():
        layer.base_layer.weight.copy_(at["W0"])
        layer.base_layer.bias.copy_(at["bias"])
        for name, parameter in places.items():
            parameter.copy_(at[name])
    found = gradients(layer(at["x"]), at, "x")
    found |= {f"grad_{name}": parameter.grad for name, parameter in places.items()}
    merged = model.merge_and_unload()["fc"]
    found["merged_W"] = merged.weight
    return found if use_dora else {**found, "merged_bias": merged.bias}


def dora(inputs):
    names = ("x", "A", "B", "magnitude")
    at = tensors(inputs, *names)
    V = at["W0"] + at["alpha"] / len(at["A"]) * at["B"] @ at["A"]
    W = (at["magnitude"] / V.norm(dim=1))[:, None] * V
    return {**gradients(F.linear(at["x"], W, at["bias"]), at, *names), "merged_W": W}


def multitask(inputs):
    at = tensors({name: inputs[name] for name in ("x", "W0", "bias", "grad_y")}, "x")
    tasks = range(len(inputs["A"]))
    pairs = [tensors({"A": inputs["A"][t], "B": inputs["B"][t]}, "A", "B") for t in tasks]
    deltas = [inputs["alpha"][t] / len(p["A"]) * p["B"] @ p["A"] for t, p in enumerate(pairs)]
    found = {}
    if "task" in inputs:
        task = torch.tensor(inputs["task"])
        y = F.linear(at["x"], at["W0"], at["bias"])
        for t in tasks:
            y = y + (task == t)[:, None] * F.linear(at["x"], deltas[t])
    else:
        weights = inputs.get("weights", [1] * len(deltas))
        W = at["W0"] + sum(w * delta for w, delta in zip(weights, deltas, strict=True))
        y, found["merged_W"] = F.linear(at["x"], W, at["bias"]), W
    found |= gradients(y, at, "x")
    return {**found, **{f"grad_{name}": [p[name].grad for p in pairs] for name in "AB"}}


def adapter(inputs):
    names = ("x", "W_down", "b_down", "W_up", "b_up")
    at = tensors(inputs, *names)
    h = getattr(F, at["activation"])(F.linear(at["x"], at["W_down"], at["b_down"]))
    return gradients(at["x"] + F.linear(h, at["W_up"], at["b_up"]), at, *names)


def attention(inputs):
    names = ("q", "k", "v")
    at = tensors(inputs, *names)
    y = F.scaled_dot_product_attention(*(at[name][None] for name in names))[0]
    return gradients(y, at, *names)


def multi_head(inputs):
    names = ("x", "W_q", "W_k", "W_v", "W_o")
    at = tensors(inputs, *names)
    q, k, v = (
        F.linear(at["x"], at[name]).unflatten(1, (at["heads"], -1)).transpose(0, 1)
        for name in names[1:4]
    )
    context = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    return gradients(F.linear(context.transpose(0, 1).flatten(1), at["W_o"]), at, *names)


def layer_norm(inputs):
    names = ("x", "gain", "bias")
    at = tensors(inputs, *names)
    y = F.layer_norm(at["x"], at["gain"].shape, at["gain"], at["bias"], at["epsilon"])
    return gradients(y, at, *names)


def rms_norm(inputs):
    names = ("x", "gain")
    at = tensors(inputs, *names)
    return gradients(F.rms_norm(at["x"], at["gain"].shape, at["gain"], at["epsilon"]), at, *names)


def adamw(inputs, groups):
    """Return parameters after each step; a group is three names and a multiple of the rate."""
    at = tensors(inputs, *(name for name, _, _, _ in groups))
    optimizer = torch.optim.AdamW(
        [{"params": [at[name]], "lr": ratio * at["lr"]} for name, _, _, ratio in groups],
        betas=(at["beta1"], at["beta2"]),
        eps=at["epsilon"],
        weight_decay=at["weight_decay"],
    )
    found = {after: [] for _, _, after, _ in groups}
    for t in range(3):
        for name, grads, _, _ in groups:
            at[name].grad = at[grads][t]
        optimizer.step()
        for name, _, after, _ in groups:
            found[after].append(at[name].detach().clone())
    return {after: torch.stack(params) for after, params in found.items()}


def lora_plus(inputs):
    factors = (("A", 1.0), ("B", inputs["ratio_B"]))
    return adamw(inputs, [(f, f"grads_{f}", f"params_{f}", ratio) for f, ratio in factors])


COMPUTE = {
    **dict.fromkeys(("lora", "lora-rank-stabilized", "lora-dropout"), in_peft),
    **dict.fromkeys(("dora-detached", "dora-dropout"), in_peft),
    "dora": dora,
    **dict.fromkeys(("multitask-sum", "multitask-weighted", "multitask-rows"), multitask),
    **dict.fromkeys(("adapter-relu", "adapter-gelu"), adapter),
    "attention": attention,
    "multi-head-causal": multi_head,
    "layer-norm": layer_norm,
    "rms-norm": rms_norm,
    "adamw": partial(adamw, groups=[("param", "grads", "params", 1.0)]),
    "adamw-lora-plus": lora_plus,
}


def as_arrays(value):
    return [one.numpy() for one in value] if isinstance(value, list) else value.detach().numpy()


@pytest.mark.parametrize("name", COMPUTE)
def test_a_case_passes_there(name):
    case = CASES[name]
    found = {key: as_arrays(value) for key, value in COMPUTE[name](case["inputs"]).items()}
    assert found.keys() == case["expected"].keys()
    for key, expected in case["expected"].items():
        assert difference(found[key], expected) <= case["tolerance"], key


def test_all_cases_but_nf4_are_tried():
    assert COMPUTE.keys() == {name for name in CASES if not name.startswith("nf4")}


def test_the_true_gradient_of_dora_is_not_that_of_peft():
    found = in_peft(CASES["dora"]["inputs"])
    wrong = [
        key
        for key, expected in CASES["dora"]["expected"].items()
        if difference(as_arrays(found[key]), expected) > 1e-12
    ]
    (mistake,) = (m for m in CASES["dora"]["catches"] if m["mistake"] == "norm-held-constant")
    assert wrong == mistake["shows_in"] == ["grad_A", "grad_B"]

"""Wrong initial values of A and B, and wrong steps of training."""

from functools import partial

from lora_ref.checks import Array
from lora_ref.gradcheck import sgd_step
from lora_ref.layers.initializers import both_random, both_zero
from lora_ref.layers.lora import LoRALinear
from lora_ref.mistakes.mistake import enter

_wrong_start = partial(enter, "start")
_wrong_step = partial(enter, "step")

_wrong_start(
    "both-zero",
    text="Start both factors at zero: each gradient has the other as a factor, so nothing moves.",
    cause="B = 0 is good, so A = 0 seems better; see Guitaricet/relora issue 18",
)(both_zero)

_wrong_start(
    "both-random",
    text="Start both factors at random: the pretrained function is disturbed before training.",
    cause="every parameter is initialised alike",
)(both_random)


@_wrong_step(
    "A-updated-before-grad_x",
    text="Move A and B before grad_x is formed: what goes on belongs to another layer.",
    cause="gradients are applied as soon as they are known",
)
def _A_updated_before_grad_x(
    layer: LoRALinear, x: Array, grad_y: Array, lr: float
) -> tuple[LoRALinear, Array]:
    after, _ = sgd_step(layer, x, grad_y, lr)
    _, cache = layer.forward(x)
    return after, after.backward(grad_y, cache)[0]


@_wrong_step(
    "sign-flipped",
    text="Every step goes uphill.",
    cause="the gradient of a reward, or a minus sign that two places leave to each other",
)
def _sign_flipped(
    layer: LoRALinear, x: Array, grad_y: Array, lr: float
) -> tuple[LoRALinear, Array]:
    return sgd_step(layer, x, grad_y, -lr)


@_wrong_step(
    "W0-decays",
    text="Shrink the frozen weight a little in every step.",
    cause="weight decay is applied to all arrays of the layer, the frozen one too",
)
def _W0_decays(layer: LoRALinear, x: Array, grad_y: Array, lr: float) -> tuple[LoRALinear, Array]:
    after, grad_x = sgd_step(layer, x, grad_y, lr)
    return LoRALinear(0.999 * after.W0, after.A, after.B, after.alpha), grad_x

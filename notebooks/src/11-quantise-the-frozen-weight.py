# %% [markdown]
# # 11 · Quantise the frozen weight
#
# A model of 65 billion weights takes 130 GB in 16 bits, before training has begun: more than most
# graphics cards hold. LoRA never changes these weights, it only reads them. Can they be stored
# coarsely? **QLoRA** stores them in 4 bits, with A and B in 16 or 32 bits on top.
#
# **You will** round weights to 4 bits by hand, derive the sixteen levels of NF4, compare it fairly
# with plain integers, train LoRA on top of a weight that is stored in codes, and merge it.
#
# **You will learn** what an absmax and a block are for, what a weight really takes, where the
# rounding error sits, whether alpha can balance it, and what three merges make of an update.
#
# **You need** notebooks 03 and 04, the bell curve of the normal distribution, the voices of
# notebook 10, and two sittings. 11a is about formats and takes sixty-five minutes. 11b begins at
# "LoRA over frozen codes" and takes an hour. The exercises, `nf4-codes` of 11a and `qlora-grad-x`
# of 11b, take twenty minutes each.

# %%
from dataclasses import replace
from statistics import NormalDist

import numpy as np

from lora_ref.counting import get_model
from lora_ref.exercises import check, hint, show
from lora_ref.figures import FIGURES
from lora_ref.layers import Linear, LoRALinear, QLoRALinear
from lora_ref.layers.composite import layers_of
from lora_ref.quantize import nf4_levels, quantize
from lora_ref.transformer.adapt import with_lora
from lora_ref.transformer.language_model import Schedule
from lora_ref.transformer.voices import base_model, with_voices

# %% [markdown]
# ## A few codes for a block of weights
#
# Four bits can say one of sixteen things. The simplest use: divide a block of weights by its
# largest absolute value, its **absmax**, so that all of it lies between -1 and 1; multiply by 7
# and round. The whole numbers from -7 to 7 are the **codes** (fifteen; the sixteenth stays unused).
# To read a weight back, divide by 7 and multiply by the absmax, which is stored beside the block.

# %% to 1e-6
block = np.array([0.62, -1.4, 0.12, 0.33, -0.04, 0.93, -0.27, 0.48])


def int4(block):
    absmax = np.abs(block).max()
    codes = np.rint(block / absmax * 7).astype(int)
    return codes, codes / 7 * absmax


codes, back = int4(block)
print("weights  ", *(f"{weight:6.2f}" for weight in block))
print("codes    ", *(f"{code:6}" for code in codes))
print("read back", *(f"{weight:6.2f}" for weight in back))
print("the same as the package's:", np.allclose(quantize(block, "int4").dequantize(), back))

# %% [markdown]
# The largest weight comes back exactly. The others are off by half a step at most, and the step is
# absmax / 7.
#
# **Predict.** Make the second weight ten times as large, -14. Which codes do the other seven get?

# %% exact
largest = -14.0
spoiled = np.where(block == block.min(), largest, block)
print("weights  ", *(f"{weight:6.2f}" for weight in spoiled))
print("codes    ", *(f"{code:6}" for code in int4(spoiled)[0]))

# %% [markdown]
# One large weight makes the step so wide that all the others are rounded to zero. That is why
# there are blocks at all: with one absmax for every 64 weights, as in QLoRA, the damage stays in
# the block.
#
# > **Remember.** A block of weights is stored as short codes and one constant, its absmax; an
# > outlier spoils its own block alone.
# >
# > 一块权重存成短编号和一个常数（最大绝对值）；一个离群值只毁掉它自己那一块。

# %% [markdown]
# ## Levels where the weights are
#
# The levels of int4 lie in even steps. Weights do not: most are small, few are large. NF4, 4-bit
# NormalFloat (Dettmers et al., 2023), puts its levels at roughly even steps of *probability* under
# a normal curve.
#
# **Predict.** You have sixteen levels between -1 and 1, and put them close together near zero,
# where most weights lie. What do you lose?

# %% depends on the seed
seed = 1
sixty_four = np.random.default_rng(seed).standard_normal(64)
FIGURES["number-lines"].picture(block=sixty_four)

# %% [markdown]
# Each line leads from a weight to its level. NF4 is finer where the crowd is, and coarser at the
# ends, where a weight may be far from its level.
#
# Now derive them. `Q` is the inverse of the normal distribution function: `Q(0.9)` is the number
# that 90 % of normal draws are below, the **quantile** of 0.9. Begin at p = 0.9677, just short of 1
# (why this number, we ask below). Go down to 1/2 in eight even steps and drop the 1/2 itself: eight
# levels above zero. Seven even steps from the same p, the 1/2 dropped again, give seven more: with
# a minus sign they stand below zero. Add a zero, and divide all by the largest.

# %% to 1e-6
Q = NormalDist().inv_cdf
p = 1 - (1 / 32 + 1 / 30) / 2
up = [Q(q) for q in np.linspace(p, 1 / 2, 9)[:-1]]
down = [-Q(q) for q in np.linspace(p, 1 / 2, 8)[:-1]]
levels = np.array(sorted([*down, 0.0, *up])) / max(up)
for row in levels.reshape(4, 4):
    print(*(f"{level:9.6f}" for level in row))
print("the same as the package's:", np.allclose(levels, nf4_levels(), atol=1e-6))

# %% [markdown]
# Zero is a level, so a weight of zero stays zero. It takes one of sixteen places, so one side has
# eight levels and the other seven. ([quantize/levels.py](../lora_ref/quantize/levels.py) goes the
# same way in float32, and gives the values of *bitsandbytes*, the library that quantises for
# PyTorch, bit for bit.)
#
# **Predict.** Why not begin at p = 1, the very end of the curve?

# %% to 1e-6
print("        p   largest quantile   smallest positive level")
for rest in (0.25, 1 - p, 1e-3, 1e-5, 1e-7):
    smallest = nf4_levels(1 - rest)[8]
    print(f"{1 - rest:.7f} {Q(1 - rest):18.3f} {smallest:25.4f}")

# %% [markdown]
# At p = 1 the quantile is infinite, and as p comes near, all other levels are squeezed towards
# zero. Where does 0.9677083 come from? Cut the normal curve into bins of equal probability, a bin
# for each level. Eight levels above zero are the upper half of 16: with 16 bins the last one runs
# from 15/16 to 1, and its middle is 31/32. Seven levels above zero, seven below and the zero are
# 15: with 15 bins the middle of the last one is 29/30. The authors took the mean of 31/32 and
# 29/30, for both sides.
#
# > **Remember.** The levels of NF4 are quantiles of the normal distribution, divided by the
# > largest: close near zero, wide at the ends.
# >
# > NF4 的量化级是正态分布的分位数除以最大者：零附近密，两端疏。

# %% [markdown]
# ## What a weight really takes
#
# "Four bits" is not all: each block has its constant, a float32.
#
# **Predict.** Codes of 4 bits, and 32 bits for every 64 weights. How many bits does a weight take?

# %% exact
W0 = np.random.default_rng(0).standard_normal((256, 512))
stored = quantize(W0)
print(f"{W0.size:,} codes, two in a byte: {stored.codes.nbytes:,} bytes")
print(f"{stored.absmax.size:,} constants: {stored.absmax.nbytes:,} bytes")
print(f"{8 * (stored.codes.nbytes + stored.absmax.nbytes) / W0.size} bits a weight")

# %% [markdown]
# **Double quantisation** makes the constants cheaper: they are numbers in blocks like any others,
# so quantise them too. Take their mean off, and store what is left in 8 bits, in blocks of 256
# with one float32 each:

# %% to 1e-9
absmax = stored.absmax.astype(np.float64)
mean = np.float64(np.float32(absmax.mean()))
rest = absmax - mean
again = np.zeros_like(rest)
for start in range(0, len(rest), 256):
    part = rest[start : start + 256]
    step = np.float32(np.abs(part).max()) / 127
    again[start : start + 256] = np.rint(part / step) * step
twice = quantize(W0, double=True)
print("the same as the package's:", np.allclose(again + mean, twice.block_absmax, rtol=1e-5))
print(f"the constants are off by {np.linalg.norm(again - rest) / np.linalg.norm(absmax):.1e}")
parts = {
    "codes": 4,
    "a constant in 8 bits, for 64 weights": 8 / 64,
    "a float32, for 256 constants": 32 / (256 * 64),
    "the mean, once": 32 / W0.size,
}
for name, bits in parts.items():
    print(f"{bits:8.5f}  {name}")
print(f"{sum(parts.values()):8.5f}  in all; measured {twice.bits_per_weight:.5f}")

# %% [markdown]
# The QLoRA paper leaves the mean out: 0.127 beside the four bits (4.12695). One float32 for a whole
# matrix is nothing in a large one and visible in a small one: the fewer the weights, the more the
# last two lines count. (The layer below prints 4.128. The paper uses 8-bit floats for the
# constants, this package 8-bit integers; they take the same.)
#
# What does that make of the 65 billion weights? The embedding and the output head are usually left
# in 16 bits, so they are not counted here (notebook 12 counts them, and comes to a little more).

# %% exact
llama = get_model("llama-65b")
weights = sum(
    module.copies * int(np.prod(module.shape))
    for module in llama.modules
    if module.kind == "linear" and module.name != "lm_head"
)
for name, bits in (("16 bits", 16), ("4.5 bits", 4.5), ("double quantisation", 4.127)):
    print(f"{weights:,} weights in linear layers, {name:<19}: {weights * bits / 8e9:6.1f} GB")

# %% [markdown]
# > **Remember.** Four bits are 4.5 with a float32 for every 64 weights, and about 4.127 when the
# > constants are quantised too.
# >
# > 每 64 个权重配一个 float32 常数时，四比特实为 4.5 比特；常数再量化一次，约为 4.127 比特。

# %% [markdown]
# ## Is NF4 better than integers?
#
# It is often said so. Better than which integers, on which weights, at how many bits? Three ways
# to use four bits for even steps:
#
# - **fifteen levels**: -7 to 7 times absmax / 7, as above. One of the sixteen codes is never used.
# - **signed, sixteen levels**: -8 to 7. The weight with the largest absolute value always gets the
#   code -8, so the step is that weight divided by -8. Where it is 1.4, the step is -0.175
#   (a negative step turns the levels round).
# - **min-max, sixteen levels**: even steps from the smallest weight of the block to the largest. It
#   needs *two* constants a block, and zero is no level.


# %%
def even(blocks, bits):
    """Return the blocks rounded to even steps on both sides of zero, 15 levels for 4 bits."""
    step = np.abs(blocks).max(axis=1, keepdims=True) / (2 ** (bits - 1) - 1)
    return np.rint(blocks / step) * step


def fifteen(blocks):
    return even(blocks, 4)


def signed(blocks):
    where = np.abs(blocks).argmax(axis=1)[:, None]
    step = np.take_along_axis(blocks, where, axis=1) / -8
    return np.clip(np.rint(blocks / step), -8, 7) * step


def min_max(blocks):
    low = blocks.min(axis=1, keepdims=True)
    step = (blocks.max(axis=1, keepdims=True) - low) / 15
    return low + np.rint((blocks - low) / step) * step


def nf4(blocks):
    return quantize(blocks, "nf4", block_size=blocks.shape[1]).dequantize()


def error(way, weights, size):
    """Return the norm of the rounding error over that of the weights, in blocks of a size."""
    blocks = weights.reshape(-1)[: weights.size // size * size].reshape(-1, size)
    return np.linalg.norm(way(blocks) - blocks) / np.linalg.norm(blocks)


# %% [markdown]
# **Predict.** Weights are drawn from a normal distribution, the one that NF4 is made for. Which of
# the four ways has the least error, in blocks of 64? (Not yet at equal bits.)

# %% depends on the seed
draws, shape = 10, (128, 256)
normal = [np.random.default_rng(seed).standard_normal(shape) for seed in range(draws)]
for way in (fifteen, signed, min_max, nf4):
    found = [error(way, weights, 64) for weights in normal]
    print(
        f"{way.__name__:<8} error {np.mean(found):.4f}, from {min(found):.4f} to {max(found):.4f}"
    )
print("weights at each level of nf4:", *np.bincount(quantize(normal[0]).indices.ravel()))

# %% [markdown]
# NF4 has a seventh less error than the fifteen levels, and 3 % less than the signed ones. But
# min-max integers beat NF4, on every draw here, on the very weights that NF4 is made for. Why? A
# block of 64 reaches less far on one side than on the other, and min-max uses that; it also has 15
# steps for the fourteen of the first way. And NF4 asks for levels of equal probability, not for the
# least squared error. (The last line counts: it does not get them. Question 1 below asks why.)
#
# Min-max pays for a second constant. With float32 constants, in blocks of 64, that is 5 bits a
# weight against 4.5. In practice the second constant is often a code of 4 bits, the one that stands
# for zero (the *zero point*). That makes 4 + (32 + 4)/64 = 4.56 bits, and zero is a level again.
# So compare at equal bits. Bits can be traded: NF4 in smaller blocks spends more of them on
# constants, min-max in larger blocks fewer. At 5 bits NF4 has blocks of 32, at 4.56 bits of 57; at
# 4.5 bits min-max has blocks of 128. And compare on real weights too: the 24 matrices of the small
# language model.
#
# **Predict.** At equal bits, is min-max still ahead of NF4?


# %% depends on the seed
def zero_point(blocks):
    low = np.minimum(blocks.min(axis=1, keepdims=True), 0)
    step = (np.maximum(blocks.max(axis=1, keepdims=True), 0) - low) / 15
    zero = np.rint(-low / step)  # the code that stands for 0
    return (np.clip(np.rint(blocks / step) + zero, 0, 15) - zero) * step


base = base_model()
real = [one.W for one in layers_of(base.gpt).values() if isinstance(one, Linear)]
print("the last column: trained matrices with less error than nf4 at the same bits")
print(f"{'':<18}{'bits':>6}{'normal':>9}{'trained':>9}{'beats nf4':>12}")
for way, size, constant in (  # the bits of what is stored for each block
    (fifteen, 64, 32),
    (signed, 64, 32),
    (min_max, 128, 64),
    (nf4, 64, 32),
    (zero_point, 64, 36),
    (nf4, 57, 32),
    (min_max, 64, 64),
    (nf4, 32, 32),
):
    drawn, trained = ([error(way, W, size) for W in group] for group in (normal, real))
    # nf4 spends 32 bits on a block: in which block is that constant / size a weight?
    same = round(32 / (constant / size))
    wins = sum(a < error(nf4, W, same) for a, W in zip(trained, real, strict=True))
    shown = "-" if way is nf4 else f"{wins} of {len(real)}"
    line = f"{f'{way.__name__} in {size}s':<18}{4 + constant / size:>6.2f}{np.mean(drawn):>9.4f}"
    print(f"{line}{np.mean(trained):>9.4f}{shown:>12}", end="\n\n" if way is nf4 else "\n")

# %% [markdown]
# No: NF4 has the least error of these at 4.5 bits and at 5. Against a zero point (4.56 bits) it is
# about a tie on normal weights, and NF4 has less on 15 of the 24 trained ones. Min-max was ahead
# above because it knows both ends of a block. A second float32 is too dear for that: with the same
# half bit NF4 gains more by smaller blocks. A zero point of four bits is cheap enough.
#
# What does an error of nearly ten per cent do to the model? (It is a ratio of norms: a single
# weight may come back exactly, or be rounded to zero.) Quantise all 24 matrices and measure the
# loss on two passages that no training has seen.
#
# **Predict.** The loss on the Bible's passage is 2.82 with the weights in full, and 6.24 would be
# guessing (ln 512, notebook 10). What is it in 4 bits: about 2.8, about 4, near 6?

# %% depends on the seed
passages = {
    "Bible": """Blessed are they that do his commandments, that they may have right to the tree of \
life, and may enter in through the gates into the city.
For without are dogs, and sorcerers, and whoremongers, and murderers, and idolaters, and whosoever \
loveth and maketh a lie.
I Jesus have sent mine angel to testify unto you these things in the churches. I am the root and \
the offspring of David, and the bright and morning star.
And the Spirit and the bride say, Come. And let him that heareth say, Come. And let him that is \
athirst come. And whosoever will, let him take the water of life freely.
""",
    "Milton": """They, looking back, all the eastern side beheld
Of Paradise, so late their happy seat,
Waved over by that flaming brand; the gate
With dreadful faces thronged, and fiery arms:
Some natural tears they dropt, but wiped them soon;
The world was all before them, where to choose
Their place of rest, and Providence their guide:
They, hand in hand, with wandering steps and slow,
Through Eden took their solitary way.
""",
}


def with_weights(change):
    """Return the model with `change(path, W)` for the weight W of each linear layer."""

    def layer_of(path, one):
        return replace(one, W=change(path, one.W)) if isinstance(one, Linear) else one

    return base.with_gpt(base.gpt.mapped(layer_of))


def even_in_blocks(bits):
    return lambda _, W: even(W.reshape(-1, 64), bits).reshape(W.shape).astype(W.dtype)


changes = {"in full": lambda _, W: W, "NF4": lambda _, W: quantize(W).dequantize()}
for bits in (4, 3, 2):
    changes[f"even steps, {bits} bits"] = even_in_blocks(bits)
changes["even, 4 bits, no blocks"] = lambda _, W: even(W.reshape(1, -1), 4).reshape(W.shape)
for title, change in changes.items():
    model = with_weights(change)
    losses = ", ".join(f"{name} {model.loss(text):.2f}" for name, text in passages.items())
    print(f"{title:<24} {losses}")
in_blocks, at_once = (np.mean([error(fifteen, W, n or W.size) for W in real]) for n in (64, None))
print(f"the error of even steps, 4 bits: {in_blocks:.2f} in blocks, {at_once:.2f} without blocks")

# %% [markdown]
# At 4 bits this small model does not mind: a few hundredths, and which way they go is luck on two
# windows of text. At 3 bits it begins to mind, and at 2 bits it does. Presumably the errors of many
# weights partly cancel in a sum. Without blocks the error is much larger, and the loss moves
# little: these matrices have no outlier as bad as our -14. Blocks are insurance.
#
# > **Remember.** Which 4-bit format is best depends on its levels, on the weights and on the bits
# > of its constants, here float32: compare at equal bits, over many weights.
# >
# > 哪种四比特格式最好，取决于量化级、权重和常数占的比特：要在比特数相等时，用许多权重来比较。

# %% [markdown]
# ## LoRA over frozen codes
#
# **Stop here.** 11a ends; 11b begins with this section. (Run the cells above again.)
#
# QLoRA is LoRA with the weight that is read back, call it W0_hat, in the place of W0. Here it is
# in full, on a trained matrix of the language model and its voice *verse* (notebook 10), beside
# the package's layer ([layers/qlora.py](../lora_ref/layers/qlora.py)):

# %% exact
# block 1, the first matrix of its MLP (notebook 08), with the voice on it
voiced = with_voices(base, ["verse"], [1.0]).gpt.blocks["1"].mlp.children["fc1"].tasks[0]
layer = QLoRALinear.from_lora(voiced)
A, B, s, bias = layer.A, layer.B, layer.scaling, layer.bias
codes, absmax = layer.W0.indices, layer.W0.block_absmax  # the codes, no longer two in a byte


def dequantised():
    read = nf4_levels()[codes].reshape(-1, 64)  # a row for each block
    return (read * absmax[:, None]).reshape(codes.shape)


def forward(x):
    W0_hat = dequantised()  # made for this pass, and dropped after it
    return x @ W0_hat.T + bias + s * (x @ A.T) @ B.T


seed_of_x = 0
x = np.random.default_rng(seed_of_x).standard_normal((32, A.shape[1])).astype(np.float32)
y, cache = layer.forward(x)
print(layer)
print("the same as the package's:", np.allclose(forward(x), y, atol=1e-4))

# %% [markdown]
# **Predict.** Rounding is a staircase, and a staircase has slope zero. Through which weight does
# the gradient of x go: W0, W0_hat or none?

# %% depends on the seed
grad_y = np.random.default_rng(2).standard_normal(y.shape).astype(np.float32)
grad_x, grads = layer.backward(grad_y, cache)
print("trained:", " and ".join(sorted(grads)))
for name, W in (("W0_hat", dequantised()), ("W0", voiced.W0)):
    lora = replace(voiced, W0=W)  # LoRA over this weight
    other, _ = lora.backward(grad_y, lora.forward(x)[1])
    gap = np.linalg.norm(grad_x - other) / np.linalg.norm(grad_x)
    print(f"grad_x against that of LoRA over {name}: off by {round(float(gap), 4)}")

# %% [markdown]
# The rounding happened once, before training. In training W0_hat is a constant, y is a smooth
# function of x, A and B, and no gradient goes into the codes. So the gradients are exact, *of the
# rounded model*: the layers below learn about the weight that is used, and not about the one that
# was pretrained.
#
# The price is time: every pass reads the codes back before it multiplies.
#
# Now train. Ten lines of Python write weather reports. LoRA learns them over W0, QLoRA over NF4,
# and a second QLoRA over *coarse* codes, int4 without blocks: the same A to start from, the same
# windows of text, thirty steps.
#
# **Predict.** The frozen matrices are off by nothing, by nearly 10 and by 21 per cent. Put the
# three in order of their loss after training. Do they differ by about 0.01, 0.1 or 1?


# %% depends on the seed, slow
def reports(number, rng):
    skies, towns = ("Rain", "Snow", "Fog", "Sun"), ("London", "York", "Dover", "Leeds")
    return "\n".join(
        f"{rng.choice(skies)} in {rng.choice(towns)} at {rng.integers(1, 13)} o'clock, "
        f"{rng.integers(30)} degrees."
        for _ in range(number)
    )


def over(*kind, **blocks):
    """Return the model with LoRA on it, each frozen weight of these layers in codes."""

    def change(path, one):
        return QLoRALinear.from_lora(one, *kind, **blocks) if isinstance(one, LoRALinear) else one

    return plain.mapped(change)


text, unseen = (reports(number, np.random.default_rng(number)) for number in (400, 60))
plain = with_lora(base.gpt, np.random.default_rng(0), targets="all-linear", r=8, alpha=16)
schedule = Schedule(steps=30, batch=2, lr=5e-3, warmup=5)  # lr rises in the first 5 steps
starts = {"LoRA": plain, "NF4": over(), "coarse": over("int4", block_size=None, double=False)}
finished = {}
for name, start in starts.items():
    before = base.with_gpt(start)
    finished[name], _ = before.trained(text, schedule, np.random.default_rng(1))
    losses = [model.loss(unseen) for model in (before, finished[name])]
    print(f"{name:<6} loss on unseen reports: before {losses[0]:.2f}, after {losses[1]:.3f}")

# %% [markdown]
# Less than 0.01, even over the coarse codes. (One training each, on an easy task: no ranking.) Do A
# and B undo the error of W0_hat, or does the model just not mind it?
#
# > **Remember.** QLoRA runs forward and backward through the weight that is read back; only A and
# > B are trained.
# >
# > QLoRA 的前向和反向都经过反量化后的权重；只训练 A 和 B。

# %% [markdown]
# ## Can alpha balance the error?
#
# Before the first step plain LoRA is exactly the pretrained layer. QLoRA is not: its y is off by
# the rounding error. The article of notebook 13 says that in QLoRA alpha is often tuned, to balance
# that error (part 2, section 4; `qlora-alpha` in [docs/article.md](../docs/article.md)). Take the
# voice, trained over W0, and the reports' A and B, trained over W0_hat. If training undid the error
# anywhere, it would be in the reports'.
#
# **Predict.** With A and B trained over the coarse codes, does an alpha make y nearer to the y of
# W0?


# %% depends on the seed
def seen(text):
    """Return what our layer sees of a text, its x, in the model without an adapter."""
    _, kept = plain.forward(base.tokenizer.encode(text)[:96])  # B is 0; each layer keeps its x
    return kept.children["blocks"].caches[1].children["mlp"].caches[0].x


pairs = {"voice, over NF4": (layer, seen(passages["Milton"]))}
for name in ("NF4", "coarse"):
    ours = layers_of(finished[name].gpt)["blocks.1.mlp.fc1"]
    pairs[f"reports, over {name}"] = ours, seen(unseen)
print(f"{'':<22}{'best alpha':>12}{'error of y left':>18}{'undone at alpha = 16':>23}")
for title, (one, rows) in pairs.items():
    gap = rows @ (one.W0.dequantize() - voiced.W0).T  # y without an update, less the y of W0
    moved = (rows @ one.A.T) @ one.B.T / one.r  # what the update adds, but for alpha
    best = -np.sum(gap * moved) / np.sum(moved**2)  # by least squares
    share = np.linalg.norm(gap + best * moved) / np.linalg.norm(gap)
    undone = -16 * np.sum(gap * moved) / np.sum(gap**2)  # the part of the update against the gap
    print(f"{title:<22}{best:>12.3f}{share:>18.2%}{undone:>23.1%}")

# %% [markdown]
# No alpha does: the best leaves 100.00 % of the error. To see why, call y_exact the y of W0 without
# A and B: `y - y_exact = x (W0_hat - W0)^T + s (x A^T) B^T`. The first term, the error, has no s.
# Alpha stretches, shrinks or reverses the *whole* second term, which is about the reports. If some
# part of it does correct the error, alpha cannot turn up that part alone.
#
# Is there such a part? The last column projects the update, at training's alpha of 16, on the
# error. It undid 2.0 and 3.6 % of it, and the voice, which never saw W0_hat, 2.3 % all the same. So
# in thirty steps training undid next to nothing of this layer's error.
#
# An A and a B made for this purpose can do more. How much, at best?
#
# **Predict.** The error `E = W0_hat - W0` is a matrix. If you subtract the best matrix of rank 8
# from it (notebook 02), how much of its norm is left?

# %% depends on the seed
E = dequantised() - voiced.W0
noise = np.random.default_rng(0).standard_normal(E.shape)


def left(matrix, r):
    """Return the share of the norm that is left without the best matrix of rank r."""
    sigma = np.linalg.svd(matrix, compute_uv=False)
    return np.sqrt((sigma[r:] ** 2).sum() / (sigma**2).sum())


print(f"left of the norm of    E, {E.shape[0]} x {E.shape[1]}    noise of that shape    n = 4096")
for r in (1, 8, 32):
    wide = np.sqrt(max(0, 1 - 4 * r / 4096))
    print(f"less rank {r:>2} {left(E, r):>22.1%} {left(noise, r):>22.1%} {wide:>11.2%}")

# %% [markdown]
# E is like noise: about as much is left of it as of noise of its shape, and in noise a few
# directions never hold most of the norm. (The last column is by formula: of n x n independent
# draws of variance 1 the squares of all n singular values add up to about n^2, and the largest of
# them is only about 4 n. So r of them hold at most about 4 n r / n^2 = 4 r / n.)
#
# LoftQ (Li et al., 2023) begins A and B, roughly, at the best matrix of rank r for -E: it removes
# what rank r can, here 9 % of the norm at r = 8, at width 4096 less than half a per cent. Training
# may do better, because it counts only what matters to the loss.
#
# > **Remember.** The quantisation error sits in the frozen weight; alpha scales the update and
# > leaves the error as it is.
# >
# > 量化误差在冻结的权重里；alpha 只缩放更新，不改变误差。

# %% [markdown]
# ## Merge, into which weight?
#
# Call `W0_hat + s B A`, what runs in QLoRA, *the trained function*. There are three weights to fold
# A and B into:
#
# - **W0_hat**: `W0_hat + s B A` is the same function, and no longer in 4 bits.
# - **W0_hat, and quantise again**: 4 bits, with a second rounding.
# - **the original W0**: another function, by the whole rounding error.
#
# **Predict.** The update of our voice is 43 % of W0. Suppose it were trained only a little, to
# 0.4 %. You add it and round again: what share of the codes changes?

# %% depends on the seed
print(f"strength   update / W0   codes that change, of {codes.size:,}   error of rounding / update")
for strength in (0.01, 0.1, 0.3, 1.0):
    trained = replace(layer, alpha=strength * layer.alpha)
    again, size = trained.merge_quantized(), np.linalg.norm(trained.delta_w)
    lost = np.linalg.norm(again.dequantize() - trained.merge().W) / size
    change, share = np.sum(again.indices != codes), size / np.linalg.norm(voiced.W0)
    print(f"{strength:>8} {share:13.3f} {change:14,} ({change / codes.size:5.1%}) {lost:28.2f}")
first = np.linalg.norm(layer.W0.dequantize() - voiced.W0) / np.linalg.norm(voiced.W0)
print(f"error of rounding / W0: once {first:.3f}, again at strength {strength} {lost * share:.3f}")

# %% depends on the seed
FIGURES["merges"].picture(layer=layer, W0=voiced.W0, strengths=(0.1, 1.0))

# %% [markdown]
# **To quantise again loses a small update.** At 0.4 % no code changes: what comes back is W0_hat
# but for the absmax, and the update is gone. (The absmax of a block is its largest weight *after*
# the update and moves all 64 weights a little, and in double quantisation it is rounded anew
# itself: hence an error above 1.) At ten times that strength, in the picture, all ten weights still
# fall back. (The diamonds are the merge into W0; the gap from a diamond to its dot is the first
# rounding error.) At full strength the update comes through, with a second error about as large as
# the first.
#
# What does that mean in losses? Merge the reports, whose A and B were trained over two W0_hat, and
# verse, trained over W0, on all 24 matrices in NF4, at two strengths.
#
# **Predict.** Which merge gives the reports less loss: into W0_hat, or into W0, the more exact
# weight? And how much of what a tenth of verse gains is left when it is quantised again: nearly
# all, a half, a quarter?

# %% depends on the seed
ways = {  # the weight to use, made of an adapted layer and W0
    "no adapter, W0": lambda one, W0: W0,
    "into W0_hat": lambda one, W0: one.merge().W,
    "quantised again": lambda one, W0: one.merge_quantized().dequantize(),
    "into W0": lambda one, W0: one.merge_into(W0).W,
}


def loss_of(weight, adapted, text):
    return with_weights(lambda path, W0: weight(adapted[path], W0)).loss(text)


cases = {f"reports, {name}": (layers_of(finished[name].gpt), unseen) for name in ("NF4", "coarse")}
found = layers_of(with_voices(base, ["verse"], [1.0]).gpt)
verse = {
    path.removesuffix(".0"): QLoRALinear.from_lora(one)
    for path, one in found.items()
    if isinstance(one, LoRALinear)
}
for strength in (1, 0.1):
    weaker = {path: replace(one, alpha=strength * one.alpha) for path, one in verse.items()}
    cases[f"verse, {strength}"] = weaker, passages["Milton"]
rows = {
    title: np.array([loss_of(weight, adapted, text) for adapted, text in cases.values()])
    for title, weight in ways.items()
}
none, ours, again, _ = rows.values()
print(f"{'':<26}" + "".join(f"{title:>17}" for title in cases))
for title in ("no adapter, W0", "into W0_hat"):
    print(f"{'loss, ' + title:<26}" + "".join(f"{loss:17.3f}" for loss in rows[title]))
for title in ("quantised again", "into W0"):
    print(f"{title + ', more by':<26}" + "".join(f"{more:17.3f}" for more in rows[title] - ours))
kept = (none - again) / (none - ours)
print(f"{'gain that is left, again':<26}" + "".join(f"{share:17.0%}" for share in kept))

# %% [markdown]
# **A and B do best over the weight that they were trained over, where the difference is clear.**
# Trained over the coarse codes, the reports get worse over the more exact W0, by 0.033; verse,
# trained over W0, gets better there, by 0.024. **Quantised again, nearly all of a large gain is
# left, and a quarter of a small one.** (One training each, and a few windows of text: thousandths
# can be luck, the 0.007 for this as well as the 0.003 against it.)
#
# So what you need decides ([question 9](../docs/questions.md)):
#
# - **The function that was trained**: into W0_hat, and keep 16 or 32 bits. It costs nothing here,
#   in float32. (bfloat16 rounds too, in far finer steps: [question 8](../docs/questions.md).)
# - **4 bits**: quantise again, and measure what is left.
# - **A model to hand out beside others made from W0**: into W0. It is another function, so
#   evaluate it.
#
# ### The same in PEFT
#
# Not run here: bitsandbytes does the rounding, and wants a graphics card for speed. On a 4-bit
# layer `model.merge_and_unload()` is the second of the three merges: it reads the codes back,
# adds, quantises again, and warns of rounding errors.
#
# ```python
# import torch
# from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training
# from transformers import AutoModelForCausalLM, BitsAndBytesConfig
#
# config = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4",
#     bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=torch.bfloat16)  # type of products
# base = AutoModelForCausalLM.from_pretrained("a-model", quantization_config=config)
# # float32 for all that is not in 4 bits; activations are computed again (notebook 12)
# base = prepare_model_for_kbit_training(base)
# model = get_peft_model(base, LoraConfig(r=8, lora_alpha=16, target_modules="all-linear"))
# ```
#
# > **Remember.** The model that was trained is W0_hat + s B A; to quantise it again may lose the
# > update, and the original W0 is another model.
# >
# > 训练出来的模型是反量化后的权重加上更新；再次量化可能丢掉更新，用原来的 W0 则是另一个模型。

# %% [markdown]
# ## Exercises
#
# Replace the three dots and run the cell. Each exercise asks something to answer before you
# write, and has three hints, none of which is the answer:

# %% exact
print(hint("nf4-codes", 1))

# %% [markdown]
# ### `nf4-codes`: the nearest level

# %% exact
print(show("nf4-codes"))


# %%
def nf4_codes(block, levels): ...


check("nf4-codes", nf4_codes)

# %% [markdown]
# ### `qlora-grad-x`: back through a weight of four bits

# %% exact
print(show("qlora-grad-x"))


# %%
def qlora_grad_x(grad_y, W0, packed, absmax, A, B, alpha): ...


check("qlora-grad-x", qlora_grad_x)

# %% [markdown]
# ### To think about
#
# 1. Each level of NF4 is said to serve equally many weights; the counts under "Is NF4 better than
#    integers?" are not equal. Which levels are rare, and what has the absmax to do with it?
# 2. With constants of 16 bits, what do min-max and NF4 take in blocks of 64? Does the comparison
#    above come out the same?
# 3. You quantise a weight that was quantised and read back. Do the codes change? And with double
#    quantisation?
# 4. Fit sixteen levels to *your* weights: give each weight its nearest level, move each level to
#    the mean of its weights, repeat, and keep -1, 0 and 1. How near to min-max do you get on
#    normal weights? Why must you measure on other weights than you have fitted?

# %% [markdown]
# ## In practice
#
# - Know which layers are in 4 bits. Usually the embedding and the output head are not, and where
#   the vocabulary is large they are a large part of the bytes.
# - Keep with an adapter how its base was quantised: format, block size, double or not. Over another
#   W0_hat, or over W0, its y is off by the difference.
# - QLoRA saves bytes of weights. Activations, gradients of A and B and their optimiser states
#   stay as in LoRA (notebook 12).

# %% [markdown]
# ## Further reading
#
# - T. Dettmers, A. Pagnoni, A. Holtzman, L. Zettlemoyer, "QLoRA: Efficient Finetuning of
#   Quantized LLMs", 2023, arXiv 2305.14314.
# - D. Yoshida, "NF4 Isn't Information Theoretically Optimal (and that's Good)", 2023, arXiv
#   2306.06965: levels made for blocks of a given size.
# - Y. Li et al., "LoftQ: LoRA-Fine-Tuning-Aware Quantization for Large Language Models", 2023,
#   arXiv 2310.08659.
# - [What papers and libraries print](../docs/literature.md), NF4 and QLoRA among them, recomputed.
# - Next: [12 · Count parameters, memory and multiply-adds](12-count-what-it-costs.ipynb).

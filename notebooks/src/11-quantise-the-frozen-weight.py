# %% [markdown]
# # 11 · Quantise the frozen weight
#
# **You will** round weights to 4 bits by hand, derive the sixteen levels of NF4, and put a LoRA
# on top of a weight that is stored in them.
#
# **You will learn** what an absmax and a block are for, what the number 0.9677083 is, what a
# weight really takes, where the quantisation error sits and that alpha does not touch it, and
# which of three ways to merge is the model that was trained.
#
# **You need** notebooks 03 and 04, for a section each notebooks 02 and 09, and twenty minutes.

# %%
from statistics import NormalDist
from textwrap import fill

import numpy as np

from lora_ref import counting, lowrank, study
from lora_ref.claims import article, judge, literature
from lora_ref.exercises import check, show
from lora_ref.figures import FIGURES, memories
from lora_ref.gradcheck import EXACT_TOLERANCE, gradient_errors
from lora_ref.layers import QLoRALinear
from lora_ref.quantize import NF4_OFFSET, bits_per_weight, nf4_levels, quantize
from lora_ref.study.findings import Runs

# %% [markdown]
# ## A few codes for a block of weights
#
# > 一块权重除以其中最大的绝对值，再取最近的等级：存下的是几个比特的编号和一个常数。
#
# W0 is frozen, so nothing has to be added to it in small steps, and it may be stored coarsely.
# The simplest way: divide a block of weights by its largest absolute value, its **absmax**, so
# that all of it lies between -1 and 1. Multiply by 7 and round: whole numbers from -7 to 7, which
# fit into 4 bits. That is `int4` here (-8 is left out, so that zero stays in the middle); with
# 127 for 7 it is `int8`.

# %% to 1e-6
block = np.array([0.62, -1.4, 0.12, 0.33, -0.04, 0.93, -0.27, 0.48])
absmax = np.abs(block).max()
print("weights   ", *(f"{weight:6.2f}" for weight in block))
for kind, largest in (("int4", 7), ("int8", 127)):
    integers = np.rint(block / absmax * largest).astype(int)
    print(f"{kind}      ", *(f"{integer:6d}" for integer in integers))
    print("read back ", *(f"{weight:6.2f}" for weight in integers * absmax / largest))

# %% [markdown]
# The largest weight of a block comes back exactly. The others are off by at most half a step, and
# the step is as wide as absmax is large. So one large weight spoils all others of its block: here
# -1.4 becomes -14, and seven of eight weights are gone.

# %% exact
spoiled = np.where(block == -1.4, -14.0, block)
print("int4      ", *(f"{code - 7:6d}" for code in quantize(spoiled, "int4").indices.astype(int)))

# %% [markdown]
# That is why there are blocks at all. A matrix with one absmax would be at the mercy of its
# largest entry. With one absmax for every 64 weights, as in QLoRA, the damage stays in the block.

# %% [markdown]
# ## Levels where the weights are
#
# > NF4 的 16 个等级取自正态分布的分位数：权重密集的地方，等级也密集。
#
# Even steps spend as many levels on the rare large weights as on the many small ones. NF4, 4-bit
# NormalFloat (Dettmers et al., 2023), takes quantiles of the normal distribution instead, at even
# steps of *probability*: eight positive ones, seven negative ones, and a zero. Then all are
# divided by the largest. `Q` below is the inverse of the normal distribution function.

# %% to 1e-6
Q = NormalDist().inv_cdf
p = 1 - (1 / 32 + 1 / 30) / 2
up = [Q(q) for q in np.linspace(p, 1 / 2, 9)[:-1]]
down = [-Q(q) for q in np.linspace(p, 1 / 2, 8)[:-1]]
levels = np.array(sorted([*down, 0.0, *up])) / max(up)
print(f"p = {p:.7f}")
for row in levels.reshape(4, 4):
    print(*(f"{level:9.6f}" for level in row))

# %% [markdown]
# Zero is a level, so a weight of zero stays zero. It belongs to neither side: 7 levels are
# negative and 8 positive, which makes the set asymmetric. (A docstring of bitsandbytes says 8 and
# 9. It counts the zero on both sides.)
#
# `nf4_levels` goes the same way in float32, and counts its steps as `torch.linspace` does. The
# package keeps what libraries print beside what it computes, so the two can be compared:

# %% exact
sources = {source.key: source for source in literature()}
library = sources["bitsandbytes"]
printed = [judge(claim) for claim in library.claims if claim.id.startswith("nf4-level-")]
exact = sum(one.agreement == "exact" for one in printed)
print(f"{len(printed)} levels in {library.cite}, exact: {exact}")
print("below, at and above zero:", *(int((np.sign(nf4_levels()) == s).sum()) for s in (-1, 0, 1)))

# %% [markdown]
# ## What the offset is
#
# > 概率 1 处的分位数是无穷大，所以最外侧的等级只能取小于 1 的概率：NF4 取 0.9677083。
#
# The largest level is the quantile at p, which the code calls the offset. It cannot be 1: the
# quantile there is infinite. Equation 4 of the paper asks for just that (for the quantile at 0,
# which is minus infinity), so it is not what was computed. As p approaches 1, the largest
# quantile grows without limit, and after the division all other levels shrink towards zero:

# %% to 1e-6
print("1 - offset   quantile   smallest positive level   largest but one")
for rest in (0.25, 1 - NF4_OFFSET, 1e-3, 1e-5, 1e-7):
    positive = nf4_levels(1 - rest)[8:]
    print(f"{rest:10.7f} {Q(1 - rest):10.4f} {positive[0]:25.4f} {positive[-2]:17.4f}")

# %% [markdown]
# Of 16 bins of equal probability the outermost has its middle at 31/32, of 15 bins at 29/30, and
# 0.9677083 is halfway between the two, to seven digits.
#
# Does each level then serve as many weights as any other, a sixteenth of them? That has been said
# of the bins under the normal curve, and of the weights. By the rarest level and the most used:

# %% to 1e-6
for key, shares, claim in (
    ("bitsandbytes", "areas", "nf4-equal-area"),
    ("qlora", "usage", "nf4-equal-numbers"),
):
    judged, share = judge(sources[key].claim(claim)), sources[key].values[shares]()
    print(fill(f"{sources[key].cite}: {judged.claim.text}", 92))
    low, high = 100 * float(min(share)), 100 * float(max(share))
    print(f"{judged.verdict}: {low:.2f} % to {high:.2f} %, a factor of {judged.recomputed}")

# %% [markdown]
# The first is the area under the curve, with the largest level at its own quantile: nearly even.
# The second is the share of normal weights in blocks of 64. These are divided by the absmax of
# their block, and few come near that, so the outer levels are seldom used:

# %% depends on the seed
FIGURES["nf4"].picture()

# %% [markdown]
# ## How large the error is
#
# > 误差取决于权重的分布：NF4 适合正态权重，均匀分布时 int4 更好，离群值对两者都不利。
#
# The relative error `norm(W0_hat - W0) / norm(W0)`, where W0_hat is the weight as it comes back,
# for weights of four distributions in blocks of 64. In the last, one weight in a thousand is
# twenty times as large.

# %% depends on the seed
rng, size = np.random.default_rng(0), (256, 512)
weights = {
    "normal": rng.standard_normal(size),
    "uniform": rng.uniform(-1, 1, size),
    "Laplace": rng.laplace(size=size),
    "outliers": rng.standard_normal(size) * np.where(rng.random(size) < 0.001, 20, 1),
}
print(f"{'':<10}", *(f"{kind:>7}" for kind in ("nf4", "int4", "int8")))
for name, W in weights.items():
    errors = [quantize(W, kind).dequantize() - W for kind in ("nf4", "int4", "int8")]
    print(f"{name:<10}", *(f"{np.linalg.norm(E) / np.linalg.norm(W):7.4f}" for E in errors))

# %% [markdown]
# - On normal weights the error of NF4 is smaller than that of int4, by about a seventh. On
#   Laplace weights, of which more lie near zero, it is smaller by a quarter.
# - On uniform weights int4 is better: where weights lie evenly, even steps are right. NF4 is made
#   for one distribution, and good where weights are like it.
# - Nine per cent is not small, and it does not average out in an output, a sum over many weights.
#   For an input that has nothing to do with the weights, the sum and its error both grow with the
#   root of their number.

# %% [markdown]
# ## What a weight really takes
#
# > 每 64 个权重共用一个 float32 常数，所以是 4.5 比特；常数再量化一次，约为 4.127 比特。
#
# Two codes share a byte, and each block has a float32 beside it: for 64 weights that is half a
# bit a weight, 4.5 in all. **Double quantisation** stores the constants themselves in 8 bits, in
# blocks of 256, after their mean is taken off, with one float32 for each such block. (The paper
# uses 8-bit floats for it, this package 8-bit integers, which take the same memory.)

# %% exact
for name, double in (("one float32 a block", False), ("double quantisation", True)):
    formula = bits_per_weight(double=double)
    stored = quantize(weights["normal"], double=double)
    took = f"{stored.nbytes:,} bytes, {stored.bits_per_weight:.4f} bits a weight"
    print(f"{name}: formula {formula:.4f}, measured {took}")

# %% [markdown]
# The block size is a trade. Small blocks cost bits. In large ones the steps are wide, and beside
# an outlier nearly all weights are rounded to zero:

# %% depends on the seed
print("block   bits a weight   error, normal   error, outliers")
for block_size in (16, 64, 256, 4096, size[0] * size[1]):
    line = f"{block_size:>6} {bits_per_weight(block_size=block_size):14.4f}"
    for W in (weights["normal"], weights["outliers"]):
        E = quantize(W, block_size=block_size).dequantize() - W
        line += f" {np.linalg.norm(E) / np.linalg.norm(W):16.4f}"
    print(line)

# %% [markdown]
# ## LoRA over frozen codes
#
# > 前向和反向都用反量化后的权重；被训练的只有 A 和 B，编号不变。
#
# `QLoRALinear` is LoRA with W0_hat in the place of W0. Each pass reads W0_hat from the codes,
# uses it and drops it: `y = x @ W0_hat.T + scaling * (x @ A.T) @ B.T`. The rounding happened
# once, before training. So W0_hat is a constant, y depends on x, A and B without any rounding
# step, and the gradients are exact. Where the rounded weights themselves are trained, one takes
# the rounding for the identity on the way back (a straight-through estimator). Nothing of the
# kind is needed here.

# %% exact
W0 = weights["normal"]
layer = QLoRALinear.init(W0, r=8, alpha=16, rng=rng)
x, some_B = rng.standard_normal((32, size[1])), rng.standard_normal((size[0], 8))
print(layer)
for name, error in gradient_errors(layer.with_params({"B": some_B}), x, rng).items():
    print(f"gradient of {name} agrees with differences: {error < EXACT_TOLERANCE}")

# %% [markdown]
# The gradient of x goes through W0_hat as well. The layers below learn about the weight that is
# used, and not about the one that was pretrained:

# %% depends on the seed
y, cache = layer.forward(x)
grad_y = rng.standard_normal(y.shape)
grad_x, grads = layer.backward(grad_y, cache)
print("trained:", " and ".join(sorted(grads)))
for name, W in (("W0_hat", layer.W0.dequantize()), ("W0", W0)):
    gap = np.linalg.norm(grad_x - grad_y @ W) / np.linalg.norm(grad_x)
    print(f"grad_x at the start, against that of {name:<6}: {gap:.4f}")

# %% [markdown]
# ## alpha does not touch the error
#
# > 量化误差在被冻结的权重里；alpha 只缩放更新 BA，与误差无关。
#
# At the start B is zero, and plain LoRA begins exactly at W0. QLoRA begins at W0_hat, so its y is
# off by the quantisation error from the first step on. The article says that in QLoRA alpha is
# often tuned to balance this error against the fit to the task. But the authors of QLoRA publish
# one alpha, and alpha stands before B A, while the error is in W0_hat:

# %% exact
judged = judge(article().claim("qlora-alpha"))
print(fill(f"{judged.verdict}: {judged.claim.text}", 92))
print(fill(f"because {judged.reason}", 92))
print(fill(f"right: {judged.correction}", 92))

# %% [markdown]
# The same with the layer from above:

# %% depends on the seed
print(" alpha   y at the start off by   norm of the update / norm of W0, with some B")
for alpha in (1, 16, 256):
    start = QLoRALinear(layer.W0, layer.A, layer.B, alpha)
    off = np.linalg.norm(start.forward(x)[0] - x @ W0.T) / np.linalg.norm(x @ W0.T)
    update = start.with_params({"B": some_B}).delta_w
    print(f"{alpha:>6} {off:23.4f} {np.linalg.norm(update) / np.linalg.norm(W0):23.4f}")

# %% [markdown]
# What can make up for the error is a trained A and B, whatever alpha is, and in norm only for a
# little of it. The rounding errors of these weights look like noise, which no few directions
# hold. The least of the error that an update of rank r leaves (`lowrank.truncation_error`, notebook
# 01):

# %% depends on the seed
E = layer.W0.dequantize() - W0
for r in (1, 8, 32, 128, 256):
    left = lowrank.truncation_error(E, r).frobenius if r < min(E.shape) else 0.0
    print(f"r = {r:>3}: {100 * left / np.linalg.norm(E):5.1f} % of the error is left")

# %% [markdown]
# LoftQ (Li et al., 2023) spends the start of A and B on this: it quantises and takes the SVD of
# what is left, in turn, so that training begins nearer to W0. In training itself the norm is not
# what counts. A and B follow the loss on the inputs of the task, and may repair more of what
# matters there than these numbers say.

# %% [markdown]
# ## Merge, into which weight?
#
# > 训练出来的模型是 W0_hat + (α/r) B A；合并到原来的 W0 或再次量化，得到的都是另一个函数。
#
# A and B were trained over W0_hat. Three ways to merge, and how far y moves in each:
#
# - `merge` folds the update into W0_hat: the function that was trained, to rounding, but no
#   longer in 4 bits.
# - `merge_quantized` rounds that to 4 bits again. Where the update is small against the gaps
#   between levels, the codes stay as they were, and the update is lost.
# - `merge_into` takes the original W0, which brings the whole quantisation error into y, with the
#   sign reversed.

# %% depends on the seed
y_base, unit = x @ layer.W0.dequantize().T, layer.with_params({"B": some_B}).delta_w
rounding = True
print("update / W0   left out   merged and quantised   merged into W0   codes that stay")
for share in (0.001, 0.01, 0.1, 1):
    B = some_B * share * np.linalg.norm(W0) / np.linalg.norm(unit)
    trained = layer.with_params({"B": B})
    y = trained.forward(x)[0]
    merged = {
        "dequantised": trained.merge().W,
        "quantised again": trained.merge_quantized().dequantize(),
        "original": trained.merge_into(W0).W,
    }
    moved = {way: np.linalg.norm(x @ W.T - y) / np.linalg.norm(y) for way, W in merged.items()}
    stay = 100 * np.mean(trained.merge_quantized().indices == trained.W0.indices)
    line = f"{share:11.3f} {np.linalg.norm(y_base - y) / np.linalg.norm(y):10.4f}"
    print(f"{line} {moved['quantised again']:22.4f} {moved['original']:16.4f} {stay:15.1f} %")
    rounding = rounding and moved["dequantised"] < 1e-12
print("merged into W0_hat, y moves by less than 1e-12 in all four:", rounding)

# %% [markdown]
# The first way is not in the table: it moves y by rounding only, as the last line says. While the
# update is small against W0, to quantise again moves y as far as to leave the update out, or a
# little further: it is lost. Where it is as large as the gaps, it gets through, with a new
# rounding error. The original W0 moves y by nine per cent, however small the update is. That can
# be for the better, since W0 is the weight that was pretrained. But it is another function than
# the one that was trained, so evaluate it, or merge into W0_hat. [Question
# 9](../docs/questions.md) has more, and the threads where it was asked.

# %% [markdown]
# ## What it saves beyond LoRA, and what it costs
#
# > LoRA 省的是梯度和优化器状态，QLoRA 再省权重本身；代价是每次前向、反向都要反量化。
#
# LoRA leaves the frozen weights as the largest part of the memory (notebook 12). QLoRA stores
# those inside the blocks in NF4 with double quantisation. Embeddings, norms, A and B stay as they
# are.

# %% exact
llama = counting.get_model("llama-65b")
ways = memories(llama, 8, ("q_proj", "v_proj"))
FIGURES["memory"].picture(models={llama.title: ways})

# %% [markdown]
# Activations come on top, and QLoRA saves none of them. The paper trains this model on one GPU of
# 48 GB. It has more trained numbers than the picture (updates on all linear layers of the
# blocks), recomputes activations in the backward pass, and pages optimiser states out to the CPU
# when memory runs short.
#
# The price: each pass dequantises the weights before it uses them, so a step does more work than
# LoRA's. And the network that is adapted is a rounded one. In the [study](../docs/study.md) of
# notebook 09, a small network on digits, no cost is shown. Here is the accuracy on the old task
# without an adapter, and on the new task QLoRA less LoRA, both at r = 8, with standard errors:

# %% to 1e-9
records = study.committed()
found = {(row["shift"], row["method"]): row for row in study.rows(records)}
before, rounded = (found["near", way]["source_off_mean"] for way in ("lora-8", "qlora"))
print(f"old task: W0 {100 * before:.1f} %, W0 in 4 bits {100 * rounded:.1f} %")
for shift, pair in Runs(records).target("qlora", "lora-8").items():
    print(f"new task, {shift:<10}: {100 * pair.mean:+z.1f} ± {100 * pair.error:.1f} points")

# %% [markdown]
# None of the five differences exceeds two standard errors. About large language models this says
# nothing; the QLoRA paper compares those.

# %% [markdown]
# ## Exercises
#
# > 练习：自己找出最近的等级，再算一个权重到底占几个比特。
#
# ### `nf4-codes`: the nearest level

# %% exact
print(show("nf4-codes"))


# %%
def nf4_codes(block, levels): ...


check("nf4-codes", nf4_codes)

# %% [markdown]
# ### `bits-per-weight`: what a weight really takes

# %% exact
print(show("bits-per-weight"))


# %%
def bits_per_weight(bits, block_size): ...


check("bits-per-weight", bits_per_weight)

# %% [markdown]
# ## In practice
#
# > 实践：用 4 比特加载时先确认哪些层被量化；合并后一定要重新评估。
#
# - Know which layers are in 4 bits. Usually the embedding and the output head are not, and where
#   the vocabulary is large they are a large part of the bytes.
# - A count of stored entries sees two 4-bit weights as one. If a library prints half the
#   parameters that the model has, that is why ([question 12](../docs/questions.md)).
# - Keep with an adapter how its base was quantised: kind, block size, double or not. Over another
#   W0_hat, or over W0, its y is off by the difference.
# - To serve a merged model in 4 bits, quantise it as a model of its own and evaluate that.

# %% [markdown]
# ## Further reading
#
# > 延伸阅读：QLoRA 原文、对 NF4 最优性的讨论、考虑量化误差的初始化。
#
# - T. Dettmers, A. Pagnoni, A. Holtzman, L. Zettlemoyer, "QLoRA: Efficient Finetuning of
#   Quantized LLMs", 2023, arXiv 2305.14314.
# - D. Yoshida, "NF4 Isn't Information Theoretically Optimal (and that's Good)", 2023, arXiv
#   2306.06965: levels made for blocks of a given size.
# - Y. Li et al., "LoftQ: LoRA-Fine-Tuning-Aware Quantization for Large Language Models", 2023,
#   arXiv 2310.08659.
# - [What papers and libraries print](../docs/literature.md), NF4 and QLoRA among them,
#   recomputed.
# - Next: [12 · Count parameters, memory and multiply-adds](12-count-what-it-costs.ipynb).

# %% [markdown]
# # 12 · Count what it costs
#
# Before you rent a machine, you want to know whether a model fits on it, and how long a step takes.
# The shapes of the weights and the number of rows answer most of the first question. With the speed
# of a card they give a first estimate for the second, on paper, before a single weight is loaded.
#
# **You will** count what LoRA trains, computes and holds in memory: for GPT-2 from a dictionary of
# shapes, for a training step written in NumPy, and for a model of 7 billion numbers.
#
# **You will learn** what LoRA makes smaller and what it leaves as large as before, where the
# backward pass may stop, and how to find out what an odd printed number counts.
#
# **You need** notebook 04 for the backward pass, notebook 08 for GELU and layer norms, notebook 11
# for numbers of 4 bits, and eighty minutes, fifteen of them for the exercises.

# %%
import numpy as np

from lora_ref import counting
from lora_ref.counting import LoRA, count_parameters, get_model
from lora_ref.exercises import check, hint, show
from lora_ref.figures import FIGURES, memories

# %% [markdown]
# ## Count GPT-2 from its shapes
#
# GPT-2 small has 12 blocks of width 768, with six weights in each: queries, keys and values, the
# output of attention, and two layers that widen each row to four times the width and narrow it
# again. Here they are, as `(out_features, in_features)`. Beside them stand a table of 50,257
# tokens, a table of 1,024 positions, a bias vector for each of the six weights, and layer norms.
# The output layer uses the table of tokens again, and it is counted once.

# %% exact
blocks, width, tokens, positions = 12, 768, 50_257, 1_024
shapes = {
    "q": (width, width),
    "k": (width, width),
    "v": (width, width),
    "o": (width, width),
    "up": (4 * width, width),
    "down": (width, 4 * width),
}
in_a_block = 2 * (2 * width)  # two layer norms
for out_features, in_features in shapes.values():
    in_a_block += out_features * in_features + out_features  # a weight and its bias
total = (tokens + positions) * width + blocks * in_a_block + 2 * width
print(f"a block {in_a_block:,}, the model {total:,} numbers")

# %% [markdown]
# LoRA puts a pair of A and B beside a weight. A is (r, in_features), B is
# (out_features, r).
#
# **Predict.** LoRA with r = 8 goes on the queries and the values of every block. About how many
# numbers are trained: 3 thousand, 30 thousand, 300 thousand, or 3 million?

# %% exact
rank, adapted = 8, ("q", "v")
trained = 0
for name in adapted:
    out_features, in_features = shapes[name]
    trained += blocks * (rank * in_features + out_features * rank)  # A, and B
print(f"{trained:,} of {total:,}: {100 * trained / total:.3f} %")

# %% [markdown]
# `count_parameters` does the same with the modules of
# [`counting/models`](../lora_ref/counting/models/gpt.py), under their names in the file of
# published weights, the **checkpoint**.

# %% exact
gpt2 = get_model("gpt2")
counted = count_parameters(gpt2, LoRA(rank, ["c_attn.q", "c_attn.v"]))
print(counted)
print("the package has the same trained numbers:", counted.trainable == trained)
print("and the same model:                      ", gpt2.total == total)

# %% [markdown]
# The first line has the form in which PEFT prints it. PEFT's total has A and B in it.
#
# ### The same in PEFT
#
# Not run here, because it loads the model:
#
# ```python
# from peft import LoraConfig, get_peft_model
# from transformers import AutoModelForCausalLM
#
# model = AutoModelForCausalLM.from_pretrained("gpt2")
# model = get_peft_model(model, LoraConfig(r=8, target_modules=["c_attn"], fan_in_fan_out=True))
# model.print_trainable_parameters()
# trained, total = model.get_nb_trainable_parameters()
# ```
#
# In this checkpoint queries, keys and values are stacked into one weight, `c_attn`, stored as (in,
# out): hence `fan_in_fan_out`. One pair of A and B goes on the whole of it, and has 8 · (2304 +
# 768) numbers: exactly as many as two pairs for q and v. Two equal counts do not show that the same
# weights are adapted.
#
# > **Remember.** A count needs shapes and no weights, and LoRA adds r (out + in) numbers for each
# > weight that it adapts.
# >
# > 计数只需要形状，不需要权重：每个被适配的矩阵增加 r(out + in) 个可训练的数。

# %% [markdown]
# ## Twice the rank, or twice the width
#
# [A textbook article](../docs/article.md), which notebook 13 examines, says that the number of
# trained parameters is "linear in r and quadratic in d", for weights of d x d.
#
# **Predict.** Take d = 1024 and r = 8. Where you double r, the count of LoRA doubles. By what
# factor does it grow where you double d?

# %% exact
print(f"{'':<20} {'A and B':>8} {'W0':>10}    share")
for name, d, r in (("d = 1024, r = 8", 1024, 8), ("twice r", 1024, 16), ("twice d", 2048, 8)):
    factors, weight = r * d + d * r, d * d
    print(f"{name:<20} {factors:>8,} {weight:>10,} {100 * factors / weight:7.3f} %")

# %% [markdown]
# The count doubles in both cases. It is linear in r *and* in d. What is quadratic in d is
# W0, and the share of LoRA falls as a model gets wider.
#
# The rank at which A and B have as many numbers as W0 is the **break-even rank**. Above it LoRA
# trains more than full fine-tuning.
#
# **Predict.** Where is it for a square weight: at d, at d/2 or at the square root of d? (The cell
# tries ranks around one of these, and then the head of a classifier with 2 outputs.)

# %% exact
print("out x in      r   A and B        W0")
for out_features, in_features, ranks in ((768, 768, (383, 384, 385)), (2, 768, (1, 2))):
    for r in ranks:
        factors = r * in_features + out_features * r
        shape, weight = f"{out_features:>3} x {in_features}", out_features * in_features
        print(f"{shape:<9} {r:>5} {factors:>9,} {weight:>9,}  LoRA saves: {factors < weight}")

# %% [markdown]
# The break-even rank of a square weight is half of its width, and there LoRA saves nothing any
# more. For the head of two outputs it lies just below 2 (1,536 / 770): LoRA saves at r = 1 alone,
# and training the head whole costs hardly more.
#
# > **Remember.** The count of LoRA is linear in the rank and in the width, and for a square
# > weight it reaches the full count at r = d/2.
# >
# > LoRA 的参数量对秩和宽度都是线性的，方阵在 r = d/2 时不再节省。

# %% [markdown]
# ## Multiply-adds: what a step computes
#
# A product of a matrix with n rows and k columns and one with m columns takes n · k · m
# **multiply-adds**. The function below multiplies, and writes down how many multiply-adds it took.
# Then comes a full step: forward, and backward with the gradients of x and of W.


# %%
def times(M, N, log):
    log.append(M.shape[0] * M.shape[1] * N.shape[1])
    return M @ N


# %% exact
n_rows, side, small = 5, 48, 4  # rows of x, the width d, and the rank r
rng = np.random.default_rng(0)
x, grad_y = rng.standard_normal((n_rows, side)), rng.standard_normal((n_rows, side))
W0 = rng.standard_normal((side, side))
A, B, s = rng.standard_normal((small, side)), rng.standard_normal((side, small)), 2.0

full_log = []
y = times(x, W0.T, full_log)
grad_x = times(grad_y, W0, full_log)
grad_W = times(grad_y.T, x, full_log)
print("full:", full_log, "n d d =", n_rows * side * side)

# %% [markdown]
# **Predict.** LoRA leaves one of these three products out. How many thin ones, of n · d · r
# multiply-adds, come in its place?

# %% exact
lora_log = []
h = times(x, A.T, lora_log)
y = times(x, W0.T, lora_log) + s * times(h, B.T, lora_log)
grad_h = s * times(grad_y, B, lora_log)
grad_B = s * times(grad_y.T, h, lora_log)
grad_A = times(grad_h.T, x, lora_log)
grad_x = times(grad_y, W0, lora_log) + times(grad_h, A, lora_log)
print("LoRA:", sorted(lora_log, reverse=True), "n d r =", n_rows * side * small)

full_cost = counting.full_multiply_adds(side, side, n=n_rows)
lora_cost = counting.lora_multiply_adds(side, side, small, n=n_rows)
same = sum(full_log) == full_cost.total, sum(lora_log) == lora_cost.total
print("the package counts the same:", same)

# %% [markdown]
# The gradient of W0 is left out: W0 is frozen, so nothing would use it. The gradient of x is needed
# if anything below trains, and then the product with W0 stays in the backward pass. Two large
# products and six thin ones are left. For a square weight with trained layers below it, LoRA
# divided by full is
#
# $$\frac{2 d^2 + 6 d r}{3 d^2} = \frac{2}{3} + \frac{2 r}{d}.$$
#
# The forward pass alone is $(d^2 + 2 d r) / d^2 = 1 + 2 r / d$. The formulas are in
# [`counting/cost.py`](../lora_ref/counting/cost.py), for weights that are not square too.
#
# **Predict.** Take d = 768. By the formula, at which rank does a step of LoRA cost as much as one
# of full fine-tuning?

# %% exact
d = 768
print("   r   forward    step   2/3 + 2 r/d   trained")
for r in (1, 8, 64, 128, 256, 384):
    lora, full = counting.lora_multiply_adds(d, d, r, n=1), counting.full_multiply_adds(d, d, n=1)
    step, formula, share = lora.total / full.total, 2 / 3 + 2 * r / d, 2 * r / d
    print(f"{r:>4} {lora.forward / full.forward:9.3f} {step:7.3f} {formula:13.3f} {share:9.3f}")
FIGURES["step-cost"].picture(width=d)

# %% [markdown]
# - **A step** through such a weight always costs more than two thirds of a full one. It is the
#   cheaper one below r = d/6 only: what one large product saves is used up by six thin ones.
# - **From d/6 to d/2** LoRA trains fewer numbers and computes more.
# - **The forward pass** always costs more, until A and B are merged into W0. Then it costs what it
#   did before, whatever r is.
#
# All this holds where B (A x) is computed in two thin products. Some code forms `B @ A` in every
# pass, as a parametrisation of the weight does. Automatic differentiation of
# `x @ (W0 + s * B @ A).T` goes back through it: first the gradient of `B @ A` (apart from s, it is
# the gradient of W0 that LoRA had left out), then those of A and B.

# %% exact
d, r = 768, 8
for n in (1, 64, 4096):
    full = counting.full_multiply_adds(d, d, n=n).total
    large = 3 * n * d * d  # y, and the gradients of x and of B A
    forming = 3 * counting.forming_multiply_adds(d, d, r)  # B A, and the gradients of A and B
    print(f"{n:>5} rows: formed / full {(large + forming) / full:.3f}, 1 + r/n = {1 + r / n:.3f}")
print(f"the gradient of B A has {d * d:,} numbers, those of A and B have {2 * d * r:,}")

# %% [markdown]
# Forming adds 3 r d² to the 3 n d² of a full step, whatever n is. A step divided by a full one is
# 1 + r/n, and never below 1. The large gradient is held in memory besides.
#
# > **Remember.** For a square weight with trained layers below it, a step of LoRA takes more than
# > two thirds of the multiply-adds of a full one, and as many at r = d/6.
# >
# > 方阵下方还有可训练的层时，LoRA 一步的乘加数超过完整微调的三分之二，r = d/6 时两者相等。

# %% [markdown]
# ## Twelve weights, one above the other
#
# A model has many weights, and you choose which of them get an A and a B. Take a stack of twelve
# weights of 768 x 768. In full fine-tuning all of them train, and the lowest needs no gradient of
# x, since x is the data.
#
# **Predict.** LoRA with r = 8 goes on one weight alone: on the highest, or on the lowest. Both
# train equally many numbers. Are the two steps equally large, is the highest's half as large, or
# the lowest's?


# %% exact
def step_of_stack(layers, adapted, d, r):
    large, thin = 0, 0
    for layer in range(layers):  # from the lowest, 0
        large += 1  # x W0^T
        thin += 5 * (layer in adapted)  # h and y; the gradients of h, B and A
        if layer > min(adapted):  # the gradient of x, wherever something below waits for it
            large += 1
            thin += layer in adapted  # the sixth: A's part of that gradient
    return large * d * d + thin * d * r


layers, d, r = 12, 768, 8
full_stack = (3 * layers - 1) * d * d  # the lowest needs no gradient of x
for name, chosen in (
    ("every weight", range(layers)),
    ("the upper half", range(layers // 2, layers)),
    ("the highest alone", range(layers - 1, layers)),
    ("the lowest alone", range(1)),
):
    share = step_of_stack(layers, chosen, d, r) / full_stack
    print(f"{name:<18} trains {len(chosen) * 2 * d * r:>7,} numbers, a step is {share:.3f}")

# %% [markdown]
# Below the lowest adapter nothing waits for a gradient, and the backward pass stops. With LoRA on
# the highest weight alone, a step is a forward pass and little more, and a forward pass is a third
# of a step. With LoRA on the lowest alone, the gradient has to come all the way down. "More than
# two thirds" is a sentence about one weight, and no bound for a model.
#
# Multiply-adds are not seconds: thin products use a processor less well than large ones. For GPT-3
# the LoRA paper reports 43.1 tokens per second per GPU in place of 32.5 ([the
# figures](../docs/literature.md)). We count r = 8 on every weight. If the paper's run adapted
# fewer, but one near the bottom, that changes little: every weight above it takes two large
# products, adapted or not, and the thin ones add only about 0.001.

# %% exact
before, after, r, d = 32.5, 43.1, 8, 12_288  # tokens per second per GPU
print(f"reported: {before / after:.3f} of the time")
print(f"counted:  {2 / 3 + 2 * r / d:.3f} of the multiply-adds")
twice = (3 * d * d + 8 * d * r) / (4 * d * d)  # the forward pass is run again before the backward
print(f"counted:  {twice:.3f} of them, if both ways recompute their activations")

# %% [markdown]
# The measured saving is smaller than the counted one. The count leaves out all that is no product
# with a weight: layer norms, attention's own products, the optimiser, what passes between cards.
# And if activations were recomputed (below), both ways pay for a forward pass more, and the count
# comes close. We do not know whether they were, and the optimiser, left out, would make LoRA's
# share smaller again: an agreement, and no proof.
#
# > **Remember.** Below the lowest adapter nothing goes back, so a step of LoRA on upper layers
# > alone can cost as little as a third of a full one.
# >
# > 最低的适配器以下不再反向传播，所以只适配上层时，LoRA 的一步可以低到完整微调的三分之一。

# %% [markdown]
# ## Bytes: what a step holds in memory
#
# Training keeps four things in memory: **weights**; **gradients**; **states**, which are what the
# optimiser remembers (AdamW: a mean of the gradient and one of its square); and **activations**,
# which are what the forward pass keeps for the backward pass.
#
# **Predict.** One weight of 4096 x 4096, all in float32. With 512 rows (tokens) in the batch, does
# LoRA at r = 8 take a hundredth, a quarter or two thirds of the memory of full fine-tuning? (A MiB
# is 2^20 bytes, and a GB, below, is 10^9.)


# %% exact
def bytes_with(n, d=4096, r=8):
    weight, factors = d * d, r * d + d * r
    full_parts = 4 * np.array([weight, weight, 2 * weight, n * d])  # a float32 has 4 bytes
    lora_parts = 4 * np.array([weight + factors, factors, 2 * factors, n * d + n * r])
    print("MiB             weights   gradients      states activations")
    for name, parts in (("full", full_parts), ("LoRA", lora_parts)):
        print(f"{n:>6} {name:<4}", *(f"{part / 2**20:11.1f}" for part in parts))
    same = counting.lora_bytes(d, d, r, n=n).total == lora_parts.sum()
    saved = (full_parts.sum() - lora_parts.sum()) / 2**20
    print(f"LoRA takes {lora_parts.sum() / full_parts.sum():.3f}, and saves {saved:.1f} MiB")
    print("as the package counts:", same)


bytes_with(512)

# %% [markdown]
# **Predict.** And with 65,536 rows: does LoRA take less than that share, as much, or more?

# %% exact
bytes_with(65_536)

# %% exact
FIGURES["memory-by-rows"].picture(width=4096, r=8)

# %% [markdown]
# Gradients and states are nearly gone. The weight is all there, and A and B besides. Beside an
# adapted weight the activations are all there too: the gradient of A needs x, just as that of W
# did. With few rows LoRA takes little more than a quarter: of the four arrays of full fine-tuning
# (weight, gradient, mean, square) only the weight is left. With many rows LoRA saves about as many
# bytes as before, out of many more: the saving stands still while the bill grows.
#
# **Predict.** In a block of GPT-2 the weights read four inputs: q, k and v share one, and o, up and
# down have one each. Full fine-tuning keeps all four for the gradients of the weights. LoRA on q
# and v leaves o, up and down frozen, without an A. Their only gradient is `grad_x = grad_y @ W0`.
# Which of the four inputs does LoRA have to keep?

# %% exact
rank, adapted, width = 8, ("q", "v"), 768
inputs = {
    "q, k and v": (("q", "k", "v"), width),
    "o": (("o",), width),
    "up": (("up",), width),
    "down": (("down",), 4 * width),
}


def kept(readers, features, adapted):
    """Return the numbers that LoRA keeps for each row: x if a reader has an A, an h for each A."""
    with_A = [one for one in readers if one in adapted]
    return features + rank * len(with_A) if with_A else 0


print("input of       full  LoRA on q, v  on all six")
for name, (readers, features) in inputs.items():
    some, all_six = (kept(readers, features, chosen) for chosen in (adapted, shapes))
    print(f"{name:<12} {features:>6,} {some:>13,} {all_six:>11,}")
full = sum(features for _, features in inputs.values())
some, all_six = (sum(kept(*one, chosen) for one in inputs.values()) for chosen in (adapted, shapes))
print(f"{'together':<12} {full:>6,} {some:>13,} {all_six:>11,}")

# %% [markdown]
# One of four: a frozen weight without an A needs no x, and PyTorch does not keep it for this layer.
# With an A beside every weight LoRA keeps every input, and each h besides: 1 % more than full
# fine-tuning. All ways keep other things too, so the true saving is smaller: the queries, keys and
# values, the softmax table of attention, what the layer norms read, and the 3,072 numbers that GELU
# reads.
#
# You have three levers, and each pulls at one part: LoRA at gradients and states, fewer bits
# (notebook 11) at the frozen weights, and recomputing at the activations, which are then computed
# again in the backward pass and not kept.
#
# > **Remember.** LoRA saves gradients and optimiser states; it saves no weights, and no activations
# > where it is put.
# >
# > LoRA 省下的是梯度和优化器状态；权重不省，放了 LoRA 的地方激活也不省。

# %% [markdown]
# ## A model of 7 billion numbers, and a card of 24 GB
#
# LLaMA 7B is held in bfloat16, a float32 without its last 2 bytes (so 2 bytes a number), and so are
# its gradients. AdamW's two numbers are float32 (4 bytes each). Usually a second copy of each
# trained weight is kept in float32: we count first without it, and in the last lines with it. QLoRA
# stores the linear weights of the blocks in half a byte each, with the constants of notebook 11: 8
# bits for every 64 weights, and 32 bits for every 256 of those. Activations come after.
#
# **Predict.** Which of these fits on a graphics card of 24 GB: full fine-tuning, LoRA, QLoRA?

# %% exact
llama = get_model("llama-7b")
low_rank = count_parameters(llama, LoRA(8, ["q_proj", "v_proj"])).trainable
inner = 32 * (4 * 4096 * 4096 + 3 * 4096 * 11_008)  # the linear weights of the 32 blocks
packed = (4 + 8 / 64 + 32 / (64 * 256)) / 8  # bytes of one of them, with its constants
by_hand = {
    "full": (2 + 2 + 4 + 4) * llama.total,
    "LoRA, r = 8": 2 * llama.total + (2 + 2 + 4 + 4) * low_rank,
    "QLoRA, r = 8": 2 * (llama.total - inner) + packed * inner + (2 + 2 + 4 + 4) * low_rank,
}
package = memories(llama, 8, ["q_proj", "v_proj"])
for name, held in by_hand.items():
    print(f"{name:<13} {held / 1e9:6.1f} GB, as the package: {round(held) == package[name].total}")
in_float32 = by_hand["QLoRA, r = 8"] + 2 * (llama.total - inner)  # the rest, not in 4 bits
print(f"QLoRA, the rest in float32: {in_float32 / 1e9:.1f} GB")
for name, number in (("LoRA", low_rank), ("full", llama.total)):
    print(f"{name}: a float32 copy of what is trained takes {4 * number / 1e9:.2f} GB more")
print(f"full, with that copy: {(2 + 2 + 4 + 4 + 4) * llama.total / 1e9:.1f} GB")

# %% exact
FIGURES["memory"].picture(card=24)

# %% [markdown]
# With the copy, 107.8 GB, full fine-tuning is the usual case, called *mixed precision*: compute in
# 2 bytes, and keep every trained weight in 4 as well (16 bytes a number; the ZeRO paper below has
# the table). A small step added to a number of 2 bytes would be lost in rounding; in the copy it
# survives. LoRA needs it for A and B alone, 0.02 GB. (For QLoRA, PEFT's
# `prepare_model_for_kbit_training` makes all that is not in 4 bits float32, embedding and output
# head too: 4.4 GB.)
#
# Full fine-tuning needs several such cards. The lower panel is LLaMA 65B, on another scale: its
# frozen weights alone are too large for this card, in 2 bytes and in 4 bits. LoRA and QLoRA of the
# 7B model fit, if the activations do.
#
# LLaMA's MLP has three weights, down(SiLU(gate x) · up x): SiLU is a smooth bend like GELU, and ·
# is entry by entry. The *logits* are a score for each of 32,000 tokens.
#
# **Predict.** A text has 2,048 tokens. How many texts fit in the rest of the card, beside LoRA:
# one, ten or a hundred?

# %% exact
text, card, d, f = 2048, 24e9, 4096, 11_008  # tokens, bytes, and the two widths of a block
kept = {  # numbers for each token, with LoRA on queries and values
    "read by two norms": 2 * d,
    "read by q and v": d,
    "queries, keys, values": 3 * d,
    "attention's output": d,  # attention computed piece by piece reads it on the way back
    "gate, SiLU of it, up": 3 * f,  # the MLP multiplies the second and the third
}
of_a_block = 2 * text * sum(kept.values())  # a number has 2 bytes
logits = 2 * 4 * text * 32_000  # and their gradient, in float32
for_a_text = 32 * of_a_block + logits
recomputed = 32 * 2 * text * d + of_a_block + logits  # each block's input, one block at a time
print(f"a text: {for_a_text / 1e9:.1f} GB, recomputed {recomputed / 1e9:.1f} GB", end=", ")
print(f"{logits / 1e9:.1f} GB of it for logits")
for name in ("LoRA, r = 8", "QLoRA, r = 8"):
    room = card - by_hand[name]
    print(f"{name:<13} texts: {room // for_a_text:.0f}, recomputed {room // recomputed:.0f}")

# %% [markdown]
# One text, or two. Where each block keeps its input alone and computes the rest again, a batch
# fits: then the logits count. And that is at best: the softmax table of attention, tokens by
# tokens, is left out (good programs form it in parts and drop it), and so is what a program sets
# aside while it runs.
#
# > **Remember.** Activations apart, full fine-tuning with AdamW holds 12 to 16 bytes for each
# > number of the model, and LoRA little more than the frozen weights.
# >
# > 不算激活，用 AdamW 完整微调时每个参数要占 12 到 16 字节，LoRA 只比冻结权重本身多一点。

# %% [markdown]
# ## What an odd number counts
#
# A trained LoRA is a small file. For GPT-3 with r = 4 on queries and values, in 16 bits:

# %% exact
gpt3 = get_model("gpt3-175b")
file = 2 * count_parameters(gpt3, LoRA(4, ["c_attn.q", "c_attn.v"])).trainable
times_smaller = 2 * gpt3.total / file
print(f"the model {2 * gpt3.total:,}, a task {file:,} bytes: {times_smaller:,.0f} times smaller")
print(f"the quotient of 350 GB and 35 MB: {350e9 / 35e6:,.0f}")

# %% [markdown]
# The paper prints 350 GB, roughly 35 MB, and 10,000 times, the quotient of the two rounded numbers.
# A printed size can also be read backwards: it tells you what is counted.
#
# **Predict.** Somebody loads LLaMA 7B in 4 bits, adds LoRA with r = 8 on queries and values, and a
# script that adds up `p.numel()` prints 3,504,607,232. The model has 6.7 billion numbers. Where are
# the others?

# %% exact
printed = 3_504_607_232
print(f"the linear weights of the blocks: {inner:,}, and half as many are {inner // 2:,}")
found = llama.total - inner // 2 + low_rank
print(f"with half as many the program counts {found:,}; as printed: {found == printed}")
for name, counted_as in (("printed", found), ("true", llama.total + low_rank)):
    print(f"the {name} share of trained numbers: {100 * low_rank / counted_as:.3f} %")
for one in counting.explain(printed, llama, LoRA(8, ["q_proj", "v_proj"])):
    for name in one.rules:
        print(f"explain() finds the rule {name}: {counting.RULES[name]}")

# %% [markdown]
# No number is gone: the script counts entries of arrays, an entry is a byte of 8 bits, and two
# numbers of 4 bits share it (PEFT's own line allows for that). So a share of trained parameters
# that is formed with it is nearly twice too large. `counting.explain` tries such rules for you,
# one, two or three at a time. Agreement by one rule is strong evidence; with three together some
# sum agrees with almost any number.
# [Questions](../docs/questions.md) 1 and 12 have more odd numbers.
#
# > **Remember.** A count that looks wrong often follows an unsaid rule, so ask first what was
# > counted.
# >
# > 看起来不对的数字往往只是计数规则没有写明，先问它数的是什么。

# %% [markdown]
# ## Your own case
#
# Now the opening question: does it fit? Weights and gradients have 2 bytes, states 4. Each block
# keeps its input alone, and the block at work about 16 d numbers a token (in LLaMA 15 d,
# above; attention's softmax is left out again). Logits are counted with their gradients.


# %%
def parts_of(name, r, targets, texts, tokens):
    """Return the bytes of the four parts of training a language model with LoRA."""
    model = get_model(name)
    counted = count_parameters(model, LoRA(r, targets))
    fixed = counting.training_memory(counted, "bfloat16", state_dtype="float32")
    rows = texts * tokens
    # the table of tokens is larger than that of positions
    words = max(one.shape[0] for one in model.modules if one.kind == "embedding")
    return {
        "weights": fixed.weights,
        "gradients and states": fixed.gradients + fixed.optimizer,
        "activations": 2 * rows * model.width * (model.blocks + 16),
        "logits": 4 * 2 * rows * words,
    }


# %% [markdown]
# **Predict.** GPT-2 XL has 1.6 billion numbers in 48 blocks of width 1600, and 50,257 tokens. You
# train LoRA on 8 texts of 1,024 tokens, with 16 GB. Does it fit? Which of the four parts is the
# largest? Write your answers into the cell, and run it. Then put in a case of your own;
# `counting.MODELS` has the names.

# %% exact
case = {"name": "gpt2-xl", "r": 16, "targets": ["c_attn"], "texts": 8, "tokens": 1024}
card = 16e9
fits, largest = None, None  # True or False; the name of a part

parts = parts_of(**case)
for part, size in parts.items():
    print(f"{part:<20} {size / 1e9:6.2f} GB")
total = sum(parts.values())
print(f"{'in all':<20} {total / 1e9:6.2f} GB, fits: {total <= card}", end="")
print("" if fits is None else f" (you: {fits})")
print("the largest:", max(parts, key=parts.get), "" if largest is None else f"(you: {largest})")

# %% [markdown]
# It fits, and the logits are the largest part: 8,192 rows have a score and its gradient for each of
# 50,257 tokens. Neither a lower rank nor fewer bits for the weights touch this part; fewer texts at
# a time do.
#
# And how long does a step take? In a pass a number of the model makes about one multiply-add for
# each token. LoRA takes three passes here: forward, the same again to recompute, and the gradient
# of x. NVIDIA sells its T4, a card of 16 GB, with 65e12 operations a second in float16; a
# multiply-add is two. Training reaches a part of that: *we assume a third*.
#
# **Predict.** Does a step take a tenth of a second, some seconds or a minute?

# %% to 1e-9
peak, reached = 65e12, 1 / 3  # operations a second; better, put in what you measure
for name, passes in (("LoRA", 3), ("full", 4)):  # full has the gradients of the weights too
    work = passes * get_model(case["name"]).total * case["texts"] * case["tokens"]
    print(f"{name}: {work:.1e} multiply-adds, {2 * work / (peak * reached):.1f} seconds")

# %% [markdown]
# Some seconds: a thousand steps of LoRA take about an hour. (Left out: thin products, attention's
# own, the optimiser.)
#
# > **Remember.** Count four parts before you rent: weights, gradients with states, activations and
# > logits; the largest may be one that LoRA leaves as it is.
# >
# > 租机器之前先数四部分：权重、梯度和状态、激活、输出分数；最大的一部分未必是 LoRA 能减小的。

# %% [markdown]
# ## Exercises
#
# Replace the three dots and run the cell. Each exercise asks a question to answer before you write.
# If you are stuck, there are three hints:

# %% exact
print(hint("count", 1))

# %% [markdown]
# ### `count`: how many numbers LoRA trains

# %% exact
print(show("count"))


# %%
def count(shapes, r): ...


check("count", count)

# %% [markdown]
# ### `break-even`: the largest rank that still saves

# %% exact
print(show("break-even"))


# %%
def break_even(out_features, in_features): ...


check("break-even", break_even)

# %% [markdown]
# ### `cheaper-step`: the largest rank with a cheaper step

# %% exact
print(show("cheaper-step"))


# %%
def cheaper_step(out_features, in_features): ...


check("cheaper-step", cheaper_step)

# %% [markdown]
# ### `training-bytes`: what training holds

# %% exact
print(show("training-bytes"))


# %%
def training_bytes(frozen, trained): ...


check("training-bytes", training_bytes)

# %% [markdown]
# ### To think about
#
# 1. Plain gradient descent keeps no states. What does LoRA save then, with few rows: still three
#    quarters? Is a method that needs AdamW a fair thing to compare with?
# 2. Somebody adapts every block, somebody else the upper half with twice the rank. The counts are
#    equal. What does the second save in a step, and in activations? What would you measure before
#    you choose?
# 3. A model does not fit, and a colleague suggests r = 4 in place of r = 16. Which line of the
#    bytes does that change? What would you suggest?
# 4. Beside an adapted weight, for a small r, LoRA saves 3 d² of the 4 d² + n d numbers that full
#    fine-tuning holds, and a third of its multiply-adds. At which n are the two shares equal? What
#    does it save more of with 32 texts of 1,024 tokens, at a width of 4096?

# %% [markdown]
# ## In practice
#
# - Count before training, and compare with what the library prints. A misspelt target, a layer that
#   is trained by mistake, a head that is not: all of them show there.
# - Out of memory: ask which part it is, and pull the lever of that part. For activations you can
#   also take fewer or shorter texts, or adapt fewer weights.
# - Too slow: look for code that forms `B @ A`; adapt the upper blocks alone, if the result on your
#   task stays good enough (no count can tell); merge before use.
# - For a model of your own, write names and shapes into a JSON file and call
#   `lora-ref count --spec mine.json --rank 4 --targets q v`. An
#   [example](../lora_ref/counting/example_spec.json) lies beside the package.

# %% [markdown]
# ## Further reading
#
# - E. Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", 2021, arXiv 2106.09685,
#   section 4.2, on memory, checkpoints and speed.
# - S. Rajbhandari et al., "ZeRO: Memory Optimizations Toward Training Trillion Parameter Models",
#   2019, arXiv 1910.02054, section 3, on where the memory of training goes.
# - T. Chen et al., "Training Deep Nets with Sublinear Memory Cost", 2016, arXiv 1604.06174, on
#   recomputing activations.
# - [Derivations](../docs/derivations.md): "What a pass costs" and "What the cache keeps".
# - Next: [13 · Judge the textbook](13-judge-the-textbook.ipynb).

# %% [markdown]
# # 12 · Count what it costs
#
# Before you rent a machine, you want to know whether a model fits on it, and how long a step
# takes. The shapes of the weights are enough to say so: you can count on paper, before a single
# weight is loaded.
#
# **You will** count what LoRA trains, computes and holds in memory: for GPT-2 from a dictionary of
# shapes, for a training step written in NumPy, and for a model of 7 billion numbers.
#
# **You will learn** what LoRA makes smaller and what it does not, from which rank on it saves
# nothing, and how to find out what an odd printed number counts.
#
# **You need** notebook 04 for the backward pass, notebook 11 for numbers of 4 bits, and thirty
# minutes.

# %%
import numpy as np

from lora_ref import counting
from lora_ref.counting import Full, LoRA, count_parameters, get_model
from lora_ref.exercises import check, hint, show
from lora_ref.figures import FIGURES

# %% [markdown]
# ## Count GPT-2 from its shapes
#
# GPT-2 small has 12 blocks of width 768, with six weights in each: queries, keys and values, the
# output of attention, and two layers that widen each row to four times the width and narrow it
# again. Here they are, as `(out_features, in_features)`. Beside them stand a table of 50,257
# tokens, a table of 1,024 positions, a bias for each weight, and layer norms.

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
# numbers are trained: 3 thousand, 30 thousand, 300 thousand, or 3 million? Is that more or less
# than one per cent of the model?

# %% exact
rank, adapted = 8, ("q", "v")
trained = 0
for name in adapted:
    out_features, in_features = shapes[name]
    trained += blocks * (rank * in_features + out_features * rank)  # A, and B
print(f"{trained:,} of {total:,}: {100 * trained / total:.3f} %")

# %% [markdown]
# That was all: a sum over a dictionary. `count_parameters` does the same with the modules of
# [`counting/models`](../lora_ref/counting/models/gpt.py), under the names that a checkpoint gives
# them, so that you need not type the shapes.

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
# In this checkpoint queries, keys and values are one fused weight of 2304 x 768, `c_attn`. One
# pair of A and B goes on the whole of it, and has 8 · (2304 + 768) numbers. That is exactly as
# many as two pairs for q and v. So an equal count does not show that the same weights are
# adapted.
#
# > **Remember.** A count needs shapes and no weights, and LoRA adds r (out + in) numbers for each
# > weight that it adapts.
# >
# > 计数只需要形状，不需要权重：每个被适配的矩阵增加 r(out + in) 个可训练的数。

# %% [markdown]
# ## Twice the rank, twice the width
#
# An article on LoRA says that the number of trained parameters is "linear in r and quadratic in d",
# for weights of d x d.
#
# **Predict.** Take d = 1024 and r = 8. By what factor does the count of LoRA grow where you double
# r? Where you double d? What happens to its share of the weight?

# %% exact
print(f"{'':<20} {'A and B':>8} {'W0':>10}    share")
for name, d, r in (("d = 1024, r = 8", 1024, 8), ("twice r", 1024, 16), ("twice d", 2048, 8)):
    factors, weight = r * d + d * r, d * d
    print(f"{name:<20} {factors:>8,} {weight:>10,} {100 * factors / weight:7.3f} %")

# %% [markdown]
# The count doubles in both cases. It is linear in r *and* linear in d. Quadratic in d is W0. So the
# share falls as a model gets wider: LoRA saves most where there is most to save.
#
# The **break-even rank** is the rank at which A and B have as many numbers as W0. Above it LoRA
# trains more than full fine-tuning.
#
# **Predict.** Where is it for a square weight: at d, at d/2 or at the square root of d? And for the
# head of a classifier, with 2 outputs and 768 inputs?

# %% exact
for out_features, in_features in ((4, 4), (768, 768), (3072, 768), (32000, 4096), (2, 768)):
    even = counting.break_even_rank(in_features, out_features)
    as_many = even * in_features + out_features * even == out_features * in_features
    least, shape = min(out_features, in_features), f"{out_features:>5} x {in_features:<4}"
    print(f"{shape}: {float(even):8.2f} of at most {least:<4}  as many: {as_many}")

# %% [markdown]
# Half of the width for a square weight, and more than half of the smaller side for any other. The
# article's own example has d = 4 and r = 2: there LoRA saves nothing, as the article itself says.
# For the head of two outputs LoRA can save at r = 1 alone. Train such a head whole.
#
# > **Remember.** The count of LoRA is linear in the rank and in the width, and for a square
# > weight it reaches the full count at r = d/2.
# >
# > LoRA 的参数量对秩和宽度都是线性的，方阵在 r = d/2 时不再节省。

# %% [markdown]
# ## Multiply-adds: what a step computes
#
# A product of a matrix with n rows and k columns and one with m columns takes n · k · m
# **multiply-adds**. The function below multiplies and writes down how many those were. Then comes a
# full step: forward, and backward with the gradients of x and of W.


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
# **Predict.** LoRA leaves one of these three products out. Which one, and why is it allowed to? How
# many thin products, of n · d · r multiply-adds, come in its place?

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
print("the package counts the same:", [full_cost.total, lora_cost.total])
print(sum(full_log) == full_cost.total, sum(lora_log) == lora_cost.total)

# %% [markdown]
# The gradient of W is left out, because nobody would use it. (It is not zero: notebook 04.) The
# gradient of x is needed for the layers below, so the product with W0 stays in the backward pass.
# Two large products and six thin ones are left. For a square weight, LoRA divided by full is
#
# $$\frac{2 d^2 + 6 d r}{3 d^2} = \frac{2}{3} + \frac{2 r}{d}.$$
#
# The forward pass alone is $(d^2 + 2 d r) / d^2 = 1 + 2 r / d$. The formulas are in
# [`counting/cost.py`](../lora_ref/counting/cost.py), for weights that are not square too.
#
# **Predict.** How cheap can a step get? Take d = 768, and find from the formula the rank at which
# a step of LoRA costs as much as one of full fine-tuning, and the rank at which the forward pass
# costs twice as much. Why is the first so much smaller than the break-even rank?

# %% exact
d = 768
print("   r   forward    step   2/3 + 2 r/d   trained")
for r in (1, 8, 64, 128, 256, 384):
    lora, full = counting.lora_multiply_adds(d, d, r, n=1), counting.full_multiply_adds(d, d, n=1)
    step, formula, share = lora.total / full.total, 2 / 3 + 2 * r / d, 2 * r / d
    print(f"{r:>4} {lora.forward / full.forward:9.3f} {step:7.3f} {formula:13.3f} {share:9.3f}")
FIGURES["step-cost"].picture(width=d)

# %% [markdown]
# - **A step** never costs less than two thirds. It is cheaper than a full one below r = d/6, a
#   third of the break-even rank: what one large product saves is used up by six thin ones.
# - **From d/6 to d/2** LoRA trains fewer numbers and computes more.
# - **The forward pass** always costs more, until A and B are merged into W0. Then it costs what it
#   did before, whatever r is.
#
# All this holds where B (A x) is computed in two thin products. Code that forms `B @ A` in every
# pass pays r · d · d for it.
#
# **Predict.** For which batches does that matter more: for one row, or for thousands of rows?

# %% exact
d, r = 768, 8
for n in (1, 64, 4096):
    thin = counting.lora_multiply_adds(d, d, r, n=n).forward
    formed = counting.forming_multiply_adds(d, d, r) + n * d * d
    print(f"{n:>5} rows: with B A formed, {formed / thin:.2f} times the forward pass of LoRA")

# %% [markdown]
# For many rows it looks like a bargain. The backward pass is where it hurts: automatic
# differentiation of `x @ (W0 + s * B @ A).T` computes the gradient of `B @ A`, which is the
# gradient of W0 that LoRA had saved, and holds it in memory.
#
# Multiply-adds are not seconds. Thin products use a processor less well than large ones. For
# GPT-3 the LoRA paper reports 43.1 tokens a second in place of 32.5 ([the
# figures](../docs/literature.md)).
#
# > **Remember.** A step of LoRA costs at least two thirds of a full one, and as much where r is
# > d/6, because the passes through W0 stay.
# >
# > LoRA 的一步至少要完整微调的三分之二，r = d/6 时两者相等，因为经过 W0 的前向和反向都还在。

# %% [markdown]
# ## Bytes: what a step holds in memory
#
# Training keeps four things in memory: the weights, a gradient for each trained number, what the
# optimiser keeps for it (AdamW: a mean of the gradient and one of its square), and the activations
# that the backward pass will need. For the gradient of W, and for that of A, this is x itself.
#
# **Predict.** One weight of 4096 x 4096, all in float32. With 512 rows (tokens) in the batch,
# does LoRA at r = 8 take a hundredth, a quarter or two thirds of the memory of full fine-tuning?
# And with 65,536 rows?

# %% exact
d, r, size = 4096, 8, 4  # a float32 has 4 bytes
weight, factors = d * d, r * d + d * r
print(
    f"{'MiB':<13}", *(f"{part:>11}" for part in ("weights", "gradients", "states", "activations"))
)
for n in (512, 65_536):
    full_parts = size * np.array([weight, weight, 2 * weight, n * d])
    lora_parts = size * np.array([weight + factors, factors, 2 * factors, n * d + n * r])
    for name, parts in (("full", full_parts), ("LoRA", lora_parts)):
        print(f"{n:>6} {name:<6}", *(f"{part / 2**20:11.1f}" for part in parts))
    same = counting.lora_bytes(d, d, r, n=n).total == lora_parts.sum()
    print(f"   LoRA takes {lora_parts.sum() / full_parts.sum():.3f}; as the package counts: {same}")

# %% exact
FIGURES["memory-by-rows"].picture(width=4096, r=8)

# %% [markdown]
# Gradients and states are nearly gone. The weights are all there, and A and B besides. The
# activations are all there too: A needs x for its gradient, just as W did. With few rows LoRA takes
# little more than a quarter, the weight itself out of weight, gradient, mean and square. With many
# rows the activations are most of it, and LoRA saves next to nothing.
#
# So there are three levers, and each pulls at one part: LoRA at gradients and states, fewer bits
# (notebook 11) at the frozen weights, and recomputing in the backward pass at the activations.
#
# **Predict.** LLaMA 7B, with weights and gradients in bfloat16 (2 bytes) and AdamW's two numbers in
# float32 (4 bytes each). Activations are left out. On a card of 24 GB, which of these fits: full
# fine-tuning, LoRA, LoRA on a weight of 4 bits (QLoRA)?

# %% exact
llama = get_model("llama-7b")
whole = count_parameters(llama, Full())
low_rank = count_parameters(llama, LoRA(8, ["q_proj", "v_proj"]))
by_hand = [
    2 * llama.total + 2 * llama.total + (4 + 4) * llama.total,
    2 * (llama.total + low_rank.trainable) + (2 + 4 + 4) * low_rank.trainable,
]
package = [
    counting.training_memory(one, "bfloat16", state_dtype="float32").total
    for one in (whole, low_rank)
]
print("full and LoRA:", [f"{held / 1e9:.1f} GB" for held in by_hand])
print("the same as the package's:", by_hand == package)

# %% exact
FIGURES["memory"].picture()

# %% [markdown]
# LoRA and QLoRA fit, as long as the activations do too. Full fine-tuning needs several cards.
# LoRA is left with the weights, so the next thing to make smaller is the weights.
#
# > **Remember.** LoRA saves gradients and optimiser states, and it saves neither weights nor
# > activations.
# >
# > LoRA 省下的是梯度和优化器状态，权重和激活一点也不少。

# %% [markdown]
# ## What an odd number counts
#
# A trained LoRA is a small file. For GPT-3 with r = 4 on queries and values, in 16 bits:

# %% exact
gpt3 = get_model("gpt3-175b")
file = 2 * count_parameters(gpt3, LoRA(4, ["c_attn.q", "c_attn.v"])).trainable
print(
    f"the model {2 * gpt3.total:,}, a task {file:,} bytes: {2 * gpt3.total // file:,} times smaller"
)

# %% [markdown]
# The paper prints 350 GB, roughly 35 MB, and 10,000 times. Conversely, a printed size tells you
# what is counted. Try it on a number that is often found on the web.
#
# **Predict.** Somebody loads LLaMA 7B in 4 bits, adds LoRA with r = 8 on queries and values, and
# the program prints `all params: 3,504,607,232`. The model has 6.7 billion numbers. Where are the
# others? (A byte has 8 bits.)

# %% exact
printed = 3_504_607_232
inner = 32 * (4 * 4096 * 4096 + 3 * 4096 * 11_008)  # the linear weights of the 32 blocks
print(f"stored two in a byte, {inner:,} numbers are {inner // 2:,} entries")
found = llama.total - inner // 2 + low_rank.trainable
print(f"so the program counts {found:,}; as printed: {found == printed}")
for one in counting.explain(printed, llama, LoRA(8, ["q_proj", "v_proj"])):
    for name in one.rules:
        print(f"explain() finds the rule {name}: {counting.RULES[name]}")

# %% [markdown]
# No number is gone: the program counts entries of arrays, and two numbers share an entry. A share
# of trained parameters that is printed beside it is nearly twice too large. `counting.explain`
# tries such rules for you, one, two or three at a time. One number that agrees under three rules
# together is weak evidence, because there are many such sums. [Questions](../docs/questions.md) 1
# and 12 have more odd numbers.
#
# > **Remember.** A count that looks wrong often follows an unsaid rule, so ask first what was
# > counted.
# >
# > 看起来不对的数字往往只是计数规则没有写明，先问它数的是什么。

# %% [markdown]
# ## When it saves, and when it does not
#
# Here is LoRA divided by full fine-tuning for one weight with d = 4096, float32 and AdamW. Above 1,
# LoRA costs more.
#
# **Predict.** Take r = 1024: half as many numbers are trained. Is a step cheaper or dearer than a
# full one? And which of the five rows below saves the most memory?

# %% exact
d = 4096
print("   r   rows   trained     step   memory   forward   merged")
for r, n in ((8, 512), (8, 65_536), (256, 512), (1024, 512), (2048, 512)):
    lora, full = counting.lora_multiply_adds(d, d, r, n=n), counting.full_multiply_adds(d, d, n=n)
    merged = counting.merged_multiply_adds(d, d, n=n).forward / full.forward
    held = counting.lora_bytes(d, d, r, n=n).total / counting.full_bytes(d, d, n=n).total
    trained_share = counting.lora_params(d, d, r) / counting.full_params(d, d)
    costs = f"{lora.total / full.total:8.3f} {held:8.3f} {lora.forward / full.forward:9.3f}"
    print(f"{r:>4} {n:>6} {trained_share:9.3f} {costs} {merged:8.3f}")

# %% [markdown]
# Read it by columns. `trained` depends on the rank alone. `step` starts at two thirds and passes
# 1 long before `trained` does. `memory` is good for few rows and small ranks. `forward` is always
# above 1, and `merged` is 1.
#
# > **Remember.** LoRA saves most with a small rank and few rows, and in memory more than in time.
# >
# > 秩小、行数少时 LoRA 最省，而且省内存多于省时间。

# %% [markdown]
# ## Exercises
#
# Each exercise asks a question to answer before you write. If you are stuck, there are three hints:

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
# 2. Somebody trains LoRA on the lowest block alone, somebody else on the highest block alone. The
#    counts are equal. For which of the two can the backward pass be shorter, and by how much?
# 3. A model does not fit, and a colleague suggests r = 4 in place of r = 16. Which line of the
#    bytes does that change? What would you suggest?

# %% [markdown]
# ## In practice
#
# - Count before training, and compare with what the library prints. A misspelt target, a layer that
#   is trained by mistake, a head that is not: all of them show there.
# - Out of memory: ask which part it is. Weights: fewer bits. Activations: recompute them, or take
#   fewer or shorter texts. Gradients and states: LoRA. A smaller rank seldom helps.
# - Too slow: look for code that forms `B @ A`, and merge before use.
# - To compare methods, say what is counted: with or without the head, and out of which total.
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

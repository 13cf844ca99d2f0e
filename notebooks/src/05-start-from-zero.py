# %% [markdown]
# # 05 · Start from zero
#
# **You will** start a layer in several ways, watch what moves first, and change alpha, the width
# of A and the learning rate against each other until the training stays the same.
#
# **You will learn** why B is zero and A is not, what equal rows of A do, what alpha does at the
# start and what it does not, and what is balanced by alpha/r and what by alpha/sqrt(r).
#
# **You need** notebook [04](04-derive-and-check-the-gradients.ipynb), and twenty minutes.

# %%
import numpy as np

from lora_ref.exercises import check, show
from lora_ref.figures import FIGURES, descent, first_steps, start_up
from lora_ref.gradcheck import sgd_step
from lora_ref.layers import LoRALinear, initializers
from lora_ref.lowrank import best_update, numerical_rank
from lora_ref.ops import mean_squared_error, mean_squared_error_backward
from lora_ref.training import SGD, AdamW, Loss, Network, train

# %% [markdown]
# ## What moves first
#
# > B 为零时，A 的梯度恰好为零，B 的梯度不为零：所以第一步只有 B 移动。
#
# With G for the gradient of the whole weight, `grad_y.T @ x`, the two gradients are
#
# $$
# \nabla_A = s B^\top G, \qquad \nabla_B = s G A^\top
# $$
#
# where s is the scaling. Each has the other factor in it. At the start B is zero and A is not, so
# the gradient of A is zero, and that of B is not. The task here: rows x, and target rows that a
# change of rank 2 makes of them, with a little noise.

# %%
rng = np.random.default_rng(0)
W0, x = rng.standard_normal((12, 16)) / 4, rng.standard_normal((64, 16))
shift = rng.standard_normal((12, 2)) @ rng.standard_normal((2, 16)) / 4
target = x @ (W0 + shift).T + rng.standard_normal((64, 12)) / 10
loss = Loss(mean_squared_error, mean_squared_error_backward)

# %% depends on the seed
layer = LoRALinear.init(W0, r=4, alpha=8, rng=np.random.default_rng(1))
print("y is that of W0, bit for bit:", np.array_equal(layer.forward(x)[0], x @ W0.T))
for step in range(4):
    y, cache = layer.forward(x)
    _, grads = layer.backward((y - target) / len(x), cache)
    sizes = [np.linalg.norm(M) for M in (grads["A"], grads["B"], layer.delta_w)]
    print("step {}: grad_A {:.3f}, grad_B {:.3f}, update {:.3f}".format(step, *sizes))
    layer, _ = sgd_step(layer, x, (y - target) / len(x), lr=0.02)

# %% [markdown]
# The 0.000 of step 0 is exact: `B.T @ G` is zero because B is, whatever G may be. After
# one step B is no longer zero, and A moves too. The article begins at B = 0 to leave W0 as it is,
# and says that the update then grows smoothly from 0. Both are right.

# %% [markdown]
# ## Three ways to begin
#
# > 两者都为零则永远不动；两者都随机则一开始就扰动了预训练模型。
#
# If B = 0 keeps the function, why not A = 0 as well? Because then both gradients are zero, in
# this step and in every other. And why not draw both? Because then the update is not zero: the
# network is changed before it has learnt anything.

# %% depends on the seed
for start in (initializers.both_zero, initializers.both_random):
    layer = LoRALinear.init(W0, 4, 8, np.random.default_rng(1), initializer=start)
    y, before = x @ W0.T, layer.delta_w
    off = np.linalg.norm(layer.forward(x)[0] - y) / np.linalg.norm(y)
    for _ in range(100):
        layer, _ = sgd_step(layer, x, (layer.forward(x)[0] - target) / len(x), lr=0.02)
    moved = not np.array_equal(layer.delta_w, before)
    print(f"{start.__name__:<11}  y changed by {off:4.1%} at the start; moved at all: {moved}")

# %% to 1e-6
FIGURES["start-up"].picture()

# %% [markdown]
# In the middle the grey line begins above zero, and yet training gets as far as on the left. A
# small disturbance need not harm the result (Li et al., 2025, study such starts). Two zeros do:
# nothing is ever learnt.
#
# A zero and B random keeps the function too, and trains: in loralib, the library of the LoRA
# authors, an embedding (a table of rows) begins so. For other layers A is the one that is drawn.
# Hayou et al. (2024a) find that this order tolerates larger learning rates.

# %% [markdown]
# ## Equal rows stay equal
#
# > A 的各行若相同，B 的各列就永远相同，更新的秩停在 1：随机初始化打破的正是这种对称。
#
# The article draws A at random to break a symmetry, and is right. Column k of `grad_B` is
# `s G A[k]`. If all rows of A are equal, so are the columns of `grad_B`, and B, which was zero,
# gets equal columns. Then the rows of `grad_A` are equal as well, and the next step finds what
# this one found. However large r is, `B A` is r times one outer product: rank 1.

# %% depends on the seed
_, A, B = initializers.kaiming_uniform(W0, 2, 2.0, rng)
equal = np.tile(A[:1], (2, 1))
nearly = equal + 1e-6 * rng.standard_normal(A.shape)
options, losses = {"batch": len(x), "rng": rng, "loss": loss}, {}
for name, rows in {"equal rows": equal, "nearly equal": nearly, "random rows": A}.items():
    network = Network({"layer": LoRALinear(W0, rows, B, alpha=4)})
    network, history = train(network, x, target, optimizer=SGD(lr=0.3), steps=100, **options)
    losses[name], update = history.losses, network["layer"].delta_w
    rank = numerical_rank(update, 1e-6 * np.linalg.norm(update))
    print(f"{name:<12}  rank of the update {rank}, loss {losses[name][-1]:.4f}")

# %% [markdown]
# How good a rank can be at best on this task is known in closed form (notebook 07). It is the
# dotted line:

# %% depends on the seed
floors = {}
for name, r in (("equal rows", 1), ("random rows", 2)):
    best_A, best_B = best_update(x, target, W0, r)
    floors[name], _ = mean_squared_error(x @ (W0 + best_B @ best_A).T, target)
descent(losses, floors)

# %% [markdown]
# Equal rows find the best update of rank 1, and stop there. A difference of about a millionth is
# enough to leave: it grows from step to step, until the second direction is found. So the plateau
# is a saddle (flat, with a way down) and not a minimum. That equal rows stay equal for ever holds
# in exact arithmetic; in floats, rounding may in time be the first difference. A random A need
# not wait for it.

# %% [markdown]
# ## How wide to draw A
#
# > 固定的 0.02 与 Kaiming 均匀分布只在宽度 833 附近一致；后者使 A x 的大小与宽度无关。
#
# "Usually N(0, 0.02²)", says the article. The LoRA paper says Gaussian and gives no width.
# loralib and PEFT, Hugging Face's library, draw uniformly between plus and minus `1 /
# sqrt(in_features)`, which is PyTorch's `kaiming_uniform_` with `a = sqrt(5)`, named after
# Kaiming He's family of rules. A uniform draw between -b and b has the standard deviation `b /
# sqrt(3)`, so theirs is `1 / sqrt(3 in_features)`. It falls with the width, and 0.02 does not:

# %% depends on the seed
print("             standard deviation of A         size of A x")
print("in_features  0.02    Kaiming  its formula    0.02  Kaiming")
for width in (256, 768, 833, 1024, 4096):
    rows, found = rng.standard_normal((100, width)), []
    for start in (initializers.normal(0.02), initializers.kaiming_uniform):
        _, A, _ = start(np.zeros((1, width)), 64, 1.0, rng)
        found.append((A.std(), np.sqrt(np.mean((rows @ A.T) ** 2))))
    (a, h), (b, k) = found
    print(f"{width:>11}  {a:.4f}  {b:.4f}   {(3 * width) ** -0.5:.4f}         {h:.2f}  {k:.2f}")

# %% [markdown]
# The two agree where `in_features` is `1 / (3 * 0.02²)`, which is 833. At 768 nobody would notice
# the difference; at 4096 the fixed 0.02 is more than twice as wide. The last columns (root mean
# squares, for inputs of size 1) say what a rule that follows the width is good for: `A x` has the
# same size in every layer. What else the width of A does, two sections on.

# %% [markdown]
# ## alpha/r does not guard the start
#
# > B 为零时，无论 α 多大，初始扰动都恰好为零；α/r 影响的是从第一步开始的步幅。
#
# The article says that alpha/r keeps the random A and B from disturbing the model too much at the
# start. But at the start B is zero, by the article's own rule, and nothing is disturbed. At r =
# 4, here is the change of y in per cent, for a zero B and for a random one; then the gradient of
# the zero B, and the change of y, in per cent again, by one very small step from there:

# %% depends on the seed
y, lr = x @ W0.T, 1e-6
print("alpha   B zero   B random   norm of grad_B   after a step from B zero")
for alpha in (1, 16, 256):
    zero, random = (
        LoRALinear.init(W0, 4, alpha, np.random.default_rng(1), initializer=start)
        for start in (initializers.kaiming_uniform, initializers.both_random)
    )
    moved, _ = sgd_step(zero, x, (y - target) / len(x), lr)
    far = [np.linalg.norm(one.forward(x)[0] - y) for one in (zero, random, moved)]
    a, b, c = (100 * one / np.linalg.norm(y) for one in far)
    print(f"{alpha:>5} {a:>8g} {b:>10.2f} {np.linalg.norm(moved.B) / lr:>16.2f} {c:>26.7f}")

# %% [markdown]
# With B zero the change is not small but exactly 0, for every alpha. With both random it would be
# proportional to alpha, so the sentence is right of a start that LoRA does not have. What alpha
# does set is what comes next. From row to row it grows by 16, the gradient of B by 16 too, and
# the first step by 256: the scaling is in the gradient once, and once more in front of `B A`,
#
# $$
# \Delta W = s B A = -\eta s^2 G A^\top A
# $$
#
# where η is the learning rate. With the same learning rate, alpha sets the pace:

# %% depends on the seed
norms = {}
for alpha in (4, 8, 12):
    layer = LoRALinear.init(W0, 4, alpha, np.random.default_rng(1))
    norms[f"alpha = {alpha}"] = first_steps(layer, x, target, lr=0.02, steps=16)
start_up(norms)

# %% [markdown]
# And once A and B are what they are, the article is right that alpha above r strengthens the
# update and alpha below r weakens it. The update is proportional to alpha.

# %% [markdown]
# ## Three knobs, two settings
#
# > α、A 的初始宽度和学习率三者只有两个自由度：改变其中一个，可以用另两个补偿。
#
# The function knows only the product `s B A`. For any c, the factors `c A` and `B / c` make the
# same function, and so do `c A` and `c B` with the scaling `s / c²`. That alone does not make
# them train alike. Take the second. Its `grad_A` is `(s / c²) (c B)ᵀ G`, which is 1/c of what it
# was, while A is c times as large. So one step keeps A in proportion if the learning rate is c²
# times as large, and for B it is the same. For plain gradient descent
#
# $$
# (A, B, s, \eta) \quad \text{and} \quad (c A, c B, s / c^2, c^2 \eta)
# $$
#
# are therefore one training, step by step. With c = 1/2: four times the alpha, half the A, a
# quarter of the learning rate. If A is left as it is, four times the alpha and a sixteenth of the
# learning rate make the same first step, for `s² η` is the same, but not the same second one: A
# now moves at another pace than B. They make the same steps if the sixteenth is for B alone.

# %%
_, A, B = initializers.kaiming_uniform(W0, 4, 2.0, rng)
settings = {
    "alpha,   A,   lr": (8, A, SGD(lr=0.1)),
    "4 alpha, A,   lr/16": (32, A, SGD(lr=0.1 / 16)),
    "4 alpha, A,   lr/16 for B alone": (32, A, SGD(lr=0.1, lr_ratio={"B": 1 / 16})),
    "4 alpha, A/2, lr/4": (32, A / 2, SGD(lr=0.1 / 4)),
    "Adam: alpha, A, lr": (8, A, AdamW(lr=0.01, weight_decay=0)),
    "Adam: 4 alpha, A/2, lr/2": (32, A / 2, AdamW(lr=0.01 / 2, weight_decay=0)),
}
updates = {}
for name, (alpha, rows, optimizer) in settings.items():
    start = Network({"layer": LoRALinear(W0, rows, B, alpha)})
    for steps in (1, 20):
        network, _ = train(start, x, target, optimizer=optimizer, steps=steps, **options)
        updates[name, steps] = network["layer"].delta_w

# %% [markdown]
# How far is the update, after one step and after twenty, from that of the first line with the
# same optimiser?

# %% depends on the seed
for name, (_, _, optimizer) in settings.items():
    like = next(other for other in settings if type(settings[other][2]) is type(optimizer))
    said = []
    for steps in (1, 20):
        update, reference = updates[name, steps], updates[like, steps]
        off = np.linalg.norm(update - reference) / np.linalg.norm(reference)
        said.append("same" if off < 1e-6 else f"{off:.0%} off")
    print(f"{name:<33}  step 1: {said[0]:<5}  step 20: {said[1]}")

# %% [markdown]
# So alpha, the width of A and the learning rate are three knobs for two settings. Adam divides
# each entry of a gradient by its own running size, and there the law has `c η` in place of `c²
# η`, up to Adam's epsilon. This is the LoRA paper's remark (section 4.1) that with Adam tuning
# alpha is roughly tuning the learning rate, if the start is scaled along. The paper sets alpha to
# the first r that is tried and leaves it there; "usually alpha = r", says the article. It is one
# convention among others.
#
# Learning rates that differ for A and B, as in the third line, are the idea of LoRA+ (Hayou et
# al., 2024b), where B gets the larger one. For gradient descent from B = 0, c times the alpha is
# c² times the learning rate of B, and nothing else.
#
# The other pair, `c A` and `B / c`, is one function and two trainings. By the same algebra, A
# moves at 1/c² of its pace and B at c² of it:

# %% depends on the seed
trained, _ = sgd_step(LoRALinear(W0, A, B, 8), x, (x @ W0.T - target) / len(x), lr=0.02)
pair = trained, trained.with_params({"A": 2 * trained.A, "B": trained.B / 2})
for name in ("now", "a step later", "two steps later"):
    one, other = (layer.delta_w for layer in pair)
    off = np.linalg.norm(other - one) / np.linalg.norm(one)
    print(f"{name:<15}  updates {'equal' if off < 1e-9 else f'{off:.0%} apart'}")
    grads = [(layer.forward(x)[0] - target) / len(x) for layer in pair]
    pair = [sgd_step(layer, x, g, lr=0.02)[0] for layer, g in zip(pair, grads, strict=True)]

# %% [markdown]
# ## alpha/r or alpha/sqrt(r)
#
# > 换秩时哪种缩放能保持步幅，取决于优化器，也取决于要保持的是哪个量。
#
# When r is changed and alpha is not, what stays? The article says that alpha/r balances the size
# of the gradient. Kalajdzievski (2023) divides by sqrt(r) instead (rsLoRA). Here is the first
# step from B = 0 at r = 4, 16 and 64: the norm of `grad_B`, how far the loss falls to first
# order, and how large the update is, each divided by its value at r = 4.

# %% depends on the seed
W, x_wide, g = np.zeros((256, 512)), *(rng.standard_normal((64, n)) for n in (512, 256))
print(f"{'r = 4, 16, 64':<23} {'norm of grad_B':<17} {'fall of the loss':<17} size of the update")
for optimizer in (SGD(lr=1e-3), AdamW(lr=1e-3, weight_decay=0)):
    for stabilized in (False, True):
        found = []
        for r in (4, 16, 64):
            layer = LoRALinear.init(W, r, 16, rng, rank_stabilized=stabilized)
            _, grads = layer.backward(g, layer.forward(x_wide)[1])
            state = optimizer.init_state(layer.trainable)
            moved = layer.with_params(optimizer.step(layer.trainable, grads, state)[0])
            fall = -np.sum(g * moved.forward(x_wide)[0])  # y was zero, as W is
            found.append((np.linalg.norm(grads["B"]), fall, np.linalg.norm(moved.delta_w)))
        name = f"{type(optimizer).__name__:<5} alpha/{'sqrt(r)' if stabilized else 'r'}"
        columns = (np.array(found) / found[0]).T
        print(f"{name:<23}", "   ".join(" ".join(f"{v:4.2f}" for v in c) for c in columns))

# %% [markdown]
# The first column is the claim as it is worded. Under alpha/r the gradient falls as 1/sqrt(r),
# and under alpha/sqrt(r) it stays, up to the draw of A. So the claim holds for another divisor
# than the one it names. But a gradient is not yet a step:
#
# - Gradient descent: the fall of the loss is η times the squared norm of `grad_B`, so
#   alpha/sqrt(r) balances it as well.
# - Adam's first step moves every entry of B by the learning rate, however large the gradient is.
#   `B A` is then a sum of r terms that all point down the loss, and alpha/r balances the fall. As
#   long as r is far below the width, these terms are nearly at right angles to each other. Their
#   sum grows in size as sqrt(r), and alpha/sqrt(r) balances that.
#
# The LoRA paper, which trains with Adam, divides by r in order to change r without much new
# tuning. rsLoRA divides by sqrt(r) so that outputs and gradients keep their size for large r.
# Each divisor keeps something. And a first step is not a training: notebook 09 compares the two
# on real data.

# %% [markdown]
# ## Other starts
#
# > 正交初始化使第一步成为一次投影；PiSSA 从 W0 的主奇异方向出发，A 与 B 同时移动。
#
# An orthogonal start draws A with orthonormal rows. Then `A.T @ A` is a projection P, and the
# first step is `-η s² G P`: the step of full fine-tuning, seen through r directions, none of them
# stretched. Such an A is sqrt(3) times as wide as Kaiming's, so at the same alpha and learning
# rate the first step of gradient descent lowers the loss three times as far, in the mean over
# draws.
#
# PiSSA (Meng et al., 2024) takes the r largest singular triplets of W0 out of W0 and into A and
# B, and freezes the rest. At r = 4:

# %% depends on the seed
print("start            W0 frozen as it was  y at the start     grad_A  grad_B")
for start in (
    initializers.kaiming_uniform,
    initializers.orthogonal,
    initializers.pissa,
    initializers.both_random,
):
    layer = LoRALinear.init(W0, 4, 8, np.random.default_rng(1), initializer=start)
    y, cache = layer.forward(x)
    _, grads = layer.backward((y - target) / len(x), cache)
    same = np.array_equal(y, x @ W0.T), np.allclose(y, x @ W0.T)
    said = ("disturbed", "W0's, rounded", "W0's, bit for bit")[sum(same)]
    kept = "yes" if np.array_equal(layer.W0, W0) else "no"
    a, b = (np.linalg.norm(grads[name]) for name in "AB")
    print(f"{start.__name__:<16} {kept:<19}  {said:<17} {a:>7.2f} {b:>7.2f}")

# %% [markdown]
# With PiSSA's start both factors move at once, along the strongest directions of W0. An A and B
# that began there are right beside the reduced W0 only, and switching them off does not give the
# pretrained layer back. What training adds to the pretrained weight is the difference of two
# products of rank r, and may have rank 2 r. And since the scaling is divided out of A and B at
# the start, alpha is a second learning rate and nothing else. For gradient descent `s η` counts:

# %% depends on the seed
updates = []
for alpha, lr in ((8, 0.05), (2, 0.2)):
    layer = LoRALinear.init(W0, 4, alpha, rng, initializer=initializers.pissa)
    optimizer, network = SGD(lr=lr), Network({"layer": layer})
    network, _ = train(network, x, target, optimizer=optimizer, steps=20, **options)
    updates.append(network["layer"].merge().W - W0)
print("alpha = 8 at lr = 0.05 and alpha = 2 at lr = 0.2 train alike:", np.allclose(*updates))
print("rank of what r = 4 has added to W0:", numerical_rank(updates[0], 1e-9))

# %% [markdown]
# ## Exercises
#
# > 练习：把省略号换成你的代码，运行单元格，它会告诉你哪里不对。
#
# Replace the three dots, run the cell, and read what it says. The specification in plain loops
# says what is right. It is slow on purpose; write yours without loops.
#
# ### `start`: both factors, before the first step

# %% exact
print(show("start"))


# %%
def start(out_features, in_features, r, rng): ...


check("start", start)

# %% [markdown]
# ### `scaling`: two divisors

# %% exact
print(show("scaling"))


# %%
def scaling(alpha, r, rank_stabilized): ...


check("scaling", scaling)

# %% [markdown]
# ## In practice
#
# > 实践：训练前先验证初始输出与基座一致；换 α、秩或初始宽度之后，要重新调学习率。
#
# - Before training, compare the output of the adapted model with that of the base, in evaluation.
#   They must be equal. Where they are not, B is not zero, or the base was rounded on loading.
# - Do not check gradients there. At B = 0 a wrong `grad_A` is zero too (notebook 04).
# - Whoever changes alpha, the width of A or the divisor has changed the learning rate. Compare
#   two settings only after each has been tuned.
# - Write down the multiplier in front of `B A`, and not alpha alone: codes differ in what they
#   divide by ([notation](../docs/notation.md)). An adapter moved from one to another may be too
#   weak by r or by sqrt(r), and no error says so ([question 14](../docs/questions.md)).
# - An A stored as `(in_features, r)` and drawn by PyTorch's Kaiming rule gets another width: the
#   rule takes the second axis, here r, for the number of inputs.

# %% [markdown]
# ## Further reading
#
# > 延伸阅读：缩放与初始化的原始论文，以及首步步幅的推导。
#
# - E. Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", 2021, arXiv 2106.09685,
#   section 4.1. K. He et al., "Delving Deep into Rectifiers", 2015, arXiv 1502.01852, on the
#   width.
# - D. Kalajdzievski, "A Rank Stabilization Scaling Factor for Fine-Tuning with LoRA", 2023, arXiv
#   2312.03732.
# - S. Hayou, N. Ghosh, B. Yu, "The Impact of Initialization on LoRA Finetuning Dynamics", 2024a,
#   arXiv 2406.08447, and "LoRA+: Efficient Low Rank Adaptation of Large Models", 2024b, arXiv
#   2402.12354.
# - F. Meng, Z. Wang, M. Zhang, "PiSSA", 2024, arXiv 2404.02948. S. Li et al., "Beyond Zero
#   Initialization", 2025, arXiv 2505.23194.
# - [Derivations](../docs/derivations.md), "The start" and "The first step": mean and size of the
#   first step, with the constants.
# - Next: [07 · Train a low-rank update](07-train-a-low-rank-update.ipynb).

# %% [markdown]
# # 07 · Train a low-rank update
#
# LoRA trains an update of low rank. Is the update that it finds the best of that rank? And would it
# be as good to fine-tune the whole weight and to compress the change afterwards? For a single
# linear layer both questions have exact answers.
#
# **You will** write down the best update of rank r in closed form, train A and B in ten lines and
# see where they end, and compare with a full update that is cut to the same rank.
#
# **You will learn** how the loss measures the distance of two updates, where training ends and in
# which order it gets there, and when cutting is as good as training.
#
# **You need** notebooks [02](02-find-the-rank.ipynb) (the truncated SVD) and
# [04](04-derive-and-check-the-gradients.ipynb) (the gradients), forty-five minutes, and thirty more
# for the exercises.

# %%
import numpy as np

from lora_ref import lowrank, study
from lora_ref.exercises import check, show
from lora_ref.figures import FIGURES, learning_order, losses_by_rank
from lora_ref.layers import LoRALinear
from lora_ref.ops import mean_squared_error, mean_squared_error_backward
from lora_ref.training import SGD, DivergedError, Loss, Network, train

# %% [markdown]
# ## A task for one layer
#
# A layer has a frozen weight W0 with 16 inputs and 12 outputs. For 64 rows x you know which outputs
# y you would like to have. Another weight has made them, and a little noise came on top. That
# weight is W0 plus a shift of rank 6, and each term of the shift is half as strong as the one
# before. The inputs are not equally loud: the first has a standard deviation of 3, the last of 1/3.

# %%
in_features, out_features, n, noise = 16, 12, 64, 0.05


def draw_task(seed, loudest):
    draws = np.random.default_rng(seed)
    loudness = np.geomspace(loudest, 1 / loudest, in_features)
    x = draws.standard_normal((n, in_features)) * loudness
    W0 = draws.standard_normal((out_features, in_features)) / 4
    B = draws.standard_normal((out_features, 6)) * 2.0 ** -np.arange(6) / 4
    shift = B @ draws.standard_normal((6, in_features))
    y = x @ (W0 + shift).T + noise * draws.standard_normal((n, out_features))
    return x, y, W0


x, y, W0 = draw_task(seed=0, loudest=3)

# %% [markdown]
# An update M has the loss below, the mean squared error over all rows and outputs. Without a limit
# on the rank, least squares finds the update with the least loss. Call it F, for full. F plays the
# part of full fine-tuning here: it is the change that training the whole weight would end at.


# %% to 1e-9
def loss(M):
    return float(np.mean((x @ (W0 + M).T - y) ** 2))


def full_update(x, y, W0):
    return np.linalg.lstsq(x, y - x @ W0.T, rcond=None)[0].T


F = full_update(x, y, W0)
print(f"without an update {loss(np.zeros_like(W0)):.4f}, with the full one {loss(F):.4f}")
print(f"F has {F.size} numbers and rank {np.linalg.matrix_rank(F)}")

# %% [markdown]
# So F removes nearly all of the loss. The rest is noise that no update can fit. The question of
# this notebook: how much of the fall between these two losses can an update of rank 1, 2 or 4
# bring?
#
# > **Remember.** Without a limit on the rank, the best update of a linear layer is a least-squares
# > fit.
# >
# > 不限制秩时，线性层的最优更新就是最小二乘解。

# %% [markdown]
# ## Measure an error as the loss does
#
# An update of low rank cannot be F, so it makes errors somewhere. Which errors are cheap?
#
# **Predict.** Make F wrong by 0.1 in one entry: once in a column that meets the loudest input, of
# standard deviation 3, and once in a column that meets the quietest, of standard deviation 1/3.
# How many times as much loss does the first error cost?

# %% to 1e-9
error = 0.1
extra = []
for column in (0, -1):
    M = F.copy()
    M[0, column] += error
    extra.append(loss(M) - loss(F))
    print(f"column {column:>2}: the loss rises by {extra[-1]:.6f}")
squares = np.mean(x**2, axis=0)
print(f"ratio of the two costs {extra[0] / extra[1]:.2f}")
print(f"ratio of the mean squares of the two inputs {squares[0] / squares[-1]:.2f}")

# %% [markdown]
# The cost of an error is proportional to the mean square of the input that it meets. For very many
# rows that is the square of the standard deviation, 81 to 1; these 64 rows have the ratio that is
# printed. In general, with n rows and `out` outputs,
#
# $$
# \text{loss}(M) = \text{loss}(F) + \frac{1}{n \cdot \text{out}} \lVert x (M - F)^\top \rVert^2
# $$
#
# The reason is that the residual of a least-squares fit is orthogonal to every column of x. The
# mixed terms vanish when you multiply out.
#
# The norm can be written without the rows. Take a square matrix C with
# $C C^\top = x^\top x / n$. Think of C as the square root of the inputs' covariance (without their
# mean subtracted): along a direction v, the mean square of the inputs is
# $\lVert C^\top v \rVert^2$. Then
#
# $$
# \text{loss}(M) = \text{loss}(F) + \frac{1}{\text{out}} \lVert (M - F) \, C \rVert^2
# $$
#
# Several C have this property. Here is one from the SVD of x, and a test of the formula on a random
# M:

# %% to 1e-9
U, sigma, Vh = np.linalg.svd(x, full_matrices=False)
C = Vh.T * sigma / len(x) ** 0.5
M = np.random.default_rng(5).standard_normal(W0.shape)
print("C @ C.T is x.T @ x / n:", np.allclose(C @ C.T, x.T @ x / len(x)))
print(f"loss {loss(M):.6f}, by the formula {loss(F) + np.sum(((M - F) @ C) ** 2) / len(F):.6f}")

# %% [markdown]
# If all directions are equally loud, C can be a multiple of the identity, and x is called *white*.
# M C is then a multiple of M. Any other x can be made white. Divide each input row, written as a
# column, by C: the rows $C^{-1} x$ are white, and the update that acts on them is M C. So the step
# from M to M C is to *whiten*: x is divided by C, and the update is multiplied by it.
#
# > **Remember.** The loss does not measure how far M is from F, but how far M C is from F C.
# >
# > 损失衡量的不是 M 与 F 的距离，而是 M C 与 F C 的距离。

# %% [markdown]
# ## The best update of rank r
#
# **Predict.** From notebook 02 you know the matrix of rank r that is nearest to a given one. How do
# you find from it the M of rank r with the least loss?
#
# <details><summary>Answer</summary>
#
# M C has to be near to F C. The nearest matrix of rank r is the truncated SVD of F C. Let M C be
# that matrix, and multiply it by the inverse of C to get M. The rank stays the same. This is the
# theorem of Eckart and Young from notebook 02, for another measure of distance. Statisticians call
# it reduced-rank regression (Izenman, 1975).
#
# </details>


# %% to 1e-9
def best(F, C, r):
    P, tau, Qh = np.linalg.svd(F @ C, full_matrices=False)
    nearest = P[:, :r] * tau[:r] @ Qh[:r]
    return nearest @ np.linalg.pinv(C)


for r in (1, 2, 4, 12):
    A, B = lowrank.best_update(x, y, W0, r)
    M = best(F, C, r)
    same = np.allclose(M, B @ A)
    print(f"r = {r:>2}: least loss {loss(M):.4f}, the same as the package's: {same}")

# %% [markdown]
# The package's [`best_update`](../lora_ref/lowrank.py) does the same without F and C: it takes the
# SVD of x, and one of what W0 leaves over. It returns factors A and B, ready for a layer.
#
# The singular values tau of F C tell what a rank costs. The values behind the first r are lost: the
# loss is that of F, plus the sum of their squares, divided by the number of outputs.

# %% to 1e-9
tau = np.linalg.svd(F @ C, compute_uv=False)
for r in (1, 2, 4):
    lost = np.sum(tau[r:] ** 2) / len(F)
    measured = loss(best(F, C, r))
    print(f"r = {r}: {loss(F):.4f} + {lost:.4f} = {loss(F) + lost:.4f}, measured {measured:.4f}")

# %% [markdown]
# > **Remember.** Whiten the full update, cut it, and undo the whitening: no update of rank r has a
# > smaller loss.
# >
# > 先白化，再截断，最后还原：秩为 r 的更新中，没有损失更小的。

# %% [markdown]
# ## Where does training end?
#
# Training knows nothing of an SVD. It starts with B = 0 and follows the gradients of notebook 04.
# With alpha = r the scaling s is 1. The loss is a mean over all entries, so G, the gradient of the
# whole weight, has the factor 2 / (n out). (`DivergedError` is the package's way to say that lr is
# too large.)


# %%
def descend(x, y, W0, A, steps, lr):
    B, path = np.zeros((len(W0), len(A))), []
    for step in range(1, steps + 1):
        left = x @ (W0 + B @ A).T - y
        G = 2 * left.T @ x / left.size
        A, B = A - lr * B.T @ G, B - lr * G @ A.T
        path.append(B @ A)
        if not np.isfinite(path[-1]).all():
            raise DivergedError(f"not finite at step {step}: use an lr below {lr:g}")
    return A, B, path


def small_start(seed, r, size=0.01):
    return size * np.random.default_rng(seed).standard_normal((r, in_features))


# %% [markdown]
# **Predict.** The loss is not convex in A and B together, so there could be valleys that end too
# high. Train at r = 1, 2 and 3, each from two random starts. Which of these will agree between the
# two starts: the loss, the update B A, the factor A?

# %% depends on the seed
steps, lr = 500, 0.6
print(" r  loss / least  update from best  from the other start: update        A")
for r in (1, 2, 3):
    one_A, one_B, _ = descend(x, y, W0, small_start(1, r), steps, lr)
    other_A, other_B, _ = descend(x, y, W0, small_start(2, r), steps, lr)
    M, best_M = one_B @ one_A, best(F, C, r)
    apart = [np.linalg.norm(M - N) / np.linalg.norm(M) for N in (best_M, other_B @ other_A)]
    A_apart = np.linalg.norm(one_A - other_A) / np.linalg.norm(one_A)
    ratio, (away, between) = loss(M) / loss(best_M), apart
    print(f"{r:>2} {ratio:>13.6f} {away:>17.2%} {between:>29.2%} {A_apart:>8.0%}")

# %% [markdown]
# All end at the best update; at r = 3 the weakest direction is still 0.2 % short after 500 steps.
# There is a theorem behind this result. For a linear layer and squared errors, no local minimum is
# worse than the best one; the other places at which both gradients are zero are saddles (Baldi and
# Hornik, 1989, for inputs in all directions and singular values that differ). A network with
# activations has no such guarantee.
#
# The factors need not agree: with any invertible Q, the pair `Q @ A` and `B @ inv(Q)` is the same
# update. (At r = 1 and from so small a start, A can differ in little more than its sign.) So
# compare two adapters by B A, and never by their entries.
#
# The package has the same loop: [`train`](../lora_ref/training/loop.py) takes any layer, loss and
# optimiser.

# %% exact
r, steps, lr = 2, 200, 0.3
start = LoRALinear(W0, small_start(1, r), np.zeros((out_features, r)), alpha=r)
network, history = train(
    Network({"layer": start}), x, y, optimizer=SGD(lr=lr), steps=steps, batch=len(x),
    rng=np.random.default_rng(3), loss=Loss(mean_squared_error, mean_squared_error_backward),
)  # fmt: skip
A, B, path = descend(x, y, W0, small_start(1, r), steps, lr)
print("the same as the package's layer:", np.allclose(network["layer"].delta_w, B @ A))

# %% [markdown]
# > **Remember.** On a linear task, training at rank r ended at the best update of rank r, from
# > every random start tried here.
# >
# > 在线性任务上，从这里试过的每个随机起点出发，秩为 r 的训练都到达该秩的最优更新。

# %% [markdown]
# ## In which order?
#
# At r = 4 the best update M has four directions. The singular values of M C, which are the first
# four of F C, tell how much each takes off the loss. Call them strengths. All four grow from zero,
# since B starts at zero.
#
# **Predict.** Do the four grow together, each in proportion to its strength? Or first the weak
# ones, which have less far to go? Or first the strong ones?

# %% depends on the seed
r, steps, lr = 4, 300, 0.3
_, _, path = descend(x, y, W0, small_start(1, r), steps, lr)
sizes = np.array([np.linalg.svd(M @ C, compute_uv=False)[:r] for M in path])
goals = np.linalg.svd(F @ C, compute_uv=False)[:r]
learning_order(sizes, goals)

# %% [markdown]
# Each direction waits, then grows fast, then is done. Here the strong ones are first. Does the
# strength decide the order? Try a smaller task of two inputs and two rows: one input sounds in each
# row, and the other is 0. The first has loudness 1, the second 1/4, so that C is diag(1, 1/4). The
# full update F is diag(1, 8), and F C is diag(1, 2): the quiet input has the stronger direction.
#
# **Predict.** Which direction is half done first: that of strength 1, at the loud input, or that of
# strength 2, at the quiet one?


# %% depends on the seed
def half_done(sizes, goal):
    there = np.flatnonzero(sizes >= goal / 2) + 1
    return float(there[0]) if len(there) else np.nan


loudness, full, steps, lr = np.array([1, 1 / 4]), np.array([1.0, 8.0]), 400, 0.1
two_rows = 2**0.5 * np.diag(loudness)  # so that their C is diag(loudness)
for seed in (1, 2, 3):
    A = 0.01 * np.random.default_rng(seed).standard_normal(two_rows.shape)
    _, _, small_path = descend(two_rows, two_rows @ np.diag(full), 0 * A, A, steps, lr)
    seen = np.array([np.diag(M) * loudness for M in small_path])
    at = [half_done(seen[:, k], strength) for k, strength in enumerate(full * loudness)]
    done = [f"strength {full[k] * loudness[k]:g} at step {at[k]:3.0f}" for k in range(len(at))]
    print(f"seed {seed}, half done: {', '.join(done)}")

# %% [markdown]
# The weaker direction is first, so the order is not that of the strengths. To see what decides, put
# B A = 0 into the gradient of the whole weight: $G = -\frac{2}{\text{out}} F C C^\top$. While B A
# is small, G stays near this value. In a step, B changes by $-\text{lr} \, G A^\top$ and A by
# $-\text{lr} \, B^\top G$:
#
# $$
# B \leftarrow B + \text{lr} \, \frac{2}{\text{out}} \, (F C C^\top) A^\top
# \qquad
# A \leftarrow A + \text{lr} \, \frac{2}{\text{out}} \, B^\top (F C C^\top)
# $$
#
# What A has of a direction makes B grow, and what B has of it makes A grow. So both grow by a
# factor in each step, the larger the stronger the direction is. Here the strength is a singular
# value of **F C C^T**, and not of F C: loud inputs count once more than in the loss. For the two
# inputs above F C C^T is diag(1, 1/2), and the first direction wins. On white rows F C and F C C^T
# agree, up to a constant factor; Saxe, McClelland and Ganguli (2013) derive the order for that
# case.
#
# **Predict.** Go back to the task of this notebook. If a direction grows by a factor that is fixed
# by its strength, the step at which it is half done, times its strength, is nearly the same for all
# four. For which strengths are these products flatter: those of F C, or those of F C C^T?

# %% depends on the seed
at = np.array([half_done(sizes[:, k], goals[k]) for k in range(len(goals))])
print("half done at step", *(f"{step:8.0f}" for step in at))
for name, matrix in (("F C", F @ C), ("F C C^T", F @ C @ C.T)):
    strengths = np.linalg.svd(matrix, compute_uv=False)[: len(goals)]
    products = at * strengths
    print(f"{name:>7}  strength", *(f"{strength:8.2f}" for strength in strengths))
    print(f"{'':>7}  product ", *(f"{product:8.0f}" for product in products), end="")
    print(f"   largest / smallest {products.max() / products.min():.2f}")

# %% [markdown]
# The products of F C C^T are flatter, and not quite flat: the formula is for updates near zero, and
# a half is not near zero. While the update is very small, the growth can be predicted. A and B both
# grow by 1 + lr (2/out) strength, so B A grows by the square of it:

# %% depends on the seed
r, steps, lr, size = 4, 30, 0.3, 1e-5
_, _, path = descend(x, y, W0, small_start(1, r, size), steps, lr)
first, last = (np.linalg.svd(path[at] @ C, compute_uv=False)[0] for at in (-6, -1))
print(f"the first direction grows in a step by the factor {(last / first) ** (1 / 5):.3f}")
for name, matrix in (("F C", F @ C), ("F C C^T", F @ C @ C.T)):
    strength = np.linalg.svd(matrix, compute_uv=False)[0]
    print(f"predicted by {name:>7}: {(1 + lr * 2 / out_features * strength) ** 2:.3f}")

# %% [markdown]
# The start was small on purpose, 0.01. Give `small_start` in the first cell of this section the
# size 0.25, which is 1 / sqrt(16), and the order is mostly there: with seed 3, for example, the
# fourth direction passes the third. (PEFT draws A uniformly between minus and plus this bound.)
#
# > **Remember.** From a small start, the directions with the largest singular values of F C C^T are
# > learned first, so a larger rank also needs more steps.
# >
# > 从很小的初值出发，F C C^T 的奇异值大的方向先学会，所以秩越大，需要的步数也越多。

# %% [markdown]
# ## Train at rank r, or cut to rank r
#
# Suppose that somebody has fine-tuned the whole weight, so you have F already. You can cut it to
# rank r by its own SVD, and no matrix of rank r is nearer to it.
#
# **Predict.** Is the loss of that cut equal to the least loss of rank r, larger, or smaller? And on
# rows that are white?
#
# `white_x` below is made so that `x.T @ x / n` is the identity: C can be the identity, and no input
# is louder than another. Compare losses above that of F. They need no y: they are the mean
# square of `x @ (M - F).T`. The control is an A that is drawn at random and stays as it is, with
# the B that is best for it; its loss is the mean over 20 draws.


# %%
white_x = len(x) ** 0.5 * np.linalg.qr(x)[0]


def cut(F, r):  # the best update for inputs that are all equally loud
    return best(F, np.eye(F.shape[1]), r)


def above_full(rows, F, M):
    return float(np.mean((rows @ (M - F).T) ** 2))


def random_A(rows, F, r, draws=20):
    found = []
    for seed in range(draws):
        A = small_start(seed, r)
        B = np.linalg.lstsq(rows @ A.T, rows @ F.T, rcond=None)[0].T
        found.append(above_full(rows, F, B @ A))
    return float(np.mean(found))


# %% depends on the seed
ranks, steps, lr = (1, 2, 3, 4, 5), 800, 0.6
curves = {}
for name, rows in (("rows as they are", x), ("white rows", white_x)):
    ways = {"best": {}, "trained": {}, "cut": {}, "random A": {}}
    for r in ranks:
        A, B = lowrank.best_update(rows, rows @ F.T, 0 * W0, r)
        ways["best"][r] = above_full(rows, F, B @ A)
        A, B, _ = descend(rows, rows @ F.T, 0 * W0, small_start(1, r), steps, lr)
        ways["trained"][r] = above_full(rows, F, B @ A)
        ways["cut"][r] = above_full(rows, F, cut(F, r))
        ways["random A"][r] = random_A(rows, F, r)
    curves[name] = ways
    ratios = [ways["cut"][r] / ways["best"][r] for r in ranks]
    print(f"{name:>16}: cut / best at r = {ranks}:", *(f"{ratio:.2f}" for ratio in ratios))
losses_by_rank(curves)

# %% [markdown]
# On the rows as they are, the cut costs more than the best at every rank; at r = 2 and 3 the
# markers in the picture nearly cover each other, and the printed ratios tell them apart. Training
# comes close to the best; at the largest ranks, weak directions are still being learned. On white
# rows the cut is the best. A random A shows what the choice of directions is worth.
#
# > **Remember.** The cut is nearest to F, and the trained update has the smaller loss, because the
# > loss weighs each error by the inputs.
# >
# > 截断离 F 最近，而训练得到的更新损失更小，因为损失按输入的大小衡量每个误差。

# %% [markdown]
# ## When is cutting as good?
#
# The price of a cut depends on the inputs.
#
# **Predict.** Draw 20 tasks each, in which the loudest input is 1, 2, 4 or 8 and the quietest its
# reciprocal. Compare with rows of loudness 1 that are made exactly white. Is the cut of rank 2 as
# good as the best where all inputs are drawn with the same loudness, 1?

# %% depends on the seed
r, seeds = 2, 20
print("loudest   cut / best, loss above F: smallest  median  largest, of 20 tasks")
for loudest, white in ((1, True), (1, False), (2, False), (4, False), (8, False)):
    ratios = []
    for seed in range(seeds):
        rows, goal, weight = draw_task(seed, loudest)
        full = full_update(rows, goal, weight)
        rows = np.linalg.qr(rows)[0] if white else rows
        A, B = lowrank.best_update(rows, rows @ full.T, 0 * weight, r)
        ratios.append(above_full(rows, full, cut(full, r)) / above_full(rows, full, B @ A))
    three = np.min(ratios), np.median(ratios), np.max(ratios)
    label = "white" if white else loudest
    print(f"{label:>7} {three[0]:>35.3f} {three[1]:>7.3f} {three[2]:>8.3f}")

# %% [markdown]
# Not quite: 64 rows that were drawn with equal loudness are not exactly white, and the cut costs a
# little. The more unequal the inputs, the more it costs, in most tasks. The inputs of a network are
# seldom equally loud: of the 64 pixels of the digits below, some are always 0. For this reason,
# methods that compress a weight look at inputs first. SVD-LLM (Wang et al., 2024) runs some text
# through the model, and whitens with the inputs that reach each layer.
#
# All results so far are about one linear layer, and about the loss on the rows of training. Now
# take a network of three layers that has learned to read digits, of 8 x 8 pixels, black 0 and
# white 1. It sees 100 images of another kind. There are five kinds, which notebook 09 shows:
#
# - `near`: less contrast on a grey ground, each pixel v becomes 0.3 v + 0.4
# - `middle`: the same after a turn by 30 degrees
# - `far`: a turn by 90 degrees
# - `inverted`: black and white exchanged
# - `relabelled`: the images stay, and every label moves on by one
#
# Either LoRA is trained at rank r. Or the whole weights are trained, and the change of each is cut
# to rank r. Biases stay frozen in both.
#
# **Predict.** Which is better on *other* images of the same kind, at r = 1, and at r = 16?

# %% to 1e-9
FIGURES["trained-and-cut"].picture()

# %% [markdown]
# These are stored runs of the [study](../docs/study.md#trained-at-a-rank-or-truncated-to-it) of
# this package, with five seeds for each point; the bars are one standard error of their mean. The
# grey line is a control: a random update with the rank and the singular values of the cut one.
#
# Which of these differences are more than chance? The next cell compares seed by seed. It prints a
# plus where trained exceeds cut by more than two standard errors of the mean over seeds, a minus
# where cut exceeds trained by as much, and a point where neither does. The study also has each
# comparison with biases that train in both, and the second block is that.


# %% depends on the seed
runs = {(run["shift"], run["method"], run["seed"]): run for run in study.committed()}
kinds, seeds = (list(dict.fromkeys(key[i] for key in runs)) for i in (0, 2))
cut_ranks = list(runs[kinds[0], "weights", seeds[0]]["truncated"])


def mark(kind, lora, whole, r):
    trained = [runs[kind, lora, seed]["target"] for seed in seeds]
    cut_to_r = [runs[kind, whole, seed]["truncated"][r] for seed in seeds]
    gains = np.subtract(trained, cut_to_r)
    bar = 2 * np.std(gains, ddof=1) / len(gains) ** 0.5
    return "+" if np.mean(gains) > bar else "-" if np.mean(gains) < -bar else "."


for biases, lora, whole in (("frozen", "lora-{}", "weights"), ("trained", "lora-{}-bias", "full")):
    print(f"biases {biases:<8}", *(f"{kind:>10}" for kind in kinds))
    for r in cut_ranks:
        marks = [mark(kind, lora.format(r), whole, r) for kind in kinds]
        print(f"        r = {r:>2} ", *(f"{one:>10}" for one in marks))
zeros = np.random.default_rng(0).standard_normal((100_000, len(seeds)))
by_chance = np.mean(abs(zeros.mean(1)) > 2 * zeros.std(1, ddof=1) / len(seeds) ** 0.5)
print(f"of 50 differences that are zero, {50 * by_chance:.0f} would get a mark by chance")

# %% [markdown]
# Two standard errors of five seeds are a weak bar, as the last line says. (It counts plus and
# minus, and takes the differences as normal and independent.) Trust the marks that both blocks
# have.
#
# - At r = 1 and 2, training at the rank is better on all five kinds, as on the linear layer.
# - At r = 8 the cut is better on `inverted`. With trained biases, training is better on `middle`
#   and `far`, and with frozen biases these two are undecided.
# - At r = 16 training at the rank is better on none of the five. The cut is better on `near` and
#   `inverted` in both blocks.
#
# So the theorem for one layer and the rows of training does not carry over to a network and to new
# images at every rank. The second question to think about, below, asks for a reason.
#
# ### The same in PEFT
#
# Not run here; PEFT 0.21.2 has `convert_to_lora`. It cuts any adapter that has a delta weight, by
# an SVD of each update, and knows nothing of the inputs. Given a LoRA, as here, it works and warns.
#
# ```python
# from peft import LoraConfig, convert_to_lora, get_peft_model
#
# targets = ["q_proj", "v_proj"]
# trained = get_peft_model(base, LoraConfig(r=8, lora_alpha=8, target_modules=targets))
# large = get_peft_model(copy_of_base, LoraConfig(r=64, lora_alpha=64, target_modules=targets))
# ...  # train both
# config, weights = convert_to_lora(large, rank=8)  # large, cut to rank 8
# ```
#
# > **Remember.** On white inputs the cut is as good as the best update; in the study on digits it
# > is far worse at rank 1 on four of five kinds, and at rank 16 worse on none.
# >
# > 输入白化时，截断与最优更新一样好；在数字研究中，秩为一时五类有四类差得多，秩为十六时都不差。

# %% [markdown]
# ## Exercises
#
# Replace the three dots, run the cell, and read what it says. Each has three hints. With
# `from lora_ref.exercises import hint`, the first is `print(hint("step", 1))`.
#
# ### `step`: one step of gradient descent

# %% exact
print(show("step"))


# %%
def step(grad_y, x, A, B, alpha, lr): ...


check("step", step)

# %% [markdown]
# ### `whitening`: how loud the inputs are

# %% exact
print(show("whitening"))


# %%
def whitening(x): ...


check("whitening", whitening)

# %% [markdown]
# ### `best-update`: the best update of rank r

# %% exact
print(show("best-update"))


# %%
def best_update(x, y, W0, r): ...


check("best-update", best_update)

# %% [markdown]
# ### `trained-against-cut`: what a rank costs

# %% exact
print(show("trained-against-cut"))


# %%
def trained_against_cut(x, F, r): ...


check("trained-against-cut", trained_against_cut)

# %% [markdown]
# ### To think about
#
# 1. Draw 4,000 fresh rows from the same task and measure the loss of `best(F, C, r)` on them, for
#    r from 1 to 12. Where is it least, and does that change with the seed? Why can it rise with r?
# 2. On the digits, LoRA of rank 16 could hold an update that is nearly the cut one. What could keep
#    training from finding it? What would you change to test your guess?
# 3. Somebody has trained at rank 8, and you want rank 4. Is it better to cut B A, or to cut B A C?
#    What do you need to know for the second?

# %% [markdown]
# ## In practice
#
# - Choose r by a validation set. On the rows that you train on, a larger rank can only do better.
# - If you need a small rank, train at it. If you have a large update already, cutting it to half of
#   its rank may cost little: measure it.
# - To cut an update or a weight, whiten first. For C you need rows of the layer's inputs, more than
#   it has inputs.
# - In PEFT, `init_lora_weights="eva"` starts A from an SVD of the layer's inputs, and so with their
#   loudest directions.
# - A loss that stands still may be waiting for a direction that grows slowly: a weak one, or one at
#   quiet inputs. Train on for a while before you raise r.
# - To compare two adapters, compare B A.

# %% [markdown]
# ## Further reading
#
# - The derivation of [the best update](../docs/derivations.md#the-best-update-of-a-linear-task).
# - A. J. Izenman, "Reduced-rank regression for the multivariate linear model", Journal of
#   Multivariate Analysis 5, 1975.
# - P. Baldi, K. Hornik, "Neural networks and principal component analysis: learning from examples
#   without local minima", Neural Networks 2, 1989.
# - A. Saxe, J. McClelland, S. Ganguli, "Exact solutions to the nonlinear dynamics of learning in
#   deep linear neural networks", 2013, arXiv 1312.6120.
# - U. Jang, J. D. Lee, E. K. Ryu, "LoRA Training in the NTK Regime has No Spurious Local Minima",
#   2024, arXiv 2402.11867. (A *spurious* minimum is one that is worse than the best.)
# - X. Wang et al., "SVD-LLM", 2024, arXiv 2403.07378.
# - Next: [08 · Look inside a transformer](08-look-inside-a-transformer.ipynb).

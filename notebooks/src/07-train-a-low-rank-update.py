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
# [04](04-derive-and-check-the-gradients.ipynb) (the gradients), a hundred and five minutes, and
# fifty more for the exercises. Take a break before "In which order?", the hardest section.

# %%
import numpy as np

from lora_ref import lowrank, study
from lora_ref.exercises import check, show
from lora_ref.figures import FIGURES, learning_order, losses_by_rank
from lora_ref.training import DivergedError

# %% [markdown]
# ## A task for one layer
#
# A layer has a frozen weight W0 with 16 inputs and 12 outputs. For 64 rows x you know which outputs
# y you would like to have. Another weight has made them, and a little noise came on top. That
# weight is W0 plus a shift of rank 6, and each term of the shift is half as strong as the one
# before. The inputs differ in size: the first has a standard deviation of 3, the last of 1/3. Call
# an input *loud* if its standard deviation is large, and *quiet* if it is small.

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
    return x, y, W0, shift


x, y, W0, shift = draw_task(seed=0, loudest=3)

# %% [markdown]
# An update M has the loss below, the mean squared error over all rows and outputs. Without a limit
# on the rank, least squares finds the update with the least loss. Call it F, for full; it is 12 x
# 16, like W0. F plays the part of full fine-tuning here: it is the change that training the whole
# weight from W0 would end at, after enough steps. (64 rows in 16 directions leave no choice.)


# %% to 1e-9
def loss(M):
    return float(np.mean((x @ (W0 + M).T - y) ** 2))


def full_update(x, y, W0):  # least squares: the M with x @ M.T nearest to what W0 leaves over
    return np.linalg.lstsq(x, y - x @ W0.T, rcond=None)[0].T


F = full_update(x, y, W0)
print(f"without an update {loss(np.zeros_like(W0)):.4f}, with the full one {loss(F):.4f}")
print(f"with the shift that made y {loss(shift):.4f}")
print(f"F has {F.size} numbers and rank {np.linalg.matrix_rank(F)}")

# %% [markdown]
# So F removes nearly all of the loss. It even has a smaller loss than the shift that made y,
# because F also fits a part of the noise.
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
# **Predict.** Start from F and make it wrong by 0.1 in one entry: once in the column that meets the
# loudest input, of standard deviation 3, and once in the column that meets the quietest, of
# standard deviation 1/3. How many times as much loss does the first error cost?

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
# For the reason, write $x (W_0 + M)^\top - y$ as $(x (W_0 + F)^\top - y) + x (M - F)^\top$. The
# first part is the residual of a least-squares fit. It is orthogonal to every column of x, and so
# to the second part. So the squares add (Pythagoras).
#
# The norm can be written without the rows. Take a square matrix C with $C C^\top = x^\top x / n$,
# which is the inputs' covariance without their mean subtracted. Then
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
# Take one row of x as a column v, and replace it by $z = C^{-1} v$. Over all rows, z has the
# identity as its covariance, for that is $C^{-1} (x^\top x / n) \, C^{-\top}$: it is *white*. And
# since $M v = (M C) z$, the update that acts on z is M C. Going from M to M C is called
# *whitening*. If the rows are white already, C can be the identity.
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
# With P_r, the first r left singular vectors of F C, the truncated SVD is P_r P_r^T F C, and so
# **M = P_r P_r^T F**: F projected onto r directions of the outputs. The inputs only choose these.
#
# </details>
#
# **Predict.** Each term of the shift is half as strong as the one before. How much of the fall from
# the first loss to that of F do ranks 1, 2 and 4 bring?


# %% to 1e-9
def best(F, C, r):
    P, tau, Qh = np.linalg.svd(F @ C, full_matrices=False)
    nearest = P[:, :r] * tau[:r] @ Qh[:r]
    return nearest @ np.linalg.pinv(C)  # the inverse; pinv exists even if an input is always 0


start, end = loss(np.zeros_like(W0)), loss(F)
P = np.linalg.svd(F @ C)[0]
print(" r   least loss   of the fall   by halves alone")
for r in (1, 2, 4, 6):
    M, projected = best(F, C, r), P[:, :r] @ P[:, :r].T @ F
    A, B = lowrank.best_update(x, y, W0, r)
    same = np.allclose(M, projected) and np.allclose(M, B @ A)
    share, halves = (start - loss(M)) / (start - end), (1 - 4.0**-r) / (1 - 4.0**-6)
    print(f"{r:>2} {loss(M):12.4f} {share:13.1%} {halves:17.1%}   three ways agree: {same}")

# %% [markdown]
# Rank 1 brings 60.0 % of the fall, rank 2 93.3 %, and rank 4 99.8 %. The halves alone would make
# 75.0 % at rank 1, but the inputs weigh the terms too. Whether training finds these updates is the
# next question. The package's [`best_update`](../lora_ref/lowrank.py) does the same without F and
# C.
#
# The singular values tau of F C tell what a rank costs. The singular values after the first r are
# lost: the loss is that of F, plus the sum of their squares, divided by the number of outputs.

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
# whole weight, has the factor 2 / (n out).


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
# **Predict.** The loss is not convex in A and B together. So there could be places where no small
# step leads down, though the loss is not the least: local minima. Train at r = 1, 2 and 3, each
# from two random starts. Which of these will agree between the two starts: the loss, the update
# B A, the factor A?

# %% depends on the seed
steps, lr = 500, 0.6
print(" r  loss / least  update from best  from the other start: update        A")
for r in (1, 2, 3):
    one_A, one_B, _ = descend(x, y, W0, small_start(1, r), steps, lr)
    other_A, other_B, _ = descend(x, y, W0, small_start(3, r), steps, lr)
    M, best_M = one_B @ one_A, best(F, C, r)
    apart = [np.linalg.norm(M - N) / np.linalg.norm(M) for N in (best_M, other_B @ other_A)]
    A_apart = np.linalg.norm(one_A - other_A) / np.linalg.norm(one_A)
    ratio, (away, between) = loss(M) / loss(best_M), apart
    print(f"{r:>2} {ratio:>13.6f} {away:>17.2%} {between:>29.2%} {A_apart:>8.0%}")
A, B, _ = descend(x, y, W0, small_start(1, r), 4 * steps, lr)
away = np.linalg.norm(B @ A - best_M) / np.linalg.norm(M)
print(f"r = {r}, after {4 * steps:,} steps: {away:.0e}")

# %% [markdown]
# All come to the best update, or very near it. At r = 3 the update still differs from it by 0.2 %
# after 500 steps, and after 2,000 by less than a millionth. There is a theorem behind this result.
# For a linear layer and squared errors, no local minimum is worse than the best one; at the other
# places where both gradients are zero, some way still leads down (Baldi and Hornik, 1989, for
# inputs in all directions and singular values that differ). A network with activations has no such
# guarantee.
#
# The factors need not agree: with any invertible Q, the pair `Q @ A` and `B @ inv(Q)` is the same
# update. (At r = 1, Q is a number, here near -1, and so the second A is 200 % away.) So compare two
# adapters by B A, and never by their entries.
#
# > **Remember.** On a linear task, training at rank r came to the best update of rank r or close to
# > it, from every random start tried here; weak directions need more steps.
# >
# > 在线性任务上，从试过的每个起点出发，秩为 r 的训练都到达或接近该秩的最优更新；弱方向需要更多步。

# %% [markdown]
# ## In which order?
#
# At r = 4 the best update has four directions. Call the singular value of F C of a direction, its
# tau above, its *strength*: to learn the direction lowers the loss by the square of its strength,
# divided by the number of outputs. All four grow from zero, since B starts at zero. With the
# singular vectors of F C as the columns of P and the rows of Qh, entry k of the diagonal of
# `P.T @ M @ C @ Qh.T` is how much of direction k the update M has. It is done when that reaches
# its strength.
#
# **Predict.** Do the four grow together, each in proportion to its strength? Or first the weak
# ones, which have less far to go? Or first the strong ones?

# %% depends on the seed
P, strengths, Qh = np.linalg.svd(F @ C, full_matrices=False)


def parts(path, r):
    return np.array([np.diag(P.T @ M @ C @ Qh.T)[:r] for M in path])


r, steps, lr = 4, 300, 0.3
_, _, path = descend(x, y, W0, small_start(1, r), steps, lr)
learning_order(parts(path, r), strengths[:r])

# %% [markdown]
# Each direction waits, then grows fast, then is done, and here the strong ones are first. Now take
# a smaller task of two inputs and two rows, sqrt(2) (1, 0) and sqrt(2) (0, 1/4). The sqrt(2) makes
# C = diag(1, 1/4): the first input is loud, the second quiet. The full update F is diag(1, 8), and
# F C is diag(1, 2).
#
# **Predict.** Which direction is half done first: that of strength 1, at the loud input, or that of
# strength 2, at the quiet one?


# %% depends on the seed
def half_done(sizes, goal):
    there = np.flatnonzero(sizes >= goal / 2) + 1
    return float(there[0]) if len(there) else np.nan


loudness, wanted, steps, lr = np.array([1, 1 / 4]), np.array([1.0, 8.0]), 400, 0.1
two_rows = 2**0.5 * np.diag(loudness)  # so that their C is diag(loudness)
for seed in (1, 2, 3):
    A = 0.01 * np.random.default_rng(seed).standard_normal(two_rows.shape)
    _, _, small_path = descend(two_rows, two_rows @ np.diag(wanted), 0 * A, A, steps, lr)
    seen = np.array([np.diag(M) * loudness for M in small_path])
    at = [half_done(seen[:, k], strength) for k, strength in enumerate(wanted * loudness)]
    done = [f"strength {wanted[k] * loudness[k]:g} at step {at[k]:3.0f}" for k in range(len(at))]
    print(f"seed {seed}, half done: {', '.join(done)}")

# %% [markdown]
# The weaker direction is first, so the order is not that of the strengths. To see what decides,
# take G at B A = 0. There $x W_0^\top - y = (x (W_0 + F)^\top - y) - x F^\top$ is left over. The
# bracket, the residual of F, is orthogonal to the columns of x and drops out of G, and
# $x^\top x / n$ is $C C^\top$:
#
# $$
# G = -\frac{2}{\text{out}} F C C^\top
# $$
#
# While B A is small, G stays near this value. In a step, B changes by $-\text{lr} \, G A^\top$ and
# A by $-\text{lr} \, B^\top G$:
#
# $$
# B \leftarrow B + \text{lr} \, \frac{2}{\text{out}} \, (F C C^\top) A^\top
# \qquad
# A \leftarrow A + \text{lr} \, \frac{2}{\text{out}} \, B^\top (F C C^\top)
# $$
#
# Take a singular value σ of **F C C^T** with its unit vectors: $F C C^\top v = \sigma u$ and
# $(F C C^\top)^\top u = \sigma v$. Write a = A v and b = B^T u, two vectors with r entries: what A
# and B hold of this direction. With k = lr (2/out) σ,
#
# - the first line, transposed and times u, says that b becomes b + k a;
# - the second, times v, says that a becomes a + k b.
#
# So a + b becomes 1 + k times as large, and a - b becomes 1 - k times, which shrinks for k below 2.
# Soon a and b are nearly equal, and both grow by the factor 1 + k in each step.
#
# Call σ the *pull*. It says how fast a direction is found; the strength, a singular value of F C,
# says how much it is worth. The two matrices have different singular vectors in general. In the
# small task they have the same ones, so a direction has a strength and a pull: the strengths are 1
# and 2 and the pulls 1 and 1/2, and the first direction wins. A quiet input takes from the pull. On
# white rows strength and pull agree, up to a constant factor; Saxe, McClelland and Ganguli (2013)
# derive the order for that case.
#
# **Predict.** Back to the task of this notebook, from a very small start. A and B both grow by the
# factor 1 + k, so B A grows by its square. Compute it with lr = 0.3, out = 12 and the largest pull,
# 6.51. Until when will the measured growth be that?

# %% depends on the seed
r, steps, lr, size = 4, 60, 0.3, 1e-5
_, _, path = descend(x, y, W0, small_start(1, r, size), steps, lr)
first = np.array([np.linalg.svd(M @ C, compute_uv=False)[0] for M in path])
print("step   growth of B A in a step   share of the first strength")
for step in range(10, steps + 1, 10):
    now, before = first[step - 1], first[step - 2]
    print(f"{step:>4} {now / before:>25.3f} {now / strengths[0]:>29.2%}")
for name, matrix in (("pull", F @ C @ C.T), ("strength", F @ C)):
    value = np.linalg.svd(matrix, compute_uv=False)[0]
    print(f"by its {name:>8}: {(1 + lr * 2 / out_features * value) ** 2:.3f}")
left = np.linalg.svd(F @ C @ C.T, full_matrices=False)[0]
overlaps = np.abs(np.sum(P * left, axis=0))[:r]
print("left directions of the two matrices overlap by", *(f"{each:.3f}" for each in overlaps))

# %% [markdown]
# Until the direction is nearly there: 1.757 while the update has less than a hundredth of its first
# strength, 1.676 at 14 %, and 1.010 at 96 %. So the pull decides while the update is small. The
# overlaps are near 1: here each pull has its strength. On other tasks they need not be.
#
# The picture began with an A of size 0.01. PEFT draws A
# uniformly between minus and plus 1 / sqrt(in_features), for 16 inputs 1/4.
#
# **Predict.** Of 100 starts from PEFT's draw, how many keep the order of the picture, first to
# fourth? Which two directions change places most easily?

# %% depends on the seed
r, steps, lr, starts = 4, 300, 0.3, 100
for bound in (0.01, 0.25, 0.5):
    draws = [np.random.default_rng(seed) for seed in range(starts)]
    A = np.array([each.uniform(-bound, bound, (r, in_features)) for each in draws])
    B, half = np.zeros((starts, out_features, r)), np.full((starts, r), np.inf)
    for step in range(1, steps + 1):  # as in `descend`, with all starts at once
        G = 2 / out_features * (B @ A - F) @ C @ C.T
        A, B = A - lr * B.swapaxes(1, 2) @ G, B - lr * G @ A.swapaxes(1, 2)
        now = np.einsum("nkk->nk", P.T @ B @ A @ C @ Qh.T)[:, :r]  # the diagonals
        half = np.minimum(half, np.where(now >= strengths[:r] / 2, step, np.inf))
    swapped = half[:, 1:] < half[:, :-1]
    pairs = [f"{k + 2} before {k + 1}: {n}" for k, n in enumerate(swapped.sum(axis=0))]
    kept = starts - swapped.any(axis=1).sum()
    print(f"A within {bound:<4}: order kept in {kept} of {starts} starts;", ", ".join(pairs))

# %% [markdown]
# From 0.01 all 100 starts keep the order, from PEFT's draw 83, and from twice that 68. Most often
# the fourth comes before the third. The larger the start, the shorter the waits, and the more it
# matters what the start happens to hold of each direction. (One that is not half done in these
# steps counts as last.)
#
# > **Remember.** From a small start, the singular values of F C C^T say which directions are found
# > first, and those of F C say what they are worth; from a start like PEFT's, weak directions may
# > change places.
# >
# > 初值很小时，F C C^T 的奇异值决定先学哪些方向，F C 的决定其价值；PEFT 的初值下弱方向可能换序。

# %% [markdown]
# ## Train at rank r, or cut to rank r
#
# Suppose that somebody has fine-tuned the whole weight, so you have F already. You can cut it to
# rank r by its own SVD, and no matrix of rank r is nearer to it.
#
# Compare losses above that of F. By the formula above they depend on (M - F) C alone, so the noise
# in y enters only through F. So you may train a layer whose W0 is zero and whose targets are F x:
# its loss is exactly the loss above that of F. `white_x` are rows for which `x.T @ x / n` is the
# identity.
#
# **Predict.** The cut is F, projected onto the first r left singular vectors of F in place of those
# of F C. Will it be as good as the best update on these rows, and on white ones? When will it be
# nearly free, though the rows are not white?


# %%
white_x = len(x) ** 0.5 * np.linalg.qr(x)[0]


def cut(F, r):  # the best update for inputs that are all equally loud
    return best(F, np.eye(F.shape[1]), r)


def above_full(rows, F, M):
    return float(np.mean((rows @ (M - F).T) ** 2))


def plane_cosine(rows, F, r):
    """Return the least cosine between what cut and best project onto, r directions each."""
    of_cut, of_best = (np.linalg.svd(M)[0][:, :r] for M in (F, F @ rows.T))
    return np.linalg.svd(of_cut.T @ of_best, compute_uv=False)[-1]


# %% depends on the seed
ranks, steps, lr = (1, 2, 3, 4, 5), 800, 0.6
curves = {}
for name, rows in (("rows as they are", x), ("white rows", white_x)):
    ways = {"best": {}, "cut": {}, "trained": {}}
    for r in ranks:
        A, B = lowrank.best_update(rows, rows @ F.T, 0 * W0, r)
        ways["best"][r] = above_full(rows, F, B @ A)
        A, B, _ = descend(rows, rows @ F.T, 0 * W0, small_start(1, r), steps, lr)
        ways["trained"][r] = above_full(rows, F, B @ A)
        ways["cut"][r] = above_full(rows, F, cut(F, r))
    print(f"{name}, as multiples of the best at r =", *ranks)
    for way in ("cut", "trained"):
        ratios = [ways[way][r] / ways["best"][r] for r in ranks]
        print(f"{way:>16}", *(f"{ratio:8.2f}" for ratio in ratios))
    curves[name] = ways
print("least cosine of the directions of cut and best, rows as they are:")
print(f"{'':>16}", *(f"{plane_cosine(x, F, r):8.3f}" for r in ranks))
losses_by_rank(curves)

# %% [markdown]
# On the rows as they are, the cut loses more than the best at every rank: 1.51 times as much at
# r = 1, 2.24 times at r = 5, and only 1.06 times at r = 2. There the two *planes* nearly agree,
# with 0.997 as their least cosine, while at r = 1 the two directions have 0.493. (They nearly agree
# at r = 3 to 5 too, but there the best loses so little that a small turn is a large multiple.) On
# white rows the cut is the best, and the three lines are one. Training is within 3 % of the best at
# every rank; at r = 5 its weakest direction is still being found.
#
# > **Remember.** The cut is nearest to F. But the loss weighs each error by the inputs, so another
# > update of the same rank can have less of it.
# >
# > 截断离 F 最近，但损失按输入的大小衡量每个误差，所以同秩的另一个更新可能损失更小。

# %% [markdown]
# ## When is cutting as good?
#
# The price of a cut depends on the inputs.
#
# **Predict.** Draw 20 tasks each, in which the loudest input is 1, 2, 4 or 8 and the quietest its
# reciprocal. Compare with rows of loudness 1 that are made exactly white. Are 64 rows that are
# drawn with equal loudness white enough for the cut of rank 2 to be the best?

# %% depends on the seed
r, seeds = 2, 20
print("loudest   cut / best, loss above F: smallest  median  largest   above the row before")
before = [np.inf] * seeds
for loudest, white in ((1, True), (1, False), (2, False), (4, False), (8, False)):
    ratios = []
    for seed in range(seeds):
        rows, goal, weight, _ = draw_task(seed, loudest)
        full = full_update(rows, goal, weight)
        rows = np.linalg.qr(rows)[0] if white else rows
        A, B = lowrank.best_update(rows, rows @ full.T, 0 * weight, r)
        ratios.append(above_full(rows, full, cut(full, r)) / above_full(rows, full, B @ A))
    three = np.min(ratios), np.median(ratios), np.max(ratios)
    label, more = "white" if white else loudest, np.sum(np.array(ratios) > before)
    print(f"{label:>7} {three[0]:>35.3f} {three[1]:>7.3f} {three[2]:>8.3f} {more:>10} of {seeds}")
    before = ratios

# %% [markdown]
# Not quite: the cut costs a little. The more unequal the inputs, the more it costs, at each step in
# 17 or more of the 20 tasks. Some methods that compress a weight
# therefore whiten it with its inputs from some text (SVD-LLM, Wang et al., 2024); PEFT's, below,
# does not.
#
# > **Remember.** On white inputs the cut is as good as the best update, and the more unequal the
# > inputs are, the more it costs, in most tasks.
# >
# > 输入白化时，截断与最优更新一样好；输入大小越悬殊，截断的代价在多数任务中越大。

# %% [markdown]
# ## A network on digits
#
# All results so far are about one linear layer, and about the loss on the training rows. Now take
# a network with widths 64, 256, 256 and 10 that has learned to read digits, of 8 x 8 pixels,
# black 0 and white 1. It sees 100 images of another kind: `near` (less contrast on a grey ground),
# `far` (a turn by 90 degrees) or `relabelled` (the images stay, and every label moves on by one).
# There are three ways, all with frozen biases:
#
# 1. LoRA is trained at rank r on all three layers.
# 2. The whole weights are trained, and the change of each is cut to rank r.
# 3. The same, but each change is whitened before the cut, with the inputs that its layer of the
#    trained network gets from the 100 images. (100 images leave some of 256 directions unused;
#    along them the cut update is zero.)
#
# The numbers are stored runs of the [study](../docs/study.md#trained-at-a-rank-or-truncated-to-it):
# 500 steps of AdamW, alpha = 2 r, means of five seeds with their standard errors as bars. *Target*
# means other images of the same kind. In the table each kind has three columns, one for each way.
#
# **Predict.** Which of the three is best on *other* images of the same kind, at r = 1, and at
# r = 16? Does whitening still help?

# %% depends on the seed
runs, kinds = study.committed(), ("near", "far", "relabelled")


def mean(kind, method, *part):  # in per cent, over the seeds
    found = [run for run in runs if (run["shift"], run["method"]) == (kind, method)]
    for key in part:
        found = [run.get(key, np.nan) for run in found]
    return 100 * np.mean(found) if found else np.nan


print("target (%):", *(f"{kind:^26}" for kind in kinds))
print("           ", "   trained whitened    cut" * len(kinds))
for name, method in (("no update", "untouched"), ("uncut", "weights")):
    print(f"{name:<11}", *(f"{mean(kind, method, 'target'):10.1f}{'':16}" for kind in kinds))
for r in (1, 4, 16):
    print(f"r = {r:>2}:    ", end="")
    for kind in kinds:
        trained = mean(kind, f"lora-{r}", "target")
        cuts = (mean(kind, "weights", part, str(r)) for part in ("whitened", "truncated"))
        print(f"{trained:10.1f}", *(f"{each:7.1f}" for each in cuts), end="")
    print()
FIGURES["trained-and-cut"].picture(records=[run for run in runs if run["shift"] in kinds])

# %% [markdown]
# - At r = 1 training is far ahead on `far` and `relabelled`. On `near` the whitened cut comes
#   within a point of it.
# - At r = 4 whitening before the cut raises the mean on all three. At r = 1 it lowers it on
#   `relabelled`. The theorem is about one layer, squared errors and the rows that C was made from.
#   None of the three is given here, and which of them matters we have not tested.
# - At r = 16 the two cuts are equal within a quarter of a point, and training at the rank is ahead
#   of them on none of the three. (The last layer has 10 outputs, so there a cut to 16 cuts
#   nothing.)
#
# The grey line is a random update with the rank and the singular values of the cut one. On
# `relabelled` the old answers are all wrong, so a cut that keeps too little of the change can fall
# below the 10 % of guessing.
#
# Is the comparison fair? Nearly. LoRA has a learning rate that was chosen at each rank, the whole
# weights have one, chosen *before* any cut. That is an advantage for LoRA: the first point above is
# worth less for it, and the third more.
#
# ### The same in PEFT
#
# Not run here; PEFT 0.21.2 has `convert_to_lora`. It cuts the update of an adapter by an SVD, layer
# by layer, and knows nothing of the inputs. Given a LoRA, as here, it works and warns.
#
# ```python
# from peft import LoraConfig, convert_to_lora, get_peft_model
# from transformers import AutoModelForCausalLM as Model
#
# base, copy_of_base = (Model.from_pretrained("Qwen/Qwen2.5-0.5B") for _ in range(2))
# targets = ["q_proj", "v_proj"]
# trained = get_peft_model(base, LoraConfig(r=8, lora_alpha=8, target_modules=targets))
# large = get_peft_model(copy_of_base, LoraConfig(r=64, lora_alpha=64, target_modules=targets))
# ...  # train both
# config, weights = convert_to_lora(large, rank=8)  # large, cut to rank 8
# ```
#
# > **Remember.** On digits, at rank 1 both cuts are far worse than training on two of three kinds;
# > at rank 16 they are worse on none.
# >
# > 在手写数字任务上，两种截断与同秩训练相比，秩为一时三类中有两类差得多，秩为十六时哪一类都不差。

# %% [markdown]
# ## Exercises
#
# Replace the three dots, run the cell, and read what it says. Each has three hints. With
# `from lora_ref.exercises import hint`, the first is `print(hint("step", 1))`. The first three are
# practice: their lines stand above, so write them without looking. The fourth is new.
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
# ### `other-rows`: trained, and cut with the rows of another text
#
# To whiten, you run some text through the model. What if it is not the text that you need?

# %% exact
print(show("other-rows"))


# %%
def other_rows(x, others, F, r): ...


check("other-rows", other_rows)

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
# - Choose r by a validation set. On the rows that you train on, the best update of a larger rank is
#   never worse.
# - If you need a small rank, train at it. If you have a large update already, cutting it may cost
#   little or nearly everything, as on the digits at ranks 16 and 1: measure it.
# - To cut an update or a weight, try whitening first: on the digits it helped at rank 4 on all
#   three kinds, and at rank 1 not on `relabelled`. For C you need rows of the layer's inputs,
#   better more than it has inputs: with fewer, the directions that no row uses are cut away.
# - In PEFT, `init_lora_weights="eva"` starts A from an SVD of the layer's inputs, and so with their
#   loudest directions.
# - A loss that stands still may be waiting for a direction with little pull. Train on for a while
#   before you raise r.

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
#   2024, arXiv 2402.11867.
# - X. Wang et al., "SVD-LLM", 2024, arXiv 2403.07378.
# - Next: [08 · Look inside a transformer](08-look-inside-a-transformer.ipynb).

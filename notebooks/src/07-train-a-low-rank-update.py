# %% [markdown]
# # 07 · Train a low-rank update
#
# LoRA trains an update of low rank. Is what it finds the best update of that rank? And would it be
# as good to fine-tune the whole weight and to compress the change afterwards? For a single linear
# layer both questions have exact answers.
#
# **You will** write down the best update of rank r in closed form, train A and B in ten lines and
# see where they end, and compare with a full update that is cut to the same rank.
#
# **You will learn** how the loss measures the distance of two updates, that training finds the best
# one, in which order it learns, and when cutting is as good as training.
#
# **You need** notebooks [02](02-find-the-rank.ipynb) (the truncated SVD) and
# [04](04-derive-and-check-the-gradients.ipynb) (the gradients), and thirty minutes.

# %%
import numpy as np

from lora_ref import lowrank, study
from lora_ref.exercises import check, show
from lora_ref.figures import FIGURES, learning_order, losses_by_rank
from lora_ref.layers import LoRALinear
from lora_ref.lowrank import truncate
from lora_ref.ops import mean_squared_error, mean_squared_error_backward
from lora_ref.study.findings import PAIRS, Runs
from lora_ref.training import SGD, DivergedError, Loss, Network, train

# %% [markdown]
# ## A task for one layer
#
# A layer has a frozen weight W0 with 16 inputs and 12 outputs. For 64 rows x we know which outputs
# y we would like to have. Somebody else's weight has made them: W0 plus a shift of rank 6, each of
# whose terms is half as strong as the one before, and a little noise. The inputs are not equally
# loud: the first has a standard deviation of 3, the last of 1/3.

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
# on the rank, least squares finds the update with the least loss. Call it F, for full.


# %% to 1e-9
def loss(M):
    return float(np.mean((x @ (W0 + M).T - y) ** 2))


def full_update(x, y, W0):
    return np.linalg.lstsq(x, y - x @ W0.T, rcond=None)[0].T


F = full_update(x, y, W0)
print(f"without an update {loss(np.zeros_like(W0)):.4f}, with the full one {loss(F):.4f}")
print(f"F has {F.size} numbers and rank {np.linalg.matrix_rank(F)}")

# %% [markdown]
# So F removes nearly all of the loss. What remains is the noise, as far as it cannot be fitted. The
# question of this notebook is how much of that an update of rank 1, 2 or 4 can do.
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
# because what F leaves over is orthogonal to every column of x, as in any least-squares fit, so the
# mixed terms vanish when you multiply out. The norm can be written without the rows. Take a square
# matrix C with
# $C C^\top = x^\top x / n$, which says how loud the inputs are in every direction. Then
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
# M C is then M, but for a factor. To multiply by C is to *whiten*.
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
# M C has to be near to F C. The nearest matrix of rank r is the truncated SVD of F C. It is M C, so
# multiply it by the inverse of C to get M, which does not change the rank. This is the theorem of
# Eckart and Young, in the norm that the loss uses. Statisticians call it reduced-rank regression
# (Izenman, 1975).
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
# What a rank costs can be read from the singular values tau of F C. What is cut off is lost: the
# loss is that of F, plus the squares of all tau behind the first r, divided by the number of
# outputs.

# %% to 1e-9
tau = np.linalg.svd(F @ C, compute_uv=False)
for r in (1, 2, 4):
    lost = np.sum(tau[r:] ** 2) / len(F)
    print(f"r = {r}: {loss(F):.4f} + {lost:.4f} = {loss(F) + lost:.4f}, {loss(best(F, C, r)):.4f}")

# %% [markdown]
# > **Remember.** Whiten the full update, cut it, and undo the whitening: no update of rank r has a
# > smaller loss.
# >
# > 先白化，再截断，最后还原：秩为 r 的更新中，没有损失更小的。

# %% [markdown]
# ## Training finds it
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
# All of them end at the best update. That is no luck of this draw. For a linear layer and squared
# errors no local minimum is worse than the best one; the other places at which both gradients are
# zero are saddles (Baldi and Hornik, 1989, for inputs in all directions and singular values that
# differ). A network with activations has no such guarantee.
#
# The factors need not agree: with any invertible Q, the pair `Q @ A` and `B @ inv(Q)` is the same
# update. (At r = 1, from so small a start, hardly more than the sign is left to choose.) So compare
# two adapters by B A, and never by their entries.
#
# The loop is that of the package. [`train`](../lora_ref/training/loop.py) does the same with any
# layer, loss and optimiser:

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
# > **Remember.** On a linear task, training at rank r ends at the best update of rank r, from every
# > random start that we tried.
# >
# > 在线性任务上，从我们试过的每个随机起点出发，秩为 r 的训练都到达该秩的最优更新。

# %% [markdown]
# ## One direction after another
#
# At r = 4 the best update has four directions, of different strengths. Seen through C, these are
# the first four singular values of F C. All start at zero, since B does.
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
# Each direction waits, then grows fast, then is done. The gradient of B in a direction is
# proportional to what A has of it, and the gradient of A to what B has of it. So near zero both
# grow by a factor in each step, and the factor is larger for a strong direction. Saxe, McClelland
# and Ganguli (2013) derive this for deep linear networks. Multiply the step at which a direction is
# half there by its strength:

# %% depends on the seed
for k in range(len(goals)):
    there = np.flatnonzero(sizes[:, k] >= goals[k] / 2) + 1
    half = f"half at step {there[0]:>3}, product {there[0] * goals[k]:3.0f}" if len(there) else "-"
    print(f"strength {goals[k]:5.2f}: {half}")

# %% [markdown]
# The strengths differ by a factor of nearly ten, the products much less: a direction of half the
# strength takes about twice as long. The start was small on purpose, 0.01. Give `small_start` the
# size 0.25, which is the usual one for 16 inputs, and the order is still there, but less clear.
#
# > **Remember.** From a small start, strong directions are learned first, so a larger rank also
# > needs more steps.
# >
# > 从很小的初值出发，强的方向先学会，所以秩越大，需要的步数也越多。

# %% [markdown]
# ## Train at rank r, or cut to rank r
#
# Suppose that you have F already. You can cut it to rank r by its own SVD, and no matrix of rank r
# is nearer to it.
#
# **Predict.** Is the loss of that cut equal to the least loss of rank r, larger, or smaller? And on
# rows that are white?
#
# For the answer, make the rows white: `white_x` below has the same C in every direction, the
# identity. An update misses `x @ (M - F).T`, whether there is noise or not, so its loss above that
# of F needs no y. Beside trained and cut stands a control: A is drawn at random and stays as it is,
# and B is the best for it, the mean over 20 draws.


# %%
white_x = len(x) ** 0.5 * np.linalg.qr(x)[0]


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
        ways["cut"][r] = above_full(rows, F, truncate(F, r))
        ways["random A"][r] = random_A(rows, F, r)
    curves[name] = ways
losses_by_rank(curves)

# %% [markdown]
# On the rows as they are, the cut costs more than the best at every rank, and training comes close
# to the best; at the largest ranks, weak directions are still being learned. On white rows the cut
# is the best. A random A shows what the choice of directions is worth.
#
# > **Remember.** The cut is nearest to F, and the trained update has the smaller loss, for the loss
# > knows the inputs.
# >
# > 截断离 F 最近，而训练得到的更新损失更小，因为损失知道输入的分布。

# %% [markdown]
# ## Where cutting is as good
#
# So it depends on the inputs how much a cut costs.
#
# **Predict.** Draw 20 tasks each, in which the loudest input is 1, 2, 4 or 8 and the quietest its
# reciprocal. Beside them the same rows made exactly white. Is the cut of rank 2 as good as the best
# where all inputs have the same loudness, 1?

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
        ratios.append(above_full(rows, full, truncate(full, r)) / above_full(rows, full, B @ A))
    three = np.min(ratios), np.median(ratios), np.max(ratios)
    name = "white" if white else loudest
    print(f"{name:>7} {three[0]:>35.3f} {three[1]:>7.3f} {three[2]:>8.3f}")

# %% [markdown]
# Not quite: 64 rows that were drawn with equal loudness are not exactly white, and the cut costs a
# little. The more unequal the inputs, the more it costs, in most tasks. The inputs of a network are
# seldom even: of the 64 pixels of the digits below, some are always 0. That is why methods that
# compress a weight look at inputs first: SVD-LLM (Wang et al., 2024) whitens with those of a
# calibration set.
#
# **Predict.** All this is about the loss on the rows that one trains on, of one linear layer. Now
# take a network of three layers that reads digits, and images of another kind, of which it sees
# 100. Train LoRA at rank r, or train whole weights and cut the change of each layer to rank r.
# Which is better on *other* images of that kind, at r = 1, and at r = 16?

# %% to 1e-9
FIGURES["trained-and-cut"].picture()

# %% [markdown]
# These are stored runs of a study in this package ([study](../docs/study.md), notebook 09), for
# five kinds of images, with five seeds each. Below, by how much trained exceeds cut: a plus where
# the difference is above two standard errors, a minus where it is below minus two, a point where it
# is between. In the first lines biases are frozen in both, in the last ones they train in both.

# %% to 1e-9
runs = Runs(study.committed())
for biases, (lora, whole) in PAIRS.items():
    print(f"{biases}, {', '.join(runs.shifts)}:")
    for r in (1, 2, 4, 8, 16):
        pairs = runs.over_truncated(lora.format(r), whole, r)
        marks = "".join("+" if p.holds else "-" if p.opposes else "." for p in pairs.values())
        print(f"  r = {r:>2} {marks}  {', '.join(map(str, pairs.values()))}")

# %% [markdown]
# At r = 1 and 2 it is as on the linear layer, and by many points: training at the rank is better.
# At r = 8 the cut is better on `inverted`, and elsewhere little is between them. At r = 16 training
# at the rank wins on none of the five, and on some the cut is better. So what is proved for one
# layer and the rows of training does not carry over to a network and to new images at every rank.
# Why it does not is a question below.
#
# ### The same in PEFT
#
# Not run here. `convert_to_lora` is the cut: an SVD of each update, which knows nothing of inputs.
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
# > **Remember.** On white inputs the cut is as good as training; in the study on digits it is far
# > worse at rank 1 and no worse at rank 16.
# >
# > 输入白化时，截断与训练一样好；在手写数字的研究中，秩为一时截断差得多，秩为十六时则不差。

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
#   it has inputs. In PEFT, `init_lora_weights="eva"` and CorDA look at the inputs to choose where
#   A starts.
# - A loss that stands still may be waiting for a weak direction. Train on for a while before you
#   raise r.
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
#   2024, arXiv 2402.11867.
# - X. Wang et al., "SVD-LLM", 2024, arXiv 2403.07378.
# - Next: [08 · Look inside a transformer](08-look-inside-a-transformer.ipynb).

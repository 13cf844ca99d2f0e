# %% [markdown]
# # 02 · Find the rank of an update
#
# In notebook [01](01-adapt-a-model.ipynb), B A changed a language model, and B and A were narrow:
# they have less than a fifth as many numbers as the matrix that they changed. What can so few
# numbers say, what can they not say, and how much is lost if you cut a large change down to them?
#
# **You will** take matrices apart into outer products, cut pictures to a rank, try to beat the
# best cut there is, and find the rank of an update that was trained without any LoRA.
#
# **You will learn** what the rank of an update says, why no matrix of rank r comes nearer than
# the cut singular value decomposition, and how to read singular values.
#
# **You need** matrix products, thirty minutes, and ten more for the exercises. The singular value
# decomposition is explained as far as it is used.

# %%
import numpy as np

from lora_ref import lowrank
from lora_ref.exercises import check, show
from lora_ref.figures import FIGURES
from lora_ref.figures.registry import mosaic

# %% [markdown]
# ## One column times one row
#
# The *update* is what is added to a weight W0. It has the shape of W0, (out_features,
# in_features). The smallest update is made of a column b and a row a. Their *outer product* has
# the entry `b[o] * a[j]` in row o and column j: o counts outputs, and j inputs.
#
# **Predict.** How do the three rows of `np.outer(b, a)` differ from each other? What is its rank?

# %% exact
b = np.array([1.0, 2.0, 3.0])
a = np.array([4.0, 0.0, -1.0, 2.0])
update = np.outer(b, a)
print(update)
print(f"rank {np.linalg.matrix_rank(update)}, made of {b.size + a.size} numbers")

# %% [markdown]
# Every row is a multiple of a, and every column is a multiple of b. So the update can ask an
# input one question only: how much of a is in it?
#
# In all of these notebooks an input is a **row** of x. A weight W makes the row `x @ W.T` of it,
# which is W times the input written as a column.
#
# **Predict.** Here are three inputs, one in each row. Which of them does the update not see?

# %% exact
x = np.array([[1.0, 1.0, 2.0, 0.0], [0.0, 5.0, 0.0, 0.0], [1.0, 0.0, 0.0, -2.0]])
print("a asks:", x @ a)
print(np.outer(x @ a, b))
print("the same as x @ update.T:", np.allclose(x @ update.T, np.outer(x @ a, b)))

# %% [markdown]
# An input with `x @ a` equal to 0 passes as if there were no update. All others get more or less
# of b added to their output. The matrix `update` was not needed for that, only b and a.
#
# **Predict.** Below, in two dimensions, W0 turns a circle of inputs into an ellipse (open
# circles). Then `np.outer(b, a)` is added to W0. In how many directions do the outputs move?

# %% to 1e-6
FIGURES["direction"].picture(
    W0=np.array([[1.0, 0.4], [-0.3, 0.8]]), b=np.array([0.4, 0.8]), a=np.array([0.3, 0.7])
)

# %% [markdown]
# Change the numbers and draw it again.
#
# **Predict.** Which b flattens the ellipse to a line? (Some input is then sent to zero. Try to
# make that input a itself.)
#
# <details><summary>Answer</summary>
#
# W0 and the update send a to `W0 @ a + b * (a @ a)`. That is zero for `b = -W0 @ a / (a @ a)`. Put
# it into the cell: W0 + B A has lost a direction here, although W0 had all of them.
#
# </details>
#
# > **Remember.** An update of rank 1 reads one direction of the input and writes one direction
# > of the output.
# >
# > 秩为 1 的更新只读取输入的一个方向，只写入输出的一个方向。

# %% [markdown]
# ## B A is a sum of r of them
#
# Put r columns beside each other, and call them B, of shape (out_features, r). Put r rows below
# each other, and call them A, of shape (r, in_features). Then `B @ A` is the sum of r outer
# products: a column of B times the row of A with the same number.
#
# **Predict.** W0 below has rank 5, as much as its shape allows. B A has rank r. What is the rank
# of W0 + B A?

# %% exact
r = 2
rng = np.random.default_rng(0)
B = rng.integers(-3, 4, (5, r)).astype(float)
A = rng.integers(-3, 4, (r, 6)).astype(float)
W0 = rng.standard_normal((5, 6))
terms = [np.outer(B[:, k], A[k]) for k in range(r)]
print(B @ A)
print("the same as the sum:", np.allclose(sum(terms), B @ A))
print("the same as the package's terms:", np.allclose(terms, lowrank.outer_products(A, B)))
for name, M in {"one term": terms[0], "B A": B @ A, "W0": W0, "W0 + B A": W0 + B @ A}.items():
    print(f"rank of {name}: {np.linalg.matrix_rank(M)}")

# %% [markdown]
# So LoRA gives **a low-rank update, not a low-rank weight**. It does not approximate W0, and it
# does not compress it: W0 stays as it is, and B A is added. The package's function is in
# [lowrank.py](../lora_ref/lowrank.py).
#
# > **Remember.** B A has rank at most r, and the weight W0 + B A has in general full rank.
# >
# > B A 的秩不超过 r，而权重 W0 + B A 一般仍然满秩。

# %% [markdown]
# ## Every matrix is such a sum, strongest term first
#
# The *singular value decomposition*, SVD, takes any matrix M apart into outer products:
#
# $$M = \sigma_0\, u_0 v_0^\top + \sigma_1\, u_1 v_1^\top + \dots$$
#
# The columns u have length 1 and are orthogonal to each other, and so are the rows v. The
# *singular values* sigma are zero or positive, and sorted: the largest first. NumPy returns the u
# as the columns of `U`, and the v as the **rows** of `Vh`.
#
# **Predict.** M is the B A of above, 5 x 6. NumPy finds five singular values. How many of them are
# zero?

# %% to 1e-9
M = B @ A
U, sigma, Vh = np.linalg.svd(M, full_matrices=False)
print("shapes of U, sigma, Vh:", U.shape, sigma.shape, Vh.shape)
print("singular values:", " ".join(f"{value:.4f}" for value in sigma))
whole = sum(sigma[k] * np.outer(U[:, k], Vh[k]) for k in range(len(sigma)))
print("the sum of all terms is M:", np.allclose(whole, M))

# %% [markdown]
# The rank is the number of singular values above zero. A computer rounds, so it leaves about
# 1e-16 times the largest where zero should be. `np.linalg.matrix_rank` therefore counts those
# above a threshold.
#
# To *cut* M to rank r, keep the r strongest terms:


# %% to 1e-9
def strongest(M, r):
    """Return the sum of the r strongest terms of M."""
    U, sigma, Vh = np.linalg.svd(M, full_matrices=False)
    return sum(sigma[k] * np.outer(U[:, k], Vh[k]) for k in range(min(r, len(sigma))))


keep = 3
left_out = W0 - strongest(W0, keep)
print("the same as the package's:", np.allclose(strongest(W0, keep), lowrank.truncate(W0, keep)))
print("singular values of W0:           ", np.linalg.svd(W0)[1].round(4))
print("singular values of what is cut off:", np.linalg.svd(left_out)[1].round(4))

# %% [markdown]
# What is cut off has the other singular values of W0, and nothing else. So the size of the error
# is known before anything is cut. In the *Frobenius norm*, the root of the sum of all squared
# entries, it is `sqrt(sigma[r]**2 + sigma[r+1]**2 + ...)`. In the *spectral norm*, the most by
# which a matrix stretches a vector of length 1, it is `sigma[r]`, the first one that is missing.
#
# > **Remember.** The singular values say how strong each term is, and those left out are the
# > error of a cut.
# >
# > 奇异值给出每一项的强弱，被舍去的奇异值就是截断的误差。

# %% [markdown]
# ## Cut a picture to rank r
#
# A picture is a matrix of grey values, and you see what a cut keeps. A cross and a disc are drawn
# here in one line each. The third picture is made of 48 handwritten digits.
#
# Under each cut stands what it leaves out, in per cent of the norm of the picture. The mean grey
# is taken out before the cut, and added again after it: a picture that is bright all over would be
# a strong term of rank 1, and every cut would look good by its per cent alone.
#
# **Predict.** Which of the three needs the smallest rank to come back exactly, and which rank?

# %% to 1e-6
i, j = np.mgrid[:48, :64]
cross = ((abs(i - 24) < 6) | (abs(j - 24) < 6)).astype(float)
disc = ((i - 24) ** 2 + (j - 32) ** 2 < 20**2).astype(float)
pictures = {"cross": cross, "disc": disc, "digits": mosaic()}
FIGURES["truncations"].picture(pictures=pictures, ranks=(1, 2, 4, 16))

# %% exact
for name, picture in pictures.items():
    rank = np.linalg.matrix_rank(picture - picture.mean())
    rows = len(np.unique(picture, axis=0))
    print(f"{name}: {rows} different rows, rank {rank} of at most {min(picture.shape)}")

# %% [markdown]
# The cross has two different rows, so its rank is at most 2, and neither row is a multiple of the
# other. The disc has as many different rows as its rank, and a cut to 4 shows it well, because its
# singular values fall. Those of the digits fall slowly, and what a cut leaves out stays large.
# Draw something of your own and cut it.
#
# **Predict.** A diagonal line, `(i == j)`, is a simple picture too. What happens to it at r = 4?
#
# <details><summary>Answer</summary>
#
# No row of it is a mixture of others, so its rank is 48, and its singular values are all 1 (one
# becomes 0.5 when the mean is taken out). A cut to r = 4 keeps 4 of 48 nearly equal terms, and
# most of the picture is lost. Simple to say is not the same as low in rank.
#
# </details>
#
# > **Remember.** A cut to rank r is good where the singular values fall fast, and that depends on
# > the matrix.
# >
# > 奇异值下降得快，截断到秩 r 才合算，这取决于矩阵本身。

# %% [markdown]
# ## Nothing of rank r comes nearer
#
# Is there a better matrix of rank r than the cut one? Try it. Below, M is `target`, and N is the
# product of two random factors, `left` and `right`. Then `right` is replaced by the best one for
# this `left`, after that `left` by the best one for this `right`, and so on. Each is a
# least-squares problem, and no step can make the error larger.
#
# **Predict.** Will the error fall below that of the cut, end at it, or stop above it?

# %% depends on the seed
r, seed = 2, 0
rng = np.random.default_rng(seed)
target = rng.standard_normal((6, 8))
best = np.linalg.norm(target - lowrank.truncate(target, r))
left, right = rng.standard_normal((6, r)), rng.standard_normal((r, 8))
attempts = {"a random N": left @ right}
for step in range(33):
    if step in (0, 1, 2, 4, 8, 16, 32):
        print(f"after {step:>2} rounds: error {np.linalg.norm(target - left @ right):.6f}")
    right = np.linalg.lstsq(left, target, rcond=None)[0]
    left = np.linalg.lstsq(right.T, target.T, rcond=None)[0].T
attempts["the last N"] = left @ right
print(f"the cut SVD:     error {best:.6f}")

# %% [markdown]
# It ends at it. Change the seed, or begin with factors of your own: you will not get below.
#
# **Predict.** Now let `left` begin with two columns of U, but not the strongest two: the two that
# follow them. Where will the rounds end? And where if each number of `left` is nudged a little?

# %% depends on the seed
following, nudge = np.linalg.svd(target)[0][:, r : 2 * r], 0.01
nudged = following + nudge * np.random.default_rng(1).standard_normal(following.shape)
for name, left, rounds in (("the next two", following, 8), ("nudged", nudged, 32)):
    for step in range(1, rounds + 1):
        right = np.linalg.lstsq(left, target, rcond=None)[0]
        left = np.linalg.lstsq(right.T, target.T, rcond=None)[0].T
        if step in (1, 2, 4, 8, 16, 32):
            error = np.linalg.norm(target - left @ right)
            print(f"{name}, after {step:>2} rounds: error {error:.6f}")

# %% [markdown]
# The first start stays where it is. The best `right` for two columns of U are their own rows of
# Vh, and the best `left` for these rows are the same two columns. So every choice of two terms is
# a place where nothing moves, and only the strongest two are nearest to M. From all other choices
# a nudge leads away. (Even rounding is a nudge: give the first start 32 rounds.)
#
# ### A proof in two lines
#
# This is the theorem of Eckart and Young: **of all matrices of rank at most r, the cut SVD is
# nearest to M**. No number of attempts proves it. Here are the two lines, for the spectral norm:
#
# 1. N has rank r, so N v = 0 on a space of at least `in_features - r` dimensions. The first r + 1
#    rows of `Vh` span r + 1 dimensions. Together that is more than in_features, so **some v of
#    length 1 lies in both**.
# 2. v is a mixture of the first r + 1 rows of `Vh`, with coefficients c whose squares add up to 1.
#    M sends these rows to columns of `U`, **which are orthogonal again**, each stretched by its
#    sigma. No two can cancel: by Pythagoras the squared length of M v is the sum of `(sigma[k] *
#    c[k])**2`, at least `sigma[r]**2`. Since N v = 0, **(M - N) v = M v**, and no N of rank r
#    comes nearer.
#
# The cut SVD comes as near as that. The next cell finds such a v for the two matrices N of the
# first attempt, the random one and the last one. Put in your own N of rank r.
#
# **Predict.** Which length will be zero each time? And can a length of M v be below sigma[r]?

# %% depends on the seed
first = np.linalg.svd(target)[2][: r + 1]  # r + 1 orthogonal rows of length 1
for name, N in attempts.items():
    c = np.linalg.svd(N @ first.T)[2][-1]  # N first^T has r + 1 columns and rank r: it loses c
    v = c @ first
    print(f"{name}: N v {np.linalg.norm(N @ v):.4f}, M v {np.linalg.norm(target @ v):.4f}")
print(f"sigma[r]: {lowrank.truncation_error(target, r).spectral:.4f}")

# %% [markdown]
# <details><summary>And in the Frobenius norm?</summary>
#
# Call E = M - N the error, and E_k its cut to rank k. N + E_k has rank r + k or less, so by the
# two lines above it is at least `sigma[r + k]` away from M. But M - (N + E_k) = E - E_k, and its
# spectral norm is singular value k of E. So each singular value of the error is at least as large
# as the one of M that the cut leaves out in its place. The same holds for the sum of their
# squares.
#
# </details>
#
# > **Remember.** A matrix of rank r loses some direction in the span of the r + 1 strongest.
# >
# > 秩为 r 的矩阵在最强的 r+1 个方向张成的空间中，总会丢掉一个方向。

# %% [markdown]
# ## How far from a lower rank
#
# With r one below full rank, the theorem says: the smallest singular value is the distance to
# the nearest matrix of lower rank. It is tempting to take the determinant for this distance.
#
# **Predict.** The first matrix below has determinant 0.19, the second 0.01. Which of them is, for
# its size, nearer to a matrix of rank 1?

# %% to 1e-9
two = {
    "nearly equal rows": np.array([[1.0, 0.9], [0.9, 1.0]]),
    "a tenth of I     ": np.array([[0.1, 0.0], [0.0, 0.1]]),
}
for name, M2 in two.items():
    det, (largest, smallest) = np.linalg.det(M2), np.linalg.svd(M2)[1]
    sizes = f"largest singular value {largest:.2f}, smallest {smallest:.2f}"
    print(f"{name} det {det:.2f}, {sizes}, condition {np.linalg.cond(M2):.1f}")

# %% [markdown]
# Both are equally far from rank 1, although the determinants are far apart. For its size, the
# first is much nearer: the *condition number*, the largest singular value over the smallest, says
# so. It is 1 at best, and it does not change when all entries are multiplied by 10. The
# determinant of a 2x2 matrix would then be 100 times as large.
#
# > **Remember.** Ask the smallest singular value how near a lower rank is, and never the
# > determinant.
# >
# > 矩阵离低秩有多近，要看最小的奇异值，而不是行列式。

# %% [markdown]
# ## The rank of a trained update
#
# Now train a whole matrix, with no LoRA at all. W0 should become W0 + S, where S has rank 2, and
# what we have are n examples: the rows of x, and noisy answers y.
#
# The loss is half the sum of the squared errors, the entries of `x @ W.T - y`. Its gradient with
# respect to W is `(x @ W.T - y).T @ x`, the errors times the inputs (notebook
# [04](04-derive-and-check-the-gradients.ipynb) derives it). A step subtracts a small multiple of
# the gradient from W.
#
# **Predict.** W is free to take any form. What is the rank of W - W0 after training on 3 examples?
# And on 40?


# %% depends on the seed
def trained_update(x, y, W0, steps):
    """Return W - W0 after full training: every entry of W is free."""
    W, rate = W0.copy(), 1 / np.linalg.norm(x, 2) ** 2  # no larger, so that no step overshoots
    for _ in range(steps):
        W = W - rate * (x @ W.T - y).T @ x
    return W - W0


noise, steps = 0.3, 500
rng = np.random.default_rng(0)
start = rng.standard_normal((6, 8))
S = rng.standard_normal((6, 2)) @ rng.standard_normal((2, 8))
asked = " ".join(f"{value:.2f}" for value in np.linalg.svd(S)[1])
print(f"      asked: rank {lowrank.numerical_rank(S)}, singular values {asked}")
for n in (3, 40):
    x_n = rng.standard_normal((n, 8))
    y_n = x_n @ (start + S).T + noise * rng.standard_normal((n, 6))
    D = trained_update(x_n, y_n, start, steps)
    strengths = " ".join(f"{value:.2f}" for value in np.linalg.svd(D)[1])
    print(f"{n:>2} examples: rank {lowrank.numerical_rank(D)}, singular values {strengths}")

# %% [markdown]
# The gradient is again a sum of outer products, one for each example: its error times its input.
# Steps change the errors and never the inputs. So all rows of W - W0 are mixtures of the n inputs,
# and its rank is at most n.
#
# With 40 examples the rank is full, and that says little: noise fills every direction. The
# singular values say more. Two are large, near those of S, because the task asked for rank 2, and
# the others are noise. **LoRA is a bet that the singular values of a task's update fall fast**,
# and here we built the task so. Notebooks [07](07-train-a-low-rank-update.ipynb) and
# [09](09-compare-the-ways-to-adapt.ipynb) measure real ones.
#
# ### The same in PEFT
#
# This prints the ranks of all updates of a model with LoRA. (Not run here: it needs PyTorch.)
#
# ```python
# import torch
# from peft.tuners.lora import LoraLayer
#
# for name, module in model.named_modules():
#     if isinstance(module, LoraLayer):
#         update = module.get_delta_weight("default").float()  # alpha / r is in it
#         print(name, torch.linalg.matrix_rank(update).item(), torch.linalg.svdvals(update)[:4])
# ```
#
# > **Remember.** Look at the singular values of an update, because noise alone gives it full rank.
# >
# > 判断一个更新要看它的奇异值，因为仅凭噪声就能让它满秩。

# %% [markdown]
# ## Exercises
#
# Replace the three dots, run the cell, and read what it says. There are three hints for each
# exercise, and none of them is the answer: `from lora_ref.exercises import hint`.
#
# ### `rank-bound`: the largest rank that a sum can have

# %% exact
print(show("rank-bound"))


# %%
def rank_bound(out_features, in_features, ranks): ...


check("rank-bound", rank_bound)

# %% [markdown]
# ### `truncate`: the nearest matrix of rank r, from half of the decomposition

# %% exact
print(show("truncate"))


# %%
def truncate(M, u, r): ...


check("truncate", truncate)

# %% [markdown]
# ### `tail`: the error of a cut, when most singular values are unknown

# %% exact
print(show("tail"))


# %%
def tail(norm, sigma): ...


check("tail", tail)

# %% [markdown]
# ### To think about
#
# 1. For an invertible r x r matrix Q, the factors `B @ Q` and `inv(Q) @ A` make the same update as
#    B and A. B and A hold r (out + in) numbers. How many directions can B A really move in?
#    `np.linalg.matrix_rank(lowrank.product_jacobian(A, B))` counts them. Find the formula.
# 2. Are the matrices of rank at most 2 a subspace? Add two of them.
# 3. Two updates have the singular values (1, 1, 1, 1) and (4, 0.4, 0.2, 0.1). Which of them would
#    you give a LoRA of r = 1, and what would you lose each time?

# %% [markdown]
# ## In practice
#
# - To turn a full fine-tune into a LoRA, look at the singular values of `W - W0`, choose r, and
#   keep `lowrank.balanced_factors(W - W0, r)`. [Question 15](../docs/questions.md) has the cell.
# - For a large matrix, a full SVD is slow. `lowrank.randomized_svd` finds the first few terms with
#   a few products.
# - The cut is the best low-rank update in these norms. It need not be the best for the *loss*, in
#   which some inputs matter more than others: notebook 07.

# %% [markdown]
# ## Further reading
#
# - C. Eckart, G. Young, "The approximation of one matrix by another of lower rank", Psychometrika
#   1, 1936. L. Mirsky, "Symmetric gauge functions and unitarily invariant norms", Quarterly
#   Journal of Mathematics 11, 1960, for all norms that rotations leave alone.
# - N. Halko, P.-G. Martinsson, J. A. Tropp, "Finding structure with randomness", SIAM Review 53,
#   2011, on which randomised SVDs rest.
# - E. Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", 2021, arXiv 2106.09685,
#   section 7, on the rank of updates.
# - Next: [03 · Walk through the 4x4 example](03-walk-through-the-example.ipynb).

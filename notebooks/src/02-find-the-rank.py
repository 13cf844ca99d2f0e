# %% [markdown]
# # 02 · Find the rank of an update
#
# **You will** take matrices apart into outer products, cut them to a rank, and measure what the
# cut costs.
#
# **You will learn** what the rank of an update says, why no matrix of rank r comes nearer than
# the cut SVD (the theorem of Eckart and Young), and how many numbers, and how many directions, an
# update of rank r has.
#
# **You need** matrix products, and twenty minutes. The singular value decomposition is explained
# as far as it is used.
#
# Each cell that shows numbers says first how exact they are: `# exact` (the same text
# everywhere), `# to 1e-9` and the like (a relative error, or one unit of the last printed digit),
# `# depends on the seed` (only the shape of the result matters), or `# order of magnitude` (what
# is itself rounding).

# %%
import numpy as np

from lora_ref import lowrank
from lora_ref.exercises import check, show
from lora_ref.figures import FIGURES
from lora_ref.walkthrough import article_layer

# %% [markdown]
# ## One column times one row
#
# > 一列乘一行得到一个秩为 1 的矩阵：它的每一行都是同一行的倍数。
#
# A layer multiplies its input x, `in_features` numbers, by a weight W0 and gets `out_features`
# numbers. LoRA leaves W0 as it is and adds a second matrix of the same shape to it: the *update*,
# a product B A. This notebook is about such matrices.
#
# The smallest update there is: a column b of `out_features` numbers and a row a of `in_features`
# numbers. Their outer product has an entry for each pair, `b[i] * a[j]`. All its rows are
# multiples of a, so it says only one thing about the input: how much of a is in it.

# %% exact
b, a = np.array([1.0, 2.0, 3.0]), np.array([4.0, 0.0, -1.0, 2.0])
update = np.outer(b, a)
print(update)
print("rank", lowrank.numerical_rank(update), "from", b.size + a.size, "numbers, not", update.size)

# %% [markdown]
# To apply it, nobody needs the matrix: `a @ x` is one number, and b times that number is the
# answer.

# %% exact
x = np.array([1.0, 1.0, 2.0, 0.0])
print("a @ x     =", a @ x)
print("b (a @ x) =", b * (a @ x))
print("update x  =", update @ x)

# %% [markdown]
# ## B A is a sum of r of them
#
# > B A 等于 r 个外积之和：B 的第 k 列乘 A 的第 k 行。
#
# Put r columns side by side into B, of shape (out_features, r), and r rows below each other into
# A, of shape (r, in_features). Then `B @ A` is the sum of the r outer products, and its rank is
# at most r. The 4x4 example of the article 《LoRA核心公式》 has r = 2:

# %% to 1e-6
FIGURES["outer-products"].picture()

# %% exact
example = article_layer()
terms = lowrank.outer_products(example.A, example.B)
print("terms:", terms.shape, " ranks:", [lowrank.numerical_rank(term) for term in terms])
print("their sum is B A:", np.allclose(terms.sum(axis=0), example.B @ example.A))

# %% [markdown]
# The article writes the sum the other way round, a row of A times a column of B. Read literally
# that is a number, not a matrix, and the sum of those numbers is the trace of A B:

# %% to 1e-12
literal = sum(example.A[k] @ example.B[:, k] for k in range(example.r))
print(f"rows times columns: {literal:.2f}   trace of A B: {np.trace(example.A @ example.B):.2f}")

# %% [markdown]
# ## Every matrix is such a sum, strongest term first
#
# > 奇异值分解把任何矩阵写成外积之和，并按强弱排序。
#
# The singular value decomposition writes M as `U @ np.diag(s) @ Vh`: a sum of outer products
# whose columns are orthonormal, whose rows are orthonormal, and whose strengths, the singular
# values s, fall. The number of singular values above zero is the rank. In floating point "above
# zero" needs a threshold, because rounding leaves a little where nothing should be.

# %% to 1e-9
W0 = example.W0
s = np.linalg.svd(W0, compute_uv=False)
print("singular values of W0: ", " ".join(f"{value:.4f}" for value in s))
print(
    "rank of W0:",
    lowrank.numerical_rank(W0),
    " rank of B A:",
    lowrank.numerical_rank(example.delta_w),
)

# %% [markdown]
# W0 has full rank, but only just: its smallest singular value is a sixtieth of the largest. Its
# update B A has rank 2, and their sum has rank 4 again. So LoRA gives **a low-rank update, and
# not a low-rank weight**, and it does not approximate W0.

# %% exact
print("rank of W0 + B A:", lowrank.numerical_rank(example.merge().W))

# %% [markdown]
# ## Cut a picture to rank r
#
# > 只保留最强的 r 项：这幅画在秩很小时就能辨认；手写数字拼图的奇异值下降缓慢，截断的损失大。
#
# Keep the r strongest terms and drop the rest: that is `lowrank.truncate(M, r)`. A picture is a
# matrix too, and shows what is kept. This one has 48 x 64 pixels.

# %% to 1e-6
FIGURES["truncations"].picture()

# %% [markdown]
# At r = 8 the sun is round and the hills have edges, from less than a third of the numbers. But a
# low rank is a property of *this* picture. Here are the singular values of one that resists, a
# picture of 48 handwritten digits. They fall slowly, and what a cut leaves out stays large.

# %% to 1e-6
FIGURES["singular-values"].picture()

# %% [markdown]
# Whether the update of a task falls fast or slowly is a question to the data. Notebook 09 asks
# it.

# %% [markdown]
# ## Nothing of rank r comes nearer
#
# > Eckart-Young 定理：秩不超过 r 的矩阵中，截断 SVD 离目标最近，误差由余下的奇异值给出。
#
# The theorem of Eckart and Young (1936; Mirsky, 1960, for all norms that rotations leave alone):
# of all matrices of rank at most r, the cut SVD is nearest to M. The distance is known before
# anything is cut. In the Frobenius norm, the root of the sum of all squared entries, it is
# `sqrt(s[r]**2 + s[r+1]**2 + ...)`. In the spectral norm, the most by which a matrix stretches a
# vector, it is `s[r]`.

# %% to 1e-9
for r in range(5):
    cut = lowrank.truncate(W0, r) if r else np.zeros_like(W0)
    measured, told = np.linalg.norm(W0 - cut), lowrank.truncation_error(W0, r)
    tails = f"tail {told.frobenius:.4f}, spectral {told.spectral:.4f}"
    print(f"r = {r}: measured {measured:.4f}, {tails}")

# %% [markdown]
# These are the distances that *do* shrink as r grows. The article takes the norm of the update,
# `norm(W - W0)`, for such an error. It is the size of what was learnt, and need not shrink at all
# (notebook 03).
#
# A theorem about all matrices cannot be proved by drawing some. But drawing can fail, so let it
# try: each orange cross below is the nearest matrix in a column space that was drawn at random.
# The blue circles are the cut SVD. (The matrix is the picture of digits from above.)

# %% depends on the seed
FIGURES["error-by-rank"].picture()

# %% [markdown]
# ## How many numbers, how many directions
#
# > B 与 A 共有 r(m+n) 个数，而秩不超过 r 的矩阵只有 r(m+n−r) 维：不是一维流形，也不是子空间。
#
# B and A hold `r * (m + n)` numbers. The matrices they can make have fewer dimensions, because
# for any invertible r x r matrix Q the factors `B Q` and `Q⁻¹ A` make the same product: r² of the
# numbers are spent on saying the same thing differently.

# %% exact
m, n = 4, 4
rng = np.random.default_rng(0)
for r in (1, 2, 3, 4):
    B, A = rng.standard_normal((m, r)), rng.standard_normal((r, n))
    measured = lowrank.numerical_rank(lowrank.product_jacobian(A, B))
    formula = lowrank.rank_set_dimension(m, n, r)
    print(f"r = {r}: {r * (m + n):>2} numbers, {measured:>2} dimensions, formula {formula:>2}")

# %% [markdown]
# The measured number is the rank of the derivative of `B @ A` by all numbers in B and A: the
# directions in which the product can move. At d = 4 and r = 2 it is 12 of 16. The article says
# "one-dimensional manifold", which is far from it, and "r-dimensional subspace", which is no
# subspace at all:

# %% exact
one, other = (rng.standard_normal((4, 2)) @ rng.standard_normal((2, 4)) for _ in range(2))
ranks = [lowrank.numerical_rank(M) for M in (one, other, one + other)]
print("two updates of rank 2, and their sum:", ranks)

# %% exact
FIGURES["dimension"].picture()

# %% [markdown]
# ## Exercises
#
# > 练习：把省略号换成你的代码，运行单元格，它会告诉你哪里不对。
#
# Replace the three dots, run the cell, and read what it says. Nothing is downloaded. `show`
# prints the task and a specification in plain loops, which says what is right and is slow on
# purpose: copying it would pass and teach nothing. Write yours without loops.
#
# ### `rank-bound`: the most rank that a sum can have

# %% exact
print(show("rank-bound"))


# %%
def rank_bound(out_features, in_features, ranks): ...


check("rank-bound", rank_bound)

# %% [markdown]
# ### `truncate`: the nearest matrix of rank r

# %% exact
print(show("truncate"))


# %%
def truncate(M, r): ...


check("truncate", truncate)

# %% [markdown]
# ### `tail`: what a cut will cost, before cutting

# %% exact
print(show("tail"))


# %%
def tail(s, r): ...


check("tail", tail)

# %% [markdown]
# ## In practice
#
# > 实践：在大矩阵上用随机化 SVD；先看奇异值，再选秩。
#
# - To turn a full fine-tune into a LoRA, take the SVD of `W - W0`, look at the singular values,
#   choose r, and keep `lowrank.balanced_factors(W - W0, r)`. [Question 15](../docs/questions.md)
#   has the cell.
# - Of a large matrix only the first triplets are needed (a singular value with its column and
#   row). `lowrank.randomized_svd` finds them with a few products; how near it comes can be
#   measured:

# %% depends on the seed
big = rng.standard_normal((300, 12)) @ rng.standard_normal((12, 200)) + rng.standard_normal(
    (300, 200)
)
U, s8, Vh = lowrank.randomized_svd(big, 8, rng)
reached, best = np.linalg.norm(big - U * s8 @ Vh), lowrank.truncation_error(big, 8).frobenius
print(f"error {reached:.3f}, the least possible {best:.3f}")

# %% [markdown]
# ## Further reading
#
# > 延伸阅读：定理的出处，以及低秩微调的原始论文。
#
# - C. Eckart, G. Young, "The approximation of one matrix by another of lower rank", Psychometrika
#   1, 1936. L. Mirsky, "Symmetric gauge functions and unitarily invariant norms", Quarterly
#   Journal of Mathematics 11, 1960.
# - N. Halko, P.-G. Martinsson, J. A. Tropp, "Finding structure with randomness", SIAM Review 53,
#   2011, on which randomised SVDs rest.
# - E. Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", 2021, arXiv 2106.09685,
#   section 7, on the rank of updates.
# - Next: [03 · Walk through the 4x4 example](03-walk-through-the-example.ipynb).

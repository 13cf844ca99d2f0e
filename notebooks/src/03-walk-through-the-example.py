# %% [markdown]
# # 03 · Walk through the 4x4 example
#
# **You will** follow the 4x4 example of the article 《LoRA核心公式》 from W0 to the merged
# weight, with the numbers it prints beside the right ones, and find where each slip comes from.
#
# **You will learn** why the update is B A and not A B, what one wrong product, a wrong shape and
# a wrong name do to the lines below them, and which checks would have caught them.
#
# **You need** matrix products, the rank of a matrix (notebook [02](02-find-the-rank.ipynb)), and
# fifteen minutes.
#
# The article prints decimals, so its inputs are known exactly. What is printed in fractions below
# was computed in fractions, and no rounding can be blamed.

# %%
from itertools import pairwise, permutations
from textwrap import fill

import numpy as np

from lora_ref import counting, lowrank, walkthrough
from lora_ref.claims import article, judge
from lora_ref.exact import fractions_of
from lora_ref.exercises import check, show
from lora_ref.figures import FIGURES

STEPS = {step.name: step for step in walkthrough.all_steps()}

# %% [markdown]
# ## W0 has full rank
#
# > W0 的秩确实是 4；行列式虽小，却说明不了它离低秩有多远，要看奇异值和条件数。
#
# The article assumes that its W0 has rank 4. A determinant in fractions settles it: not zero.

# %% exact
print(walkthrough.format_step(STEPS["pretrained"], exact=True))

# %% [markdown]
# How far is W0 from a lower rank? The determinant cannot say: doubling every entry multiplies it
# by 16 and leaves the rank as it is, and the condition number (the largest singular value over
# the smallest). A tenth of the identity has the smaller determinant, and for its size it is as far
# from a lower rank as a matrix can be:

# %% to 1e-9
judged = judge(article().claim("w0-full-rank"))
print(f"{judged.verdict}: {judged.claim.text}")
print(fill(judged.reason, 84))

# %% [markdown]
# The smallest singular value is the distance to the nearest matrix of rank 3.

# %% to 1e-9
layer = walkthrough.article_layer()
s = np.linalg.svd(layer.W0, compute_uv=False)
print("singular values: ", " ".join(f"{value:.4f}" for value in s))
print(f"condition number: {s[0] / s[-1]:.1f}")
print(f"two decimals hide a change of W0 of norm {0.005 * 4:.2f} at most")

# %% [markdown]
# Half a unit of the second decimal in each of 16 entries is a change of Frobenius norm 0.02 at
# most, and that is less than 0.0315. So the printed digits are enough: whatever was rounded to
# them has rank 4 too.

# %% [markdown]
# ## A is an illustration, B is zero
#
# > 文中的 A 是等差数列，不是高斯采样；B = 0 时无论 A 和缩放系数取何值，W 都等于 W0。
#
# A is introduced as a random Gaussian initialisation, for which part two says "usually N(0,
# 0.02²)". The printed one counts from 0.10 to 0.80. As an illustration that is a good choice,
# because each number says where it stands. But it is no draw: its steps are all equal, which in a
# draw never happens. And 0.80 would be 40 standard deviations out:

# %% exact
entries = walkthrough.EXACT.A.ravel()
print("steps from entry to entry:", " ".join(str(step) for step in np.diff(entries)))
print("in units of 0.02:         ", " ".join(str(entry * 50) for entry in entries))
judged = judge(article().claim("a-gaussian"))
print(f"{judged.verdict}: {judged.reason}")

# %% [markdown]
# B = 0 at the start is the better half of the pair. Every term of B A has an entry of B in it, so
# the layer is W0, and not merely near it. (Notebook [05](05-start-from-zero.ipynb) is about this
# start.)

# %% exact
start = STEPS["start"].parts["W"]
print("W is W0 in fractions:", bool((start.exact == walkthrough.EXACT.W0).all()))
print("W is W0 in float64:  ", np.array_equal(start.value, layer.W0))

# %% [markdown]
# That holds before training. The article says more: early training does not touch what W0 does.
# How far is the output of a layer moved after 0, 1 and 5 steps, relative to its size?

# %% depends on the seed
judged = judge(article().claim("b-zero-init"))
print(fill(f"{judged.verdict}: {judged.recomputed}", 84))
print(fill(f"because {judged.reason}", 84))

# %% [markdown]
# ## A B is 2x2, B A is 4x4
#
# > 更新量是 B A：A B 是 2x2 矩阵，而 A 与 B 的任何乘积都不是 4x2。
#
# A takes 4 numbers to 2, and B takes 2 numbers to 4. The input meets A first, so A stands next to
# it: B (A x), and the matrix of that is B A. The article writes A B throughout, says that it has
# the size of W0, and prints it with 4 rows and 2 columns. Which shapes are there at all,
# transposes allowed?

# %% exact
A, B = walkthrough.EXACT.A, walkthrough.EXACT.B
factors = {"A": A, "A^T": A.T, "B": B, "B^T": B.T}
for (one, left), (other, right) in permutations(factors.items(), 2):
    if one[0] != other[0] and left.shape[1] == right.shape[0]:
        print(f"{one:<3} {other:<3} has shape {(left @ right).shape}")

# %% [markdown]
# No product of the two is 4x2. `A^T B^T` is the transpose of B A, so 4x4 means B A, up to which
# way it is turned. And A B exists at all only because W0 is square: with 7 inputs and 5 outputs A
# is (2, 7), B is (5, 2), and there is no A B.

# %% to 1e-12
print(walkthrough.format_step(STEPS["update"]))

# %% [markdown]
# Here is all of it in one picture. An entry of B A stands where its row of B and its column of A
# cross: the first is 0.10 · 0.10 + 0.20 · 0.50 = 0.11.

# %% to 1e-6
FIGURES["matrices"].picture()

# %% [markdown]
# The article also writes the update as a sum of r terms, and has the order wrong there too. A
# column of B times a row of A is a matrix. What is printed is a row of A and a column of B:

# %% exact
judged = judge(article().claim("outer-sum"))
print(fill(f"{judged.verdict}: {judged.claim.text}", 84))
print(fill(f"because {judged.reason}", 84))

# %% [markdown]
# ## 0.59 for 0.50
#
# > 0.10 × 0.10 等于 0.01，原文写成 0.10，于是 0.50 变成了 0.59。
#
# The article shows one entry of A B term by term. The expression is right: a row of A, a column
# of B. Three of the four products are right too.

# %% exact
products = A[0] * B[:, 0]
for a, b, product, printed in zip(
    A[0], B[:, 0], products, walkthrough.PRINTED.AB_terms, strict=True
):
    wrong = "   <-" if fractions_of((printed,))[0] != product else ""
    print(f"{float(a):.2f} x {float(b):.2f} = {float(product):.2f}, printed {printed}{wrong}")
print(f"        sum = {float(products.sum()):.2f}, printed {walkthrough.PRINTED.AB[0][0]}")
print("verdict:", judge(article().claim("ab-11")).verdict)

# %% [markdown]
# The other seven printed numbers come without a calculation. They have a pattern, though, and it
# can be compared with what A B would do:

# %% exact
printed = fractions_of(walkthrough.PRINTED.AB)
for one, other in pairwise(printed):
    print("printed rows rise by", ", ".join(f"{float(rise):.2f}" for rise in other - one))
print("columns of B sum to ", ", ".join(f"{float(total):.2f}" for total in B.sum(axis=0)))
print("rows of A rise by   ", ", ".join(f"{float(rise):.2f}" for rise in A[1] - A[0]))
print("so rows of A B by   ", ", ".join(f"{float(rise):.2f}" for rise in (A[1] - A[0]) @ B))

# %% [markdown]
# If every entry of a row rises by the same amount, the product rises by that amount times the
# sums of B's columns. Steps of 0.80 and 1.00 fit a rise of 0.50. A's second row is 0.40 above its
# first, which gives 0.64 and 0.80. And A has no third and fourth row from which the last two
# printed rows could come. The article does not say how they arose.

# %% [markdown]
# ## Two columns written twice are no sum
#
# > 4x4 与 4x2 不能相加；原文把两列重复写了一遍，十六个和本身都没算错，但加的不是 B A。
#
# W0 is 4x4 and what was printed is 4x2, so `W0 + A B` is undefined. The article writes the two
# columns twice, side by side, and adds those.

# %% to 1e-12
print(walkthrough.format_step(STEPS["merge"]))

# %% exact
for name in ("merge-shape", "merge-sums"):
    judged = judge(article().claim(name))
    where = f" ({judged.claim.under.text})" if judged.claim.under else ""
    print(fill(f"{name}: {judged.verdict}{where}, {judged.reason}", 84))

# %% [markdown]
# All 16 additions are right, and it is worth seeing what was added. Written twice, the matrix
# treats inputs 1 and 3 alike, and inputs 2 and 4: that is the layout of a page, and nothing that
# was learnt. Every update of rank 2 leaves some differences between inputs unseen. The rows of A
# decide which ones.
#
# Taken alone, A B for B A looks like a matter of notation. Here the order became a wrong shape,
# the shape a wrong layout, and the layout 16 wrong weights. Asking for the shape of A B would
# have stopped all of it at the first step.

# %% [markdown]
# ## 8.97, 9.0650 and 1.9339
#
# > 更新量的 Frobenius 范数是 √3.74 ≈ 1.9339；它衡量更新的大小，不是近似误差。
#
# The first part of the article ends with the norm of W - W0, which is the norm of the update,
# whatever W0 is. It prints 8.97.

# %% exact
print("the article:", STEPS["norm"].parts["|Delta W|"].printed)
for name, part in STEPS["norm"].parts.items():
    squares = float(part.exact.square)
    print(f"{name}: squares {squares:.4f}, norm {float(part.exact):.4f}, exactly {part.exact}")

# %% [markdown]
# Two things went wrong at once. The printed numbers, tiled, are not B A: their squares sum to
# 82.1736, and those of B A to 3.74. And the root of 82.1736 is not 8.97. Nor is it that of the 8
# printed numbers, each taken once.
#
# The name is the third. The article calls this norm the error of approximating W0, smaller for a
# larger r. It is the *size of what was learnt*. Below are, for each r, the norm of the first r
# terms of this update, and the distance from W0 to the nearest matrix of rank r. Only the second
# is an error of approximation, and only the second can never grow with r.

# %% to 1e-9
terms = lowrank.outer_products(layer.A, layer.B)
for r in range(layer.r + 1):
    size = np.linalg.norm(terms[:r].sum(axis=0))
    error = lowrank.truncation_error(layer.W0, r).frobenius
    print(f"r = {r}: norm of the update {size:.4f}, from W0 to rank r {error:.4f}")

# %% [markdown]
# The two columns have nothing to do with each other. Nothing in LoRA approximates W0, which stays
# as it is:

# %% exact
judged = judge(article().claim("w-low-rank"))
print(fill(f"{judged.verdict}: {judged.claim.text}", 84))
print(fill(f"recomputed: {judged.recomputed}; {judged.reason}", 84))
print(fill(f"right: {judged.correction}", 84))

# %% [markdown]
# If LoRA approximates anything, it is the update that full fine-tuning would have made, as the
# article itself says further down. To measure that error takes such an update, or a loss, and the
# example has neither. Notebooks [07](07-train-a-low-rank-update.ipynb) and
# [09](09-compare-the-ways-to-adapt.ipynb) have data.

# %% [markdown]
# ## One input, two ways
#
# > 先乘 A 再乘 B 与先合并再相乘，结果在精确算术下完全相同，而前者不需要形成 B A。
#
# The article gives no input. Take x = (2, -1, 1, 1/2), short enough to follow by hand. Through A
# it becomes two numbers, through B four, and W0 x is added.

# %% exact
print(walkthrough.format_step(STEPS["forward-two-steps"], exact=True))

# %% exact
merged, split = STEPS["forward-one-step"].parts["y"], STEPS["forward-two-steps"].parts["y"]
print("y through the merged W:", ", ".join(map(str, merged.exact)))
print("the same in fractions: ", bool((merged.exact == split.exact).all()))
print("the same in float64:   ", np.allclose(merged.value, split.value, rtol=1e-14, atol=0))
for name in ("two-steps", "forward-order"):
    judged = judge(article().claim(name))
    print(f"{judged.verdict:<9} {judged.claim.text}")

# %% [markdown]
# The second part of the article has the two steps right, A first and B second, and writes A B x a
# few lines above them. While training, libraries compute linear layers in these two steps too:
# the gradients need A x anyway, and only with more rows than half the width would forming B A
# once take fewer multiply-adds in the forward pass. A merge forms it once, and after it a pass
# costs what it cost without LoRA.

# What are the two numbers A x? The article calls the rows of A basis vectors of the
# low-dimensional space. They are vectors of the input space, and A x holds the inner products of
# x with them. The largest gap between these and the coordinates of x, relative to x, is no
# rounding:

# %% to 1e-9
judged = judge(article().claim("a-rows-basis"))
print(f"{judged.verdict}: {judged.recomputed}")
print(fill(f"because {judged.reason}", 84))

# %% [markdown]
# ## 16 numbers for 16
#
# > d = 4、r = 2 时 A 和 B 共 16 个数，与 W0 一样多：这正是不再节省的秩。
#
# The counts of the example are right, and the article says plainly that here nothing is saved.
# But it also calls r = 2 far smaller than d = 4. The rank at which A and B have as many numbers
# as W0 is `in * out / (in + out)`, half the width of a square matrix.

# %% exact
print("width      W0 has   A and B, r = 8     share   nothing saved at rank")
for d in (4, 16, 768, 1024, 4096):
    W, AB = counting.full_params(d, d), counting.lora_params(d, d, 8)
    even = int(counting.break_even_rank(d, d))
    print(f"{d:>5} {W:>11,} {AB:>16,} {100 * AB / W:>8.2f}% {even:>23,}")

# %% [markdown]
# At width 4 and rank 8, A and B have four times the numbers of W0; at width 1024 they have 1.56 %
# of them, as the article says. To scale:

# %% exact
FIGURES["blocks"].picture()

# %% [markdown]
# ## What the article gets right
#
# > 原文第一部分中，W0 的秩、缩放系数和各项参数计数经核对都是正确的，另有几条附带条件才成立。
#
# Of the claims of its first part, these come out confirmed when recomputed:

# %% exact
judgements = [judge(one) for one in article().claims if one.where.startswith("part 1")]
right = [one for one in judgements if one.verdict == "confirmed"]
print(f"{len(right)} of {len(judgements)} claims of part one:")
for one in right:
    print(f"  {one.claim.id:<16} {one.claim.text}")

# %% [markdown]
# Others are narrower than they look: they hold under a condition that the article leaves out.
# Here they are with what has to be added to each.

# %% exact
for one in judgements:
    if one.verdict == "conditional":
        print(f"{one.claim.id:<16} {one.claim.under.text}")

# %% [markdown]
# The 16 sums are right as sums of the printed numbers. And the error falls with r where a trained
# B A approaches a given target; the norm of W - W0 is another matter, as seen above.
#
# Beyond single numbers: W0 is frozen; A projects down and B up; B starts at zero, so that nothing
# is disturbed before the first step; the example is small enough that a reader can redo it by
# hand. And wherever the article writes A B, reading B A puts most of its formulas in order.

# %% [markdown]
# ## Exercises
#
# > 练习：写出前向传播、更新量与合并，形状不对时会立刻得到提示。
#
# No matrix in the checks is square, so A B will not pass by accident. Alpha is not r either.
#
# ### `forward`: the forward pass, in two steps

# %% exact
print(show("forward"))


# %%
def forward(x, W0, A, B, alpha): ...


check("forward", forward)

# %% [markdown]
# ### `delta-w`: the update of the weight

# %% exact
print(show("delta-w"))


# %%
def delta_w(A, B, alpha): ...


check("delta-w", delta_w)

# %% [markdown]
# ### `merge`: one weight for serving

# %% exact
print(show("merge"))


# %%
def merge(W0, A, B, alpha): ...


check("merge", merge)

# %% [markdown]
# ## In practice
#
# > 实践：先核对形状，再手算一个元素，说清每个量的名称，最后用上界检查大小。
#
# Four checks, in this order, would have stopped the slips in the numbers above.
#
# - **Shapes, with no two widths equal.** Choose `in`, `out` and r all different. Then A B does
#   not exist, and a transposed factor does not fit.
# - **One entry by hand, every product of it.** A product of two numbers between 0 and 1 is
#   smaller than both, and 0.10 x 0.10 = 0.10 is not.
# - **Names.** Say what a norm is the norm of, and when it would be zero. The norm of W - W0 is
#   zero where nothing was learnt.
# - **Bounds.** In absolute value, no entry of B A is larger than r times the largest of B times
#   the largest of A, and its norm is not above the product of their norms:

# %% to 1e-12
entry = layer.r * np.abs(layer.B).max() * np.abs(layer.A).max()
norm = np.linalg.norm(layer.B) * np.linalg.norm(layer.A)
print(f"entries of B A at most {entry:.2f}, printed {walkthrough.PRINTED.AB[-1][-1]}")
print(f"norm of B A at most    {norm:.2f}, printed {walkthrough.PRINTED.norm}")

# %% [markdown]
# `lora-ref walkthrough --exact` prints all steps of this example in fractions, gradients
# included, and `lora-ref verify --file` judges an example of your own
# ([how to write the file](../docs/add-a-source.md)).

# %% [markdown]
# ## Further reading
#
# > 延伸阅读：原始论文的公式、不同代码库的记号，以及精确计算行列式的方法。
#
# - E. Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", 2021, arXiv 2106.09685,
#   section 4.1: the update is B A, with B of d x r and A of r x k.
# - [Notation](../docs/notation.md): who writes which factor first, and in which shapes.
#   [All claims of the article](../docs/article.md), each with its verdict.
# - E. H. Bareiss, "Sylvester's identity and multistep integer-preserving Gaussian elimination",
#   Mathematics of Computation 22, 1968: how the determinant above stays in whole numbers.
# - G. H. Golub, C. F. Van Loan, "Matrix Computations", 4th edition, 2013, on singular values as
#   distances and on condition numbers.
# - Next: [04 · Derive and check the gradients](04-derive-and-check-the-gradients.ipynb).

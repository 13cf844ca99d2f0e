# %% [markdown]
# # 03 · Walk through the 4x4 example
#
# LoRA leaves a large weight W0 alone and adds a product of two thin matrices, B A. In a real model
# nobody can follow the numbers. Here W0 has 16 of them, and you can do every product with a pencil.
#
# **You will** multiply B A by hand and in NumPy, send an input through the layer in two ways, fold
# the update into the weight, and judge six lines of an article that uses these numbers.
#
# **You will learn** in which order the two factors stand and how a shape tells you, what a merge is
# and what it costs, and which questions find a slip in a page of matrices.
#
# **You need** matrix products, rank and singular values (notebook [02](02-find-the-rank.ipynb)),
# forty-five minutes, and twenty more for the exercises.

# %%
import numpy as np

from lora_ref import lowrank
from lora_ref.exercises import check, show
from lora_ref.figures import FIGURES
from lora_ref.layers import LoRALinear

# %% [markdown]
# ## The layer, written down
#
# W0 is the weight of a model that was trained before. It is *frozen*: nothing changes it. A and B,
# the two *factors*, are what LoRA trains, and here they are as after some training. (At the start B
# is zero, and the layer is W0: notebook [05](05-start-from-zero.ipynb).) The update of W0 is s B A,
# with the *scaling* s = alpha / r. The input x is one row.
#
# A has r rows and as many columns as the layer has inputs; B has as many rows as outputs, and r
# columns. The *rank* r is chosen before training (here 2), and so is alpha (here 2).

# %%
W0 = np.array(
    [
        [0.80, 0.20, 0.30, 0.70],
        [0.40, 0.90, 0.10, 0.60],
        [0.30, 0.50, 0.70, 0.20],
        [0.60, 0.10, 0.80, 0.40],
    ]
)
A = np.array([[0.10, 0.20, 0.30, 0.40], [0.50, 0.60, 0.70, 0.80]])
B = np.array([[0.10, 0.20], [0.30, 0.40], [0.50, 0.60], [0.70, 0.80]])
alpha = 2.0
x = np.array([[2.0, -1.0, 1.0, 0.5]])

# %% [markdown]
# You may change any entry and alpha, and take a row of A and a column of B away (r = 1): the cells
# up to the merge follow, the text does not. Put all back before you judge the article.
#
# The numbers come from a Chinese article, 《LoRA核心公式》. Below are six of its statements, in
# our words. ([Our list](../docs/article.md) has their places and all verdicts, so judge first.)
#
# 1. The update is A B, and it has the size of W0.
# 2. W0 has rank 4.
# 3. The first entry of A B is 0.10 + 0.06 + 0.15 + 0.28 = 0.59.
# 4. W = W0 + A B, where A B is the 4 x 2 matrix below. To add it to the 4 x 4 W0, its two columns
#    are written a second time beside it.
# 5. For given A and B, alpha > r makes the update stronger, and alpha < r makes it weaker.
# 6. The norm of W - W0 is 8.97. It is the error of the approximation, smaller for larger r.
#
# ```text
# 0.59  0.74
# 1.39  1.74
# 2.19  2.74
# 2.99  3.74
# ```
#
# At least one line is right, and at least one is wrong. Before you compute: how likely is each to
# be right, in per cent? Write it in place of None.

# %%
verdict = {1: None, 2: None, 3: None, 4: None, 5: None, 6: None}

# %% [markdown]
# **Predict.** How many numbers does W0 have, and how many do A and B have together? And for a W0 of
# 4096 x 4096 with r = 8, how many per cent of it are they?

# %% exact
r = len(A)
s = alpha / r
d, rank = 4096, 8
print(f"W0 {W0.shape}, A {A.shape}, B {B.shape}, r = {r}, scaling s = alpha / r = {s}")
print(f"numbers: W0 has {W0.size}, A and B have {A.size + B.size}")
print(f"width {d}, r = {rank}: {d * d:,} and {rank * (d + d):,}, {rank * (d + d) / d**2:.2%}")

# %% [markdown]
# So the small example shows how LoRA works, and not what it saves.
#
# > **Remember.** At a fixed rank, the numbers in A and B grow with the width, and those in W0 with
# > its square.
# >
# > 秩固定时，A 和 B 的参数量随宽度线性增长，W0 的参数量随宽度的平方增长。

# %% [markdown]
# ## B A by hand
#
# The entry of B A in row o and column j is row o of B times column j of A: o counts outputs, and j
# inputs.
#
# **Predict.** With a pencil: what is the entry of B A in the first row and first column?

# %% exact
products = " + ".join(f"{b} * {a}" for b, a in zip(B[0], A[:, 0], strict=True))
print(f"by hand: {products} = {B[0] @ A[:, 0]:.2f}")
print((B @ A).round(4))

# %% [markdown]
# The same matrix is a sum, as in notebook 02: each column of B times the row of A with the same
# number.

# %% to 1e-6
FIGURES["outer-products"].picture(B=B, A=A)

# %% [markdown]
# Two columns and two rows are stored. Do they point in different directions?
#
# **Predict.** Let both columns of B be the same, and the rows of A orthogonal: which rank has B A?
# And is the second singular value of our B A large or small beside the first?

# %% to 1e-6
terms = [np.outer(B[:, k], A[k]) for k in range(r)]
print("the same as B @ A:", np.allclose(sum(terms), B @ A))
print("equal columns, orthogonal rows: rank", np.linalg.matrix_rank(np.ones((4, 2)) @ np.eye(2, 4)))
for name, one, other in (("columns of B", B[:, 0], B[:, -1]), ("rows of A", A[0], A[-1])):
    cosine = one @ other / (np.linalg.norm(one) * np.linalg.norm(other))
    print(f"{name}: sine of the angle between them {np.sqrt(abs(1 - cosine**2)):.3f}")
print("singular values of B A", np.linalg.svd(B @ A)[1][:2].round(4))

# %% [markdown]
# A column b twice gives b times the sum of the rows, rank 1: it is enough that the columns *or* the
# rows are parallel. Here both nearly are: the rank is 2, and nearly 1.
#
# <details><summary>How nearly</summary>
#
# For r = 2 the two largest singular values have as product the area that the columns of B span
# times that of the rows of A. (Squared, the values are the eigenvalues of (BᵀB)(AAᵀ), and the
# determinant of a product is the product.) An area is two lengths times the sine. Both sines are
# small here, 0.089 and 0.248, and the first value is not: so the second is.
#
# </details>
#
# > **Remember.** B A is the sum of each column of B times the row of A with the same number.
# >
# > B A 等于 B 的每一列乘 A 中序号相同的那一行，再求和。

# %% [markdown]
# ## One input, two ways
#
# On the first way A takes x from 4 numbers to 2, and B makes 4 out of these 2: B (A x). (For a row,
# as in the code, that is (x Aᵀ) Bᵀ.) The second way forms W = W0 + s B A first, and sends x
# through W.
#
# **Predict.** What is A x, with the pencil? Which way takes fewer multiplications for this one row?

# %% to 1e-12
h = x @ A.T
two_paths = x @ W0.T + s * (h @ B.T)
W = W0 + s * (B @ A)
one_weight = x @ W.T
print("h:           ", h)
print("on two paths:", two_paths)
print("through W:   ", one_weight)

# %% [markdown]
# The layer of our package, lora_ref, takes the two paths:
# [layers/lora.py](../lora_ref/layers/lora.py).

# %% exact
layer = LoRALinear(W0, A, B, alpha)
print(layer)
print("the same as the package's layer:", np.allclose(layer.forward(x)[0], two_paths))
paths, forming = W0.size + A.size + B.size, B.size * A.shape[1]
print(f"multiplications, two paths: {W0.size} + {A.size} + {B.size} = {paths}")
print(f"multiplications, through W: {forming} to form B A, {W.size} more = {forming + W.size}")

# %% [markdown]
# So 32 against 48. (Multiplications by s are not counted.) With many rows the second way is
# cheaper, because B A is formed only once.
#
# **Predict.** For how many rows is forming B A cheaper: here, and at width 4096 with r = 8? (Write
# down both counts for n rows, width d and rank r.)

# %% exact
for width, low in ((len(W0), r), (d, rank)):
    for n in (width // 2, width // 2 + 1):
        paths, formed = n * (width**2 + 2 * width * low), low * width**2 + n * width**2
        print(f"width {width}, {n} rows: two paths {paths:,}, through W {formed:,}")

# %% [markdown]
# For more than d/2 rows, whatever r is: the two paths add 2 d r a row, and forming B A takes r d²
# once. That is the forward pass alone. On the way back a formed B A has a gradient of its own, n d²
# for n rows and as large as W0. The two paths never form it, and so LoRA trains on them (notebook
# [04](04-derive-and-check-the-gradients.ipynb)).
#
# > **Remember.** B (A x) and (B A) x are equal, and the first never needs the large matrix.
# >
# > B(Ax) 与 (BA)x 相等，而前者不需要算出大矩阵。

# %% [markdown]
# ## Fold it in
#
# W is a plain weight of the size of W0. Computing W once, and keeping it in place of W0, A and B,
# is called a *merge*. Find 0.91 = 0.80 + 0.11 in the picture.

# %% to 1e-6
FIGURES["matrices"].picture(W0=W0, A=A, B=B, alpha=alpha)

# %% exact
print("the package's merge is the same:", np.allclose(layer.merge().W, W))
print(f"multiplications: merged {W.size}, before LoRA {W0.size}")
print(f"not merged {W0.size + A.size + B.size}; at width {d}, r = {rank}: {2 * rank / d:.2%} more")

# %% [markdown]
# After the merge a row costs nothing extra. Without it the two paths add a share of 2 r / d: a
# small one at a large width, and here, where r is half of d, all of W0 again.
#
# The merge has a price: W serves one task. The rows of a batch cannot use different tasks, and a
# switch needs another pass over W.
#
# **Predict.** How many numbers do ten tasks take at width 4096 with r = 8: ten merged W, or one W0
# and ten pairs of A and B?

# %% exact
tasks = 10
print(f"merged, {tasks} W:        {tasks * d**2:>11,}")
print(f"W0 and {tasks} pairs A, B: {d**2 + tasks * 2 * d * rank:>11,}")

# %% [markdown]
# **Predict.** Take the update out again, W - s B A. How many of the 16 entries of W0 are not the
# same to the last bit: none, some or all? And if every number has 16 bits in place of 64?

# %% order of magnitude
back = W - s * (B @ A)
halved, update = W0.astype(np.float16), (s * (B @ A)).astype(np.float16)
for name, start, end in (("64 bits", W0, back), ("16 bits", halved, halved + update - update)):
    changed, largest = np.count_nonzero(end != start), np.abs(end - start).max()
    print(f"in {name}: {changed} of {W0.size} entries differ, by up to {largest:.0e}")

# %% [markdown]
# Each sum was rounded: to 53 binary digits in 64 bits, and to 11 in float16 (8 in bfloat16). So
# keep W0.
#
# ### The same in PEFT
#
# PEFT is a library for LoRA on PyTorch. The same numbers there (not run here):
#
# ```python
# import torch
# from peft import LoraConfig, get_peft_model
#
# base = torch.nn.Sequential(torch.nn.Linear(4, 4, bias=False))
# base[0].weight.data = torch.tensor(W0).float()
# model = get_peft_model(base, LoraConfig(r=2, lora_alpha=2, target_modules=["0"]))
# layer = model.base_model.model[0]
# layer.lora_A["default"].weight.data = torch.tensor(A).float()  # (r, in_features), as here
# layer.lora_B["default"].weight.data = torch.tensor(B).float()  # (out_features, r)
# merged = model.merge_and_unload()  # merged[0].weight is W0 + (alpha/r) B A
# ```
#
# > **Remember.** A merge makes one plain weight W0 + s B A; taking the update out again gives W0
# > back only up to rounding.
# >
# > 合并得到一个普通权重 W0 + s B A，再减去更新量时，只能在舍入误差以内恢复 W0。

# %% [markdown]
# ## Six lines of an article
#
# Now settle the six. For each, think first of the line of NumPy that does it.
#
# ### Line 1: the update is A B
#
# **Predict.** What shape does `A @ B` have here? And with 7 inputs and 5 outputs: what shapes do
# A B and B A have, if they exist?

# %% exact
A_wide, B_tall = np.zeros((r, 7)), np.zeros((5, r))
print("here: A @ B", (A @ B).shape, " B @ A", (B @ A).shape)
print("7 in, 5 out: B @ A", (B_tall @ A_wide).shape)
print("A @ B would need equal numbers:", A_wide.shape[1], "columns,", len(B_tall), "rows")

# %% [markdown]
# Line 1 is wrong. A B is r x r, and it exists only because W0 is square. x meets A first, so A
# stands next to x: B (A x), and its matrix is B A. (With A stored as in x r and B as r x out, A B
# would be right. The shapes decide.)
#
# ### Line 2: W0 has rank 4
#
# **Predict.** On paper, rank below 4 means a singular value of 0. What would NumPy have in its
# place?

# %% order of magnitude
print("W0: rank", np.linalg.matrix_rank(W0), "singular values", np.linalg.svd(W0)[1].round(4))
of_update = np.linalg.svd(B @ A)[1]
print(f"B A: rank {np.linalg.matrix_rank(B @ A)}, the singular value behind: {of_update[r]:.0e}")
print(f"matrix_rank counts above {of_update[0] * len(W0) * np.finfo(float).eps:.1e}")

# %% [markdown]
# Line 2 is right. Rounding leaves a little in place of a zero, so `matrix_rank` counts what is
# above the largest singular value x the larger side x 2⁻⁵².
#
# ### Line 3: the first entry is 0.59
#
# **Predict.** Take A B as it is written, a row of A times a column of B. What is its first entry?

# %% exact
print("the four products:", (A[0] * B[:, 0]).round(4), "and their sum:", round(A[0] @ B[:, 0], 4))

# %% [markdown]
# Line 3 is wrong: 0.10 x 0.10 is 0.01, so the entry is 0.50. A product of two numbers strictly
# between 0 and 1 is smaller than both of them: that alone would have caught it.
#
# ### Line 4: the matrix, written twice
#
# **Predict.** A B is 2 x 2 here, and B A 4 x 4. How many of the article's eight entries do you
# expect to find in one of them?

# %% to 1e-9
as_printed = np.array([[0.59, 0.74], [1.39, 1.74], [2.19, 2.74], [2.99, 3.74]])
print("A B:", *(A @ B).round(4).tolist())
for name, product in {"A B": A @ B, "B A": B @ A}.items():
    found = [any(abs(e - p) < 0.005 for p in product.flat) for e in as_printed.flat]
    print(f"entries of the article's matrix that are in {name}: {sum(found)} of {len(found)}")

# %% [markdown]
# None is. The first, 0.59, is the slip of line 3; we do not know the cause of the rest. Call the
# matrix, written twice, the tiled one.
#
# **Predict.** Do the tiled matrix and B A tell the first input from the third? Subtract columns.

# %% exact
tiled = np.hstack([as_printed, as_printed])
for name, update in {"tiled": tiled, "B A": B @ A}.items():
    print(f"{name}, third column less first:", (update[:, 2] - update[:, 0]).round(4))

# %% [markdown]
# Line 4 is wrong twice: the matrix is neither A B nor B A, and nothing in the algebra allows
# writing a 4 x 2 matrix twice so that it fits W0. Written twice, it answers inputs 1 and 3 alike.
# An update of rank 2 always has directions that it does not see: for B A, each x with A x = 0. The
# random start of A chooses them first, and training turns them. In the tiled matrix, the layout of
# a page chose them.
#
# ### Line 5: alpha > r, alpha < r
#
# **Predict.** How does the norm of the update change from alpha = 1 to 2 and to 8?

# %% to 1e-6
by_alpha = [np.linalg.norm(strength / r * B @ A) for strength in (1, 2, 8)]
print("alpha = 1, 2, 8: norms", np.round(by_alpha, 4))

# %% [markdown]
# Line 5 is right: the update is proportional to alpha, and B A itself at alpha = r. The words "for
# given A and B" are ours. In training A and B depend on alpha too: notebook
# [06](06-scale-the-update.ipynb).
#
# ### Line 6: the norm is 8.97, and an error
#
# **Predict.** The norm of a product is at most the product of the norms. What does that give for B
# A, with a pencil? (The Frobenius norm is the root of the sum of all squared entries.)

# %% to 1e-6
most = s * np.linalg.norm(B) * np.linalg.norm(A)
print(f"squares: A {np.sum(A**2):.2f}, B {np.sum(B**2):.2f}, so the norm is at most {most:.2f}")
print(f"W - W0: {np.linalg.norm(W - W0):.4f}")
print(f"the tiled matrix: {np.linalg.norm(tiled):.4f}")

# %% [markdown]
# Line 6 is wrong: the norm of W - W0 is 1.93. Even the tiled matrix has 9.065; where 8.97 comes
# from, we do not know. The name is wrong as well. The norm of W - W0 is zero where nothing was
# learnt, so it is the **size of the update**. (Training decides how it depends on r: notebook
# [07](07-train-a-low-rank-update.ipynb).) Perhaps it was mixed up with an *error of approximation*,
# a distance to what is approximated:

# %% to 1e-6
for k in range(min(W0.shape) + 1):
    distance = lowrank.truncation_error(W0, k).frobenius
    print(f"from W0 to the nearest matrix of rank {k}: {distance:.4f}")

# %% [markdown]
# This one falls as k grows. It says nothing about LoRA, which leaves W0 as it is. (The distance to
# the change that a task *wants* does matter: notebook 07 again.)
#
# How good were your guesses? The mean squared error of your probabilities is 0.25 for one who
# always says 50 %. Did you beat that?

# %% exact
settled = {
    1: (A @ B).shape == W0.shape,
    2: np.linalg.matrix_rank(W0) == 4,
    3: round(A[0] @ B[:, 0], 2) == 0.59,
    4: np.allclose(tiled, B @ A),
    5: by_alpha == sorted(by_alpha),
    6: round(np.linalg.norm(W - W0), 2) == 8.97,
}
misses = []
for line, right in settled.items():
    print(f"line {line}: {'right' if right else 'wrong'}")
    if verdict[line] is not None:
        misses += [(verdict[line] / 100 - right) ** 2]
if misses:
    print(f"your mean squared error: {np.mean(misses):.3f}")

# %% [markdown]
# Where the article writes A B, read B A: then the shapes fit. Notebook
# [13](13-judge-the-textbook.ipynb) shows how to judge a text of your own.
#
# > **Remember.** Ask for the shape of a product, do one entry by hand, and say what a norm is the
# > norm of.
# >
# > 先问乘积的形状，再手算一个元素，最后问清范数是谁的范数。

# %% [markdown]
# ## Exercises
#
# No matrix in the checks is square, so A B does not pass by accident, and alpha is not r. For the
# hints, `from lora_ref.exercises import hint`.
#
# ### `delta-w`: the update of the weight

# %% exact
print(show("delta-w"))


# %%
def delta_w(A, B, alpha): ...


check("delta-w", delta_w)

# %% [markdown]
# ### `forward`: a batch in which some rows leave the update out

# %% exact
print(show("forward"))


# %%
def forward(x, W0, A, B, alpha, on): ...


check("forward", forward)

# %% [markdown]
# ### `merge`: another task in a weight that is already merged

# %% exact
print(show("merge"))


# %%
def merge(W, A, B, alpha, new_A, new_B, new_alpha): ...


check("merge", merge)

# %% [markdown]
# ### To think about
#
# 1. Find another A and another B, with other numbers in all places, and with the same B A.
# 2. Find an x that is not zero, and that the update does not see. How many such directions are
#    there? Does W0 see them?
#
# <details><summary>Answers</summary>
#
# 1. Take any 2 x 2 matrix M that has an inverse: B M⁻¹ and M A. All numbers change with
#    `M = np.array([[2, 1], [1, 1]])`.
# 2. A x = 0 for `x = np.array([1, -2, 1, 0])`. A has rank 2 and four columns, so there are two such
#    directions. W0 has rank 4, and sees both.
#
# </details>

# %% [markdown]
# ## In practice
#
# - **Test shapes with no two sides equal.** Choose in_features, out_features and r all different.
#   Then A B does not exist, and a transposed factor does not fit.
# - `lora-ref walkthrough --exact` prints this example in fractions, with gradients.

# %% [markdown]
# ## Further reading
#
# - E. Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", 2021, arXiv 2106.09685,
#   section 4.1: the update is B A, with B of d x r and A of r x k.
# - [Notation](../docs/notation.md): who writes which factor first, and in which shapes.
# - Next: [04 · Derive and check the gradients](04-derive-and-check-the-gradients.ipynb).

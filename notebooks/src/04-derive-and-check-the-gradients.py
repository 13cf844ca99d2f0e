# %% [markdown]
# # 04 · Derive and check the gradients
#
# Training moves A and B against their gradients, and a wrong gradient raises no error. A library
# derives them where you do not see it; once you have derived them yourself, you know what "frozen"
# means, what B = 0 does to the first step, and how to find a mistake in a gradient.
#
# **You will** derive the backward pass of a LoRA layer, four lines of NumPy, and compare each line
# with difference quotients and with the package's layer. Then you will break the lines, one at a
# time, and build a check that notices.
#
# **You will learn** where each of the three gradients comes from, whether a falling loss proves
# anything, which step a difference quotient needs, and at which points a wrong gradient looks
# right.
#
# **You need** the layer of notebook [03](03-walk-through-the-example.ipynb), matrix products and
# partial derivatives, 45 minutes, and 15 to 25 more for the exercises.

# %%
import numpy as np

from lora_ref.exercises import check, show
from lora_ref.figures import FIGURES
from lora_ref.gradcheck import EXACT_TOLERANCE, gradient_errors
from lora_ref.layers import LoRALinear

# %% [markdown]
# ## Four lines forward
#
# Inputs are rows: x is (n, in), W0 is (out, in), A is (r, in), B is (out, r), and s is the scaling
# alpha/r. A row of x takes two paths to y. One leads through W0, which is frozen. The other leads
# through A to h, which has only r numbers a row, and from there through B:
#
# $$h = x A^\top, \qquad y = x W_0^\top + s\, h B^\top$$


# %%
def forward(x, W0, A, B, s):
    h = x @ A.T
    base = x @ W0.T
    y = base + s * h @ B.T
    return y, h


# %% [markdown]
# Here is a layer with numbers so small that you can follow it on paper. It has n = 2 rows. The
# dictionary `small` keeps its five parts together, and `forward(**small)` hands them over by their
# names. The last line compares this `forward` with the package's layer,
# [layers/lora.py](../lora_ref/layers/lora.py).

# %% exact
x = np.array([[1, 2, 0, 1], [0, 1, 1, -1]], float)
W0 = np.array([[1, 0, 0, 2], [0, 1, -1, 0], [1, 1, 0, 0]], float)
A = np.array([[1, 0, 1, 0], [0, 1, 0, 1]], float)
B = np.array([[1, 0], [2, 1], [0, -1]], float)
alpha = 4
s = alpha / len(A)
small = {"x": x, "W0": W0, "A": A, "B": B, "s": s}

y, h = forward(**small)
print("h\n", h)
print("y\n", y)
layer = LoRALinear(W0, A, B, alpha)
print("y is the same as the package's:", np.allclose(y, layer.forward(x)[0]))

# %% [markdown]
# The factor s multiplies the second path alone: twice the s doubles y minus `base`, and neither h
# nor y. Keep an eye on it on the way back.
#
# > **Remember.** A LoRA layer adds two paths, and the scaling stands on the second one only.
# >
# > LoRA 层把两条路相加，缩放系数只作用在经过 A 和 B 的那一条上。

# %% [markdown]
# ## Move one entry
#
# A layer does not know the loss L. It is given the gradient of L with respect to y, an array of the
# shape of y, which is written g here: if `y[i, o]` grows a little, L grows `g[i, o]` times as much.
# So if y changes by a little, L changes by the sum of g times the changes. The *backward pass* has
# to return the same kind of array for x, for A and for B.
#
# You can find any of these numbers without a formula. Move the entry by a step, run `forward`, and
# divide the change by the step. But the change of what? There are two candidates: the loss itself,
# and the sum of `g * y`, where g stays fixed.
#
# Let the loss be half of the sum of the squares of y minus a target: then g is the difference.
# (`at | {name: M}` is a copy of the dictionary `at` in which one part is replaced.)


# %% exact
def loss(y):
    return np.sum((y - target) ** 2) / 2


def total(at, g):
    return np.sum(g * forward(**at)[0])


def moved(at, name, entry, step):
    M = np.array(at[name], float)
    M[entry] += step
    return at | {name: M}


target = np.array([[4, 10, 0], [1, 4, 3]], float)
g = y - target
print("g\n", g)

# %% [markdown]
# **Predict.** The entry `B[2, 1]` moves by 0.001, by 1 and by 1000. Does the slope of the loss
# depend on the step? Does the slope of the sum of `g * y`?

# %% to 1e-6
for step in (0.001, 1, 1000):
    there = moved(small, "B", (2, 1), step)
    of_loss = (loss(forward(**there)[0]) - loss(y)) / step
    of_total = (total(there, g) - total(small, g)) / step
    print(f"step {step:>6}: slope of the loss {of_loss:10.3f}, of the sum of g * y {of_total:8.3f}")

# %% [markdown]
# The second column is the same for *every* step: if B alone moves, y moves along a straight line.
# (The word is *affine*: y is affine in B alone, in A alone, and in x alone.) The loss is curved, so
# its slope depends on the step. As the step shrinks, it approaches the second column, because to
# first order the loss changes by the sum of g times the change of y, and that is how the sum of
# `g * y` changes for any step. So the second column is the gradient of the loss, and you can get
# it with a step as large as you like. You will use that below.
#
# > **Remember.** The gradient of an entry is the slope of the sum of g * y when this entry alone
# > moves, and for LoRA any step gives it.
# >
# > 固定 g，只移动一个元素，g 与 y 逐元素乘积之和的斜率就是它的梯度，对 LoRA 来说步长任意。

# %% [markdown]
# ## The gradient of B
#
# B is next to the output, so begin there. Call the rows i, the outputs o, the inputs j, and the
# ranks, which are the columns of h, k.
#
# **Predict.** `B[2, 1]` grows by 1. Which entries of y move, and by how much? Think of y with its
# rows and columns before you look.

# %% exact
y_moved, _ = forward(**moved(small, "B", (2, 1), 1))
print("y moves by\n", y_moved - y)
print("s times column 1 of h:", s * h[:, 1])

# %% [markdown]
# One column of y moves: output o = 2, in every row i, by s times `h[i, 1]`. Weigh each with g, and
# add up the rows:
#
# $$\frac{\partial L}{\partial B_{ok}} = s \sum_i g_{io} h_{ik}$$
#
# That is one entry. With g of shape (n, out) and h of shape (n, r), the product s g^T h has all of
# them at once, each in its place.


# %% exact
def differences(at, name, g, step=1.0):
    grad = np.zeros(at[name].shape)
    for entry in np.ndindex(grad.shape):
        ahead, behind = (total(moved(at, name, entry, way * step), g) for way in (1, -1))
        grad[entry] = (ahead - behind) / (2 * step)
    return grad


grad_B = s * g.T @ h
print("s g^T h\n", grad_B)
print("the same as entry by entry:", np.allclose(grad_B, differences(small, "B", g)))

# %% [markdown]
# `differences` moves every entry of a matrix, one after the other, forward and back. It is slow and
# knows no formula, so it is a good judge of one.
#
# > **Remember.** The gradient of B is s g^T h, and B itself is not in it.
# >
# > B 的梯度是 s 乘以 g 的转置再乘 h，其中不含 B 自己。

# %% [markdown]
# ## The gradient of A
#
# **Predict.** `A[0, 1]` grows by 1. How many entries of y move this time?

# %% exact
y_moved, _ = forward(**moved(small, "A", (0, 1), 1))
print("y moves by\n", y_moved - y)
print("s times column 1 of x, times column 0 of B\n", s * np.outer(x[:, 1], B[:, 0]))

# %% [markdown]
# A is one step further from y. Its entry moves one column of h, and h moves every output for which
# B has an entry that is not zero. So go back in two steps. First, what is the slope of L in an
# entry of h? It touches every output o, by s times `B[o, k]`. (All these slopes together are the
# gradient of h, written $\nabla_h$.)
#
# $$\frac{\partial L}{\partial h_{ik}} = s \sum_o g_{io} B_{ok}
# \qquad\text{so}\qquad \nabla_h = s\, g B$$
#
# Then the same move as before. An entry of A moves one column of h, by a column of x:
#
# $$\frac{\partial L}{\partial A_{kj}} = \sum_i (\nabla_h)_{ik} x_{ij}
# \qquad\text{so}\qquad \nabla_A = \nabla_h^\top x$$

# %% exact
grad_h = s * g @ B
grad_A = grad_h.T @ x
print("s (g B)^T x\n", grad_A)
print("the same as entry by entry:", np.allclose(grad_A, differences(small, "A", g)))

# %% [markdown]
# **Predict.** LoRA starts with B = 0. Which of the two gradients is zero there?

# %% exact
start = small | {"B": 0 * B}
print("at B = 0, is the gradient of A zero?", not differences(start, "A", g).any())
print("at B = 0, is the gradient of B zero?", not differences(start, "B", g).any())

# %% [markdown]
# The gradient of A has B in it, and the gradient of B has A in it, by way of h. At the start A
# therefore stands still for one step, and B moves first. Notebook
# [05](05-start-from-zero.ipynb) is about this start.
#
# > **Remember.** The gradient of A is s (g B)^T x: it comes back through B, so it is zero where
# > B is zero.
# >
# > A 的梯度要先穿过 B，再与输入 x 相乘，所以 B 为零时它也是零。

# %% [markdown]
# ## And W0?
#
# **Predict.** You may read somewhere: "W0 is frozen, so the gradient of W0 is 0." You have a judge
# that knows no formula. What will it say about W0? If it is not 0, which product is it?

# %% exact
print("the gradient of W0, entry by entry\n", differences(small, "W0", g))
print("the same as g^T x:", np.allclose(differences(small, "W0", g), g.T @ x))

# %% [markdown]
# The gradient is g^T x, and in general it is not zero. Frozen is a decision: the product is not
# computed, and nothing is subtracted from W0. That saves an array of the size of W0, and all that
# an optimiser would keep for it. Notebook [12](12-count-what-it-costs.ipynb) counts that.
#
# Write G for g^T x. It holds the gradients of A and B too:

# %% exact
G = g.T @ x
print("the gradient of A is s B^T G:", np.allclose(grad_A, s * B.T @ G))
print("the gradient of B is s G A^T:", np.allclose(grad_B, s * G @ A.T))

# %% [markdown]
# All that A and B learn from is G, seen through the other factor. Full fine-tuning would step
# along the same G if its weight were W0 + s B A, because y is then the same. Nobody computes the
# gradients of A and B in this order, because it would form G after all.
#
# > **Remember.** W0 has a gradient, g^T x; frozen means that nobody computes it.
# >
# > W0 的梯度存在，一般不为零；冻结的意思是不去计算它，也不更新 W0。

# %% [markdown]
# ## Down to the layer below
#
# One gradient is left. If another layer stands below this one, its y is our x, and its g is
# our gradient of x.
#
# **Predict.** W0 is frozen and gets no update. Will W0 appear in the gradient of x?

# %% exact
y_moved, _ = forward(**moved(small, "x", (0, 1), 1))
print("x[0, 1] grows by 1, and row 0 of y moves by", y_moved[0] - y[0])
print("through W0:     ", W0[:, 1])
print("through A and B:", s * B @ A[:, 1])

# %% [markdown]
# It does. x moves y on both paths, and the gradient returns on both: through W0 as it is, and
# through B and A, where its slope in h is known already.
#
# $$\nabla_x = g W_0 + \nabla_h A$$
#
# The picture shows all of it, for a layer of the width of BERT-base and GPT-2. Read it from left to
# right along the solid arrows, and then from right to left along the dashed ones. Look at one box
# after the other: **what enters a box on the way forward and what enters it on the way back make
# its gradient.** For B these are h and s g, for A they are x and s g B, and for W0 they would be x
# and g.

# %% exact
FIGURES["gradient-paths"].picture(out_features=768, in_features=768, r=8, alpha=16)

# %% [markdown]
# That is the whole backward pass, in four lines:


# %% exact
def backward(g, h, x, W0, A, B, s):
    grad_h = s * g @ B
    grad_A = grad_h.T @ x
    grad_B = s * g.T @ h
    grad_x = g @ W0 + grad_h @ A
    return {"x": grad_x, "A": grad_A, "B": grad_B}


by_hand = backward(g, h, **small)
grad_x, grads = layer.backward(g, layer.forward(x)[1])
theirs = {"x": grad_x, **grads}
for name, grad in by_hand.items():
    print(f"gradient of {name}, {grad.shape}")
    print("  the same as entry by entry: ", np.allclose(grad, differences(small, name, g)))
    print("  the same as the package's:  ", np.allclose(grad, theirs[name]))

# %% [markdown]
# The package's `backward` has the same lines, with a few more for dropout and a bias. In a
# training step of the whole weight, three products cost n x in x out multiplications each: x W0^T,
# g W0 and g^T x. LoRA saves the third.
#
# Change some of the small numbers at the top now, and run the cells again in order. Every "the same
# as" above should stay True.
#
# > **Remember.** x reaches y on two paths, so its gradient is a sum of two terms, and a frozen W0
# > still lets the gradient pass.
# >
# > 输入沿两条路到达输出，梯度也沿两条路返回，冻结的 W0 照样让梯度通过。

# %% [markdown]
# ## What the loss says
#
# How would you notice a wrong line in `backward`? Most people look at the loss. Here are the four
# lines as text, so that one of them can be exchanged, and eight mistakes of one line each. (`eval`
# computes what a line of text says.) **Add one of your own.**

# %%
LINES = {
    "grad_h": "s * g @ B",
    "grad_A": "grad_h.T @ x",
    "grad_B": "s * g.T @ h",
    "grad_x": "g @ W0 + grad_h @ A",
}
MISTAKES = {
    "right": {},
    "scaling forgotten": {"grad_h": "g @ B"},
    "scaling twice": {"grad_B": "s * s * g.T @ h"},
    "mean for sum": {"grad_B": "s * g.T @ h / len(g)"},
    "A tenfold": {"grad_A": "10 * grad_h.T @ x"},
    "A uphill": {"grad_A": "-grad_h.T @ x"},
    "rows reversed": {"grad_A": "grad_h.T @ x[::-1]"},
    "path forgotten": {"grad_x": "g @ W0"},
    "W0 transposed": {"grad_x": "g @ W0.T + grad_h @ A"},
}


def backward_by(lines, **values):
    for name, line in (LINES | lines).items():
        values[name] = eval(line, {"np": np}, values)
    return {name: values[f"grad_{name}"] for name in ("x", "A", "B")}


# %% [markdown]
# Each of them trains one layer. The target is made by another weight, which differs from W0 by a
# matrix of rank r, so LoRA can reach it. Gradient descent starts from B = 0. The loss is now the
# *mean* of the squares, so g is 2 (y - target) divided by the number of entries. The start, the
# data and the learning rate are the same for all. A control, `A never`, does not train A at all.


# %%
def train(lines, seed, steps, lr):
    d, r, n, s = 6, 2, 32, 2.5
    rng = np.random.default_rng(seed)
    x, W0 = rng.standard_normal((n, d)), rng.standard_normal((d, d))
    update = rng.standard_normal((d, r)) @ rng.standard_normal((r, d)) / 2
    target = x @ (W0 + update).T
    A, B, losses = rng.standard_normal((r, d)) / np.sqrt(d), np.zeros((d, r)), []
    for _ in range(steps):
        y, h = forward(x, W0, A, B, s)
        losses.append(np.mean((y - target) ** 2))
        g = 2 * (y - target) / y.size
        grads = backward_by(lines, g=g, h=h, x=x, W0=W0, A=A, B=B, s=s)
        A, B = A - lr * grads["A"], B - lr * grads["B"]
    return losses


# %% [markdown]
# **Predict.** For which of the eight will the loss fall? `A uphill` moves A in the wrong direction
# at every step: will its loss rise? Will any of them end lower than the right one?

# %% depends on the seed
draws = 5
CONTROL = {"A never": {"grad_A": "0 * A"}}
curves = {
    name: np.array([train(lines, seed, steps=80, lr=0.03) for seed in range(draws)])
    for name, lines in (MISTAKES | CONTROL).items()
}
shares = {name: np.median(ours / ours[:, :1], axis=0) for name, ours in curves.items()}
right, never = curves["right"], curves["A never"]
print(f"{draws} draws of W0, data and start; on how many of them")
print(f"{'the last loss':<18} {'falls':>6} {'= right':>9} {'< right':>9} {'> A never':>10}", end="")
print("  median end, as a share of the start")
for name, ours in curves.items():
    falls = np.sum(ours[:, -1] < ours[:, 0])
    same, lower = np.sum((ours == right).all(axis=1)), np.sum(ours[:, -1] < right[:, -1])
    worse = np.sum(ours[:, -1] > never[:, -1])
    print(f"{name:<18} {falls:>6} {same:>9} {lower:>9} {worse:>10} {shares[name][-1]:>9.3f}")

# %% [markdown]
# The picture shows the medians at every step, each as a share of the loss at the start.

# %% depends on the seed
shown = ("right", "A tenfold", "rows reversed", "A never")
FIGURES["descent"].picture(losses={name: shares[name] for name in shown}, floors={})

# %% [markdown]
# - **A falling loss asks little.** A small step lowers the loss if it makes an angle of less than
#   90 degrees with the right step. A positive factor on one matrix keeps the angle below that. Even
#   `A uphill` falls on most of these draws: B still learns rightly, and gains more than A loses.
# - **A falling loss needs a control.** `rows reversed` falls on every draw. On three of the five it
#   ends above `A never`, so training A on the wrong rows is worse there than not training it.
# - **Two mistakes give exactly the right curve**, because in a single layer nobody reads the
#   gradient of x. With a layer below, it is that layer that would learn wrongly.
# - **Two mistakes end lower than the right one here.** A factor on one gradient is a learning rate
#   of its own for this matrix, and on these draws a larger one helped. A comparison of loss curves
#   would have chosen a wrong backward.
#
# > **Remember.** A falling loss does not show that a gradient is right, and a lower loss does not
# > show it either.
# >
# > 损失下降不能证明梯度正确，降得更低也不能。

# %% [markdown]
# ## A check that can fail
#
# `differences` would have found all eight. But it takes two forward passes for each entry, and a
# real layer has many.
#
# There is a cheaper question. Move *all* entries of A at once, along a random matrix D, and ask for
# one number: the slope of the sum of `g * y` along D. If the gradient is right, it is the sum of
# `grad * D`. Every entry of the gradient has a random weight in this sum, so a mistake shows,
# wherever it is.


# %%
def error(at, g, name, grad, step, seed=1, last=lambda y: y):
    def total(M):
        return np.sum(g * last(forward(**(at | {name: M}))[0]))

    D = np.random.default_rng(seed).standard_normal(at[name].shape)
    slope = (total(at[name] + step * D) - total(at[name] - step * D)) / (2 * step)
    return abs(slope - np.sum(grad * D)) / (np.linalg.norm(grad) * np.linalg.norm(D) or 1.0)


# %% [markdown]
# The last line divides by the largest sum of `grad * D` that a D of this length could give
# (Cauchy-Schwarz), so the error does not depend on units. Where grad is 0 it divides by 1. (`last`
# is a function behind the layer, for the next section. Here it leaves y as it is.)
#
# How many forward passes does that save, for A and B beside a W0 of 768 x 768?

# %% exact
out_features, in_features, r = 768, 768, 8
entries = r * (in_features + out_features)
print(f"entry by entry: {2 * entries:,}, along directions: {2 * 2}")

# %% [markdown]
# Now check the right lines and all the wrong ones, at a random point: W0, A, B, x and also g are
# drawn, for reasons that you will see.
#
# **Predict.** How large is the error of a right gradient, and how large is that of a wrong one?
# Which of the three gradients gives each mistake away?


# %%
def drawn(n, d, r, alpha, seed):
    rng = np.random.default_rng(seed)
    shapes = {"x": (n, d), "W0": (d, d), "A": (r, d), "B": (d, r)}
    at = {name: rng.standard_normal(shape) for name, shape in shapes.items()}
    return at | {"s": alpha / r}, rng.standard_normal((n, d))


def errors_of(lines, at, g, step=1.0):
    grads = backward_by(lines, g=g, h=forward(**at)[1], **at)
    return {name: error(at, g, name, grad, step) for name, grad in grads.items()}


# %% order of magnitude
usual, g_usual = drawn(n=4, d=6, r=2, alpha=5, seed=0)
for name, lines in MISTAKES.items():
    errors = errors_of(lines, usual, g_usual)
    found = ", ".join(each for each, size in errors.items() if size > EXACT_TOLERANCE)
    largest = max(1e-16, *errors.values())
    print(f"{name:<18} largest error {largest:.0e}   caught by {found or 'nothing'}")

# %% [markdown]
# Right is rounding, near 1e-16. Wrong is a few hundredths and more. Between the two lies a wide
# gap, and a tolerance of 1e-12 stands in it. It would notice far smaller mistakes than these:

# %% order of magnitude
nearly = {"grad_A": "1.000001 * grad_h.T @ x"}
size = errors_of(nearly, usual, g_usual)["A"]
print("a gradient that is off by one part in a million is noticed:", size > EXACT_TOLERANCE)

# %% [markdown]
# The package has this check for any layer: `gradient_errors`, in
# [gradcheck/differences.py](../lora_ref/gradcheck/differences.py). It draws its own g and
# directions. Does it agree?

# %% exact
ours = errors_of(MISTAKES["right"], usual, g_usual)
same = LoRALinear(usual["W0"], usual["A"], usual["B"], alpha=usual["s"] * len(usual["A"]))
package = gradient_errors(same, usual["x"], np.random.default_rng(0))
print("this check says right:       ", max(ours.values()) < EXACT_TOLERANCE)
print("the package's check says so: ", max(package.values()) < EXACT_TOLERANCE)

# %% [markdown]
# > **Remember.** Compare one slope along a random direction with the sum of gradient times
# > direction: two forward passes check a whole matrix.
# >
# > 沿一个随机方向比较差商与内积，每个矩阵只需两次前向计算就能检验全部元素。

# %% [markdown]
# ## Which step
#
# You may have learnt that a difference quotient needs a small step. Put a tanh behind the layer, so
# that y is no longer affine in A, and compare. (The gradient comes back through the tanh, so g is
# first multiplied by its derivative, 1 - tanh².)
#
# **Predict.** At which of these steps is the error least: for the LoRA layer alone, and for LoRA
# with tanh?

# %% order of magnitude
y_usual, h_usual = forward(**usual)
bent = g_usual * (1 - np.tanh(y_usual) ** 2)
alone = backward(g_usual, h_usual, **usual)["A"]
behind = backward(bent, h_usual, **usual)["A"]
for step in (1e-12, 1e-9, 1e-6, 1e-3, 1.0, 1e3):
    a = [error(usual, g_usual, "A", alone, step, seed) for seed in range(9)]
    b = [error(usual, g_usual, "A", behind, step, seed, last=np.tanh) for seed in range(9)]
    a, b = (max(1e-16, np.median(errors)) for errors in (a, b))
    print(f"step {step:.0e}: LoRA {a:.0e}   LoRA and tanh {b:.0e}   (median of 9 directions)")

# %% [markdown]
# A small step divides the rounding of the sum by a small number, an error that grows as 1/step; a
# large step leaves the tangent, an error that grows as step². So the error of a smooth layer has
# the shape of a V, and the best step lies near the cube root of the machine epsilon, 2.2e-16: about
# 6e-6. LoRA is affine in A alone, so no step is too large (until the numbers overflow). The picture
# has more steps, and as the smooth layer an Adapter: two thin matrices with a bend between them,
# which notebook [09](09-compare-the-ways-to-adapt.ipynb) compares with LoRA.

# %% order of magnitude
FIGURES["gradient-check"].picture()

# %% [markdown]
# > **Remember.** Too small a step shows rounding, too large a step shows curvature, and LoRA has no
# > curvature in any single argument.
# >
# > 步长太小则舍入误差大，太大则截断误差大；LoRA 对每个参数单独来看都是仿射的，没有截断误差。

# %% [markdown]
# ## Where they hide
#
# The check looks at one point. At a special point a wrong gradient may be the right one, and no
# tolerance helps. Each of these places is the usual one with one thing special about it. All of
# them are places where it is convenient to test.

# %%
places = {
    "usual": {},
    "B = 0": {"B": 0 * usual["B"]},
    "alpha = r": {"s": 1.0},
    "one row": {"x": usual["x"][:1]},
    "W0 = I": {"W0": np.eye(len(usual["W0"]))},
    "g = 1": {},
}

# %% [markdown]
# **Predict.** B = 0 is the start of training. How many of the eight does it hide, and which? What
# does each of the other columns hide?

# %% exact
print(" " * 18, *(f"{place:>9}" for place in places))
for name, lines in MISTAKES.items():
    row = []
    for place, special in places.items():
        at = usual | special
        weights = np.ones_like(g_usual) if place == "g = 1" else g_usual
        found = errors_of(lines, at, weights[: len(at["x"])])
        row.append("caught" if max(found.values()) > EXACT_TOLERANCE else "-")
    print(f"{name:<18}", *(f"{cell:>9}" for cell in row))

# %% [markdown]
# - **B = 0** is the start of training, where a test is easy to write, and it hides five of the
#   eight: `scaling forgotten`, `A tenfold`, `A uphill`, `rows reversed` and `path forgotten`.
#   Whatever goes wrong on the way through B is multiplied by B.
# - **alpha = r** hides both mistakes with the scaling, which is 1 there.
# - **One row** hides a division by the number of rows, and rows in the wrong order.
# - **W0 = I** hides a transposed W0, as any symmetric matrix would. If in and out differ, you find
#   this mistake without a check: `g @ W0.T` raises an error.
# - **g = 1** is what the loss `y.sum()` gives. All rows of g are alike, so it does not matter which
#   row of g meets which row of x.
#
# > **Remember.** Check away from every special point: B not zero, alpha not r, several rows, widths
# > that differ, and a random g.
# >
# > 检验要避开一切特殊点：B 不为零，缩放系数不等于一，多行输入，各维度互不相同，g 取随机值。

# %% [markdown]
# ## Exercises
#
# The layer of the first three has one thing more, dropout before A: no line above is the answer.
# Their specifications move one entry at a time, as you did. You are given x and not h, and alpha
# and not s. In the fourth you build a check, and it is tried on backwards that you do not see. If
# you are stuck, run `from lora_ref.exercises import hint`, and then what the task says about hints.
#
# ### `grad-B`: the gradient of B

# %% exact
print(show("grad-B"))


# %%
def grad_B(grad_y, x, mask, A, B, alpha): ...


check("grad-B", grad_B)

# %% [markdown]
# ### `grad-A`: the gradient of A

# %% exact
print(show("grad-A"))


# %%
def grad_A(grad_y, x, mask, A, B, alpha): ...


check("grad-A", grad_A)

# %% [markdown]
# ### `grad-x`: the gradient that goes on to the layer below

# %% exact
print(show("grad-x"))


# %%
def grad_x(grad_y, mask, W0, A, B, alpha): ...


check("grad-x", grad_x)

# %% [markdown]
# ### `gradient-check`: a check that finds hidden mistakes

# %% exact
print(show("gradient-check"))


# %%
def gradient_check(forward, backward, out_features, in_features, r): ...


check("gradient-check", gradient_check)

# %% [markdown]
# ### To think about
#
# 1. Suppose that s were trained as well. What is its gradient, in one line? Check it with a
#    difference quotient.
# 2. Put two LoRA layers on top of each other and train both with `path forgotten`. What do you
#    expect of the loss, and which experiment would show that something is wrong?
# 3. Is there a mistake in `backward` that `error` cannot find at a random point, or finds only
#    with luck?

# %% [markdown]
# ## In practice
#
# Deep learning libraries derive the backward pass for you. You write one only for an operation that
# they cannot derive or compute too slowly, such as a product with a weight that is stored in 4 bits
# (notebook [11](11-quantise-the-frozen-weight.ipynb)). Then check it like this:
#
# - Work in float64, whatever you train in. In float32 a right gradient of a layer as small as this
#   one has an error of some 1e-8, and of some 1e-5 with the tanh, so there a mistake of one part in
#   a million would pass.
# - Take a random point and a random g, widths that differ, several rows, and a dropout mask if
#   there is dropout.
# - For LoRA alone take a large step, so that what moves outweighs what stays; for a smooth layer
#   take one near 6e-6. At a kink, where the slope jumps as that of ReLU does at 0, no step helps:
#   draw another point.
# - Break the backward once on purpose. If the check stays silent, the check is broken.
#
# In this package, `gradient_errors(layer, x, rng)` takes any object that has `trainable`, `forward`
# and `backward`: [Check your own layer](../docs/check-your-own-layer.md) shows how.
# [mistakes/](../lora_ref/mistakes/__init__.py) keeps many more wrong backwards, each with the check
# that catches it.
#
# ### The same in PEFT
#
# This block is not run here. It needs `torch` and `peft`, a PyTorch `model` that has layers named
# `q_proj` and returns a tensor, an input `x` and a random `g` of the shape of that tensor. At the
# start it prints a gradient of exactly 0 for every `lora_A`, and None for every frozen weight.
#
# ```python
# from peft import LoraConfig, get_peft_model
#
# model = get_peft_model(model, LoraConfig(r=8, lora_alpha=16, target_modules=["q_proj"]))
# (g * model(x)).sum().backward()
# for name, weight in model.named_parameters():
#     print(name, None if weight.grad is None else weight.grad.abs().max().item())
# ```
#
# For a backward of your own, PyTorch has `torch.autograd.gradcheck`, which wants float64 too.

# %% [markdown]
# ## Further reading
#
# - [Derivations](../docs/derivations.md): every backward pass of the package, by differentials and
#   index by index, with the cost of each product.
# - K. B. Petersen, M. S. Pedersen, "The Matrix Cookbook", 2012: derivatives of matrix products.
# - J. Nocedal, S. J. Wright, "Numerical Optimization", 2nd edition, 2006, chapter 8: difference
#   quotients and their best step.
# - A. G. Baydin, B. A. Pearlmutter, A. A. Radul, J. M. Siskind, "Automatic differentiation in
#   machine learning: a survey", Journal of Machine Learning Research 18, 2018, arXiv 1502.05767.
# - E. Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", 2021, arXiv 2106.09685.
# - Next: [05 · Start from zero](05-start-from-zero.ipynb).

# %% [markdown]
# # 04 · Derive and check the gradients
#
# **You will** derive the three gradients of a LoRA layer by moving one entry at a time, and put
# them under a check that has caught seven wrong ones.
#
# **You will learn** why the gradients of A and B contain each other's factor, why W0 has a
# gradient that nobody computes, which step a difference quotient needs, and at which places a
# wrong backward looks right.
#
# **You need** the layer of notebook [03](03-walk-through-the-example.ipynb), partial derivatives,
# and twenty minutes.
#
# Inputs are rows: `x` is (n, in), W0 is (out, in), A is (r, in), B is (out, r), and `s` is the
# scaling alpha/r.

# %%
import warnings
from dataclasses import replace
from fractions import Fraction
from textwrap import fill

import numpy as np

from lora_ref import walkthrough
from lora_ref.claims import article, judge
from lora_ref.exact import floats
from lora_ref.exercises import check, show
from lora_ref.figures import FIGURES
from lora_ref.gradcheck import (
    EXACT_STEP,
    EXACT_TOLERANCE,
    SMOOTH_STEP,
    SMOOTH_TOLERANCE,
    gradient_errors,
    numerical_gradients,
    sgd_step,
    vjp_errors,
)
from lora_ref.layers import LoRALinear
from lora_ref.mistakes import MISTAKES, caught_by
from lora_ref.ops import layer_norm, layer_norm_backward

# %% [markdown]
# ## Move one entry
#
# > 固定 y 处的梯度 g，移动一个元素，看 g 与 y 的内积随它变化的斜率，这就是该元素的梯度。
#
# A layer knows nothing of the loss L but `grad_y`, written g here: by how much L changes, to
# first order, for each entry of y. Its *backward*, the code that turns the gradient of y into
# those of x, A and B, has to return the same for each of their entries. So hold g fixed and ask:
# if this one entry moves by a step, what does the sum of `g * y` do?
#
# Here is the example of notebook 03, in fractions: one input, g from a squared loss, and the
# entry `B[2, 1]` moved by three steps.

# %% exact
A, B, s = walkthrough.EXACT.A, walkthrough.EXACT.B, Fraction(walkthrough.ALPHA, walkthrough.R)
here = walkthrough.exact_pass(A, B)
for step in (Fraction(1, 1000), Fraction(1), Fraction(1000)):
    moved_B = B.copy()
    moved_B[2, 1] += step
    moved = walkthrough.exact_pass(A, moved_B)
    slopes = here.grad_y @ (moved.y - here.y) / step, (moved.loss - here.loss) / step
    print(f"step {step!s:>6}: slope of sum(g * y) {slopes[0]}, slope of the loss {slopes[1]}")

# %% [markdown]
# The loss is curved: its slope depends on the step, and approaches 3/10 as the step shrinks. The
# sum of `g * y` is not: y is affine in B alone, as it is in A alone and in x alone. Its slope is
# the gradient for *every* step. Remember that for the check.

# %% [markdown]
# ## The gradient of B
#
# > B 离输出最近：移动 B 的一个元素只改变 y 的一列，梯度是 g 与低秩激活 h 的乘积。
#
# Row i of the input becomes `h[i] = A x[i]`, r numbers, and output o is
#
# $$y_{io} = (W_0 x_i)_o + s \sum_q B_{oq} h_{iq}$$
#
# Move one entry of B. It touches output o alone, in every row, by s times `h[i, q]`. Weigh with g
# and add up the rows:
#
# $$\frac{\partial L}{\partial B_{oq}} = s \sum_i g_{io} h_{iq}
# \qquad\text{so}\qquad \nabla_B = s g^\top h$$
#
# B itself is not in it. What B learns from is what A shows it.

# %% exact
print("s g[2] h[1] =", s * here.grad_y[2] * here.h[1])
print("grad_B[2, 1] =", here.grad_B[2, 1])

# %% [markdown]
# ## The gradient of A
#
# > A 离输出远一步：先求 h 的梯度（经过 B），再乘以输入 x。
#
# A works through h. First, what is L's slope in h? An entry of h touches every output, each
# through its entry of B:
#
# $$\nabla_h = s g B \qquad\text{entry by entry}\qquad
# \frac{\partial L}{\partial h_{iq}} = s \sum_o g_{io} B_{oq}$$
#
# Then the same move as before: an entry of A touches one h, by one entry of x.
#
# $$\frac{\partial L}{\partial A_{qj}} = \sum_i \frac{\partial L}{\partial h_{iq}} x_{ij}
# \qquad\text{so}\qquad \nabla_A = \nabla_h^\top x$$
#
# Now B is in it. Where B = 0, at the start of training, the gradient of A is zero. So is any
# multiple of it, and a check made there will not tell them apart.

# %% exact
grad_h = [s * here.grad_y @ B[:, q] for q in range(walkthrough.R)]
print("gradient of h:", ", ".join(map(str, grad_h)))
print("of h[0], times x[1] =", grad_h[0] * walkthrough.EXACT.x[1])
print("grad_A[0, 1]        =", here.grad_A[0, 1])

# %% [markdown]
# ## The gradient of x
#
# > 输入走两条路：一条经过冻结的 W0，一条经过 A 和 B，梯度也要沿两条路回来。
#
# The layer below needs the gradient of x, and x reaches y on two paths. Through W0, an entry of x
# moves output o by `W0[o, j]`. Through A it moves every h, whose slope is known already:
#
# $$\nabla_x = g W_0 + \nabla_h A$$
#
# W0 is frozen, and it still lets the gradient pass. Dropout sets each entry of x to zero with
# probability p while training: before A, a mask of zeros and `1 / (1 - p)` multiplies x. So the
# masked x stands in the gradients of A and, by way of h, of B; and the second term of the
# gradient of x is multiplied by the mask.
#
# That is the whole backward. Here are the three beside difference quotients, entry by entry:

# %% to 1e-9
layer = walkthrough.article_layer()
x, g = floats(walkthrough.EXACT.x)[None], floats(here.grad_y)[None]
grad_x, grads = layer.backward(g, layer.forward(x)[1])
by_hand, numerical = {"x": grad_x, **grads}, numerical_gradients(layer, x, g)
for name in by_hand:
    for how, gradient in (("by hand", by_hand[name]), ("differences", numerical[name])):
        print(f"{name} {how:<12}", " ".join(f"{value:6.3f}" for value in gradient.flat))

# %% [markdown]
# The same as differentials, with $h = x A^\top$:
#
# $$\delta y = \delta x W_0^\top + s \delta h B^\top + s h \delta B^\top,
# \qquad \delta h = \delta x A^\top + x \delta A^\top$$
#
# and whatever stands beside a δ in the sum of `g * δy`, is that gradient, once the factors around
# it have crossed over by `sum(g * (P δ Q)) = sum((P.T @ g @ Q.T) * δ)`.
# [Derivations](../docs/derivations.md) does it this way, and index by index as well.

# %% [markdown]
# ## W0 has a gradient that nobody computes
#
# > W0 的梯度存在且不为零；冻结的意思是不去计算它，也不应用它。
#
# The article says that the gradient of W0 is 0. By the same move it is
#
# $$G = g^\top x$$
#
# which is zero only where g and x happen to cancel. Both answers can be put to the check:

# %% exact
rng = np.random.default_rng(0)
for name, G in (("g.T @ x", g.T @ x), ("zero", np.zeros_like(layer.W0))):
    errors = vjp_errors(
        lambda at: replace(layer, W0=at["W0"]).forward(x)[0],
        {"W0": layer.W0},
        g,
        {"W0": G},
        rng,
        step=EXACT_STEP,
    )
    print(f"{name:<8} is the gradient of W0: {errors['W0'] < EXACT_TOLERANCE}")
judged = judge(article().claim("grad-isolation"))
print(f"{judged.verdict}: {judged.correction}")

# %% [markdown]
# Frozen is a decision. The article's conclusion stands: W0 does not change. (The verdict has one
# input as a column, g x^T; for rows that is `g.T @ x`.) In the backward pass LoRA saves this
# product, one of the three large ones of a full step, and a matrix of the size of W0; what an
# optimiser keeps for W0 is saved besides (notebook 12). And without dropout A and B learn from
# nothing but G:
#
# $$\nabla_A = s B^\top G, \qquad \nabla_B = s G A^\top$$
#
# A sees G through B, and B sees it through A. To compute them so would form G after all.

# %% [markdown]
# ## A check that can fail
#
# > 检验沿一个随机方向比较差商与内积；g 也取随机值，误差相对于两个范数的乘积。
#
# Entry by entry takes two forward passes for each entry. A random direction D takes two for each
# argument, because the slope of the sum of `g * y` along D is the sum of `grad * D`, in which
# every entry of the gradient has a weight. `gradient_errors` compares the two, relative to the
# largest slope that the direction could have met, `norm(grad) * norm(D)`.

# %% exact
W0, A, B = (rng.standard_normal(shape) for shape in ((6, 6), (2, 6), (6, 2)))
x, alpha = rng.standard_normal((4, 6)), 5.0
layer = LoRALinear(W0, A, B, alpha)
errors = gradient_errors(layer, x, rng)
for name, error in errors.items():
    print(f"gradient of {name}: {'right' if error < EXACT_TOLERANCE else 'wrong'}")
entries = x.size + A.size + B.size
print(f"forward passes: {2 * len(errors)} along directions, {2 * entries} entry by entry")

# %% [markdown]
# A right gradient ends at rounding, near 1e-16. The tolerance is 1e-12, and an error of one part
# in a million is a million times larger than that. Between right and wrong there is a wide gap,
# if the step is chosen well.

# %% [markdown]
# ## Which step
#
# > 步长太小则舍入误差大，太大则截断误差大；LoRA 对每个参数分别都是仿射的，没有截断误差。
#
# The quotient is `(L(at + step) - L(at - step)) / (2 * step)`. A small step divides rounding by a
# small number: an error that grows as 1/step. A large step leaves the tangent: an error that
# grows as step², from the third derivative. Between them lies the best step, for a function of
# ordinary size about the cube root of the float's epsilon.

# %% order of magnitude
FIGURES["gradient-check"].picture()

# %% [markdown]
# For LoRA there is no right arm of the V. The sum of `g * y` is affine in each argument alone, as
# the fractions showed above: no step is too large, and a large one drowns the rounding of what
# does not move. So the package checks LoRA at a step that would be absurd elsewhere:

# %% exact
print(f"affine in each argument: step {EXACT_STEP:,.0f}, tolerance {EXACT_TOLERANCE:.0e}")
print(f"smooth:                  step {SMOOTH_STEP:.1e}, tolerance {SMOOTH_TOLERANCE:.0e}")

# %% [markdown]
# ## Mistakes that it catches
#
# > 一个从未失败过的检验什么也证明不了，所以包里特意保留了几种常见的错误，逐个交给它检验。
#
# A check that has never failed has shown nothing. The package keeps wrong backwards on purpose,
# of the kinds that real code has had, and asks which gradients give them away.

# %% exact
backwards = {name: one for name, one in MISTAKES.items() if one.kind == "backward"}
wrongs = {name: one for name, one in backwards.items() if issubclass(one.wrong, LoRALinear)}
for name, mistake in wrongs.items():
    found = ", ".join(caught_by(name, np.random.default_rng(0)))
    print(f"{name:<21} caught by {found:<5}  {mistake.text}")

# %% [markdown]
# ## Where they hide
#
# > 在特殊点上检验会漏掉错误：B = 0、alpha = r、只有一行、W0 对称、没有 dropout。
#
# The check sees one point. At a special point a wrong gradient may be the right one, and no
# tolerance helps. Each column below but the first has one thing special about it:

# %%
mask = 2.0 * (rng.random(x.shape) < 0.5)
usual = {"W0": W0, "B": B, "alpha": alpha, "x": x, "mask": mask}
places = {
    "usual": {},
    "B = 0": {"B": 0 * B},
    "alpha = r": {"alpha": 2.0},
    "one row": {"x": x[:1], "mask": mask[:1]},
    "W0 = I": {"W0": np.eye(6)},
    "no mask": {"mask": None},
}

# %% exact
print(" " * 20, *(f"{place:>9}" for place in places))
for name, mistake in wrongs.items():
    row = []
    for special in places.values():
        at = usual | special
        wrong = mistake.wrong(at["W0"], A, at["B"], at["alpha"])
        errors = gradient_errors(wrong, at["x"], rng, mask=at["mask"])
        row.append("caught" if max(errors.values()) > EXACT_TOLERANCE else "-")
    print(f"{name:<20}", *(f"{cell:>9}" for cell in row))

# %% [markdown]
# - **B = 0**, the start of training, hides four of the seven. A gradient of A a hundred times too
#   large is a hundred times zero, and whatever goes wrong on the way through B is multiplied by
#   B.
# - **alpha = r** hides both mistakes with the scaling. The article's example has alpha = r.
# - **One row** hides a division by the number of rows.
# - **W0 = I** hides a transposed W0, as would any symmetric one. That W0 is square is what lets
#   the mistake run at all. With widths that differ no check is needed to find it:

# %% exact
for square in (True, False):
    try:
        found = "caught by " + ", ".join(caught_by("square-transpose", rng, square=square))
    except ValueError:
        found = "does not run: the shapes do not fit"
    print(f"W0 {'square' if square else 'not square'}: {found}")

# %% [markdown]
# ## A gradient of ones
#
# > 把 y 的梯度取成全 1 也会掩盖错误：行与行的对应看不出来，归一化之后梯度恒为零。
#
# It is tempting to check with the loss `y.sum()`, whose g is all ones. Then all rows of g are
# alike, and a backward that pairs rows of g with rows of x in the wrong order is right. Here it
# takes the batch from its end:

# %% exact
y, cache = layer.forward(x)
for kind, grad_y in (("ones", np.ones_like(y)), ("random", rng.standard_normal(y.shape))):
    grad_x, grads = layer.backward(grad_y[::-1], cache)
    errors = vjp_errors(
        lambda at: replace(layer, A=at["A"], B=at["B"]).forward(at["x"])[0],
        {"x": x, "A": A, "B": B},
        grad_y,
        {"x": grad_x, **grads},
        rng,
        step=EXACT_STEP,
    )
    found = [name for name, error in errors.items() if error > EXACT_TOLERANCE]
    print(f"rows in the wrong order, g {kind:<6}: caught by {', '.join(found) or 'nothing'}")

# %% [markdown]
# Behind a normalisation it is worse. A softmax turns a row into probabilities, which sum to 1; a
# layer norm shifts and scales a row to mean 0, so with equal gains and no bias its entries sum to
# 0, whatever x is. So the sum of y is constant, its gradient is zero, and a hundred times the
# right backward is zero too, but for rounding. The check cannot tell them apart, and says so:

# %% exact
gain, bias = np.ones(6), np.zeros(6)
y, cache = layer_norm(x, gain, bias)
for kind, grad_y in (("ones", np.ones_like(y)), ("random", rng.standard_normal(y.shape))):
    wrong = 100 * layer_norm_backward(grad_y, cache)[0]
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        errors = vjp_errors(
            lambda at: layer_norm(at["x"], gain, bias)[0], {"x": x}, grad_y, {"x": wrong}, rng
        )
    caught = errors["x"] > SMOOTH_TOLERANCE
    print(f"hundredfold layer norm, g {kind:<6}: {'caught' if caught else 'not caught'}")
    for warning in said:
        print(fill(str(warning.message), 92, initial_indent="  ", subsequent_indent="  "))

# %% [markdown]
# ## It trains, and it is wrong
#
# > 损失下降不能证明梯度正确：错误的反向传播同样能训练，有的甚至降得更快。
#
# A falling loss asks little of a backward: a direction within a right angle of the true gradient,
# and a small enough step. Here each wrong backward trains the same task, from the same start,
# with the same learning rate.

# %% depends on the seed
data = np.random.default_rng(2)
x, W0 = data.standard_normal((32, 6)), data.standard_normal((6, 6))
shift = data.standard_normal((6, 2)) @ data.standard_normal((2, 6)) / 2
target = x @ (W0 + shift).T
kinds = {"right": LoRALinear} | {name: mistake.wrong for name, mistake in wrongs.items()}
for name, kind in kinds.items():
    layer, losses = kind.init(W0, 2, alpha, np.random.default_rng(1)), []
    for _ in range(100):
        y = layer.forward(x)[0]
        losses.append(np.mean((y - target) ** 2))
        layer, _ = sgd_step(layer, x, (y - target) / len(x), lr=0.005)
    print(f"{name:<21} loss {losses[0]:.4f} -> {losses[-1]:.4f}")

# %% [markdown]
# Every loss falls. Three wrong backwards train exactly as the right one, because in a single
# layer nobody reads the gradient of x; a layer below would be the one that learns wrongly. Two
# are the right one at a smaller learning rate: in plain gradient descent, one factor on both
# gradients is no more than that. And two reach a *lower* loss: a factor on one gradient is a
# learning rate of its own, and here a larger one happened to help. A loss curve tells none of
# this. The check does, in six forward passes besides the forward and the backward that are
# checked.

# %% [markdown]
# ## Exercises
#
# > 练习：写出三个梯度；检验用随机的 g、互不相同的宽度和多行输入。
#
# The specifications move one entry at a time, as above, and need no formula. Yours needs no loop.
#
# ### `grad-A`: the gradient of A

# %% exact
print(show("grad-A"))


# %%
def grad_A(grad_y, x, A, B, alpha): ...


check("grad-A", grad_A)

# %% [markdown]
# ### `grad-B`: the gradient of B

# %% exact
print(show("grad-B"))


# %%
def grad_B(grad_y, x, A, B, alpha): ...


check("grad-B", grad_B)

# %% [markdown]
# ### `grad-x`: the gradient that goes on to the layer below

# %% exact
print(show("grad-x"))


# %%
def grad_x(grad_y, W0, A, B, alpha): ...


check("grad-x", grad_x)

# %% [markdown]
# ## In practice
#
# > 实践：用 float64、随机点、互不相同的宽度和随机的 g 检验自己的层，再故意弄错一次。
#
# To check a backward of your own:
#
# - Any function and its backward: `vjp_errors`. Here is SiLU, `x / (1 + exp(-x))`, which the
#   package does not have.

# %% exact
x, g = rng.standard_normal((2, 4, 6))
sigmoid = 1 / (1 + np.exp(-x))
for name, derivative in (
    ("the product rule", sigmoid * (1 + x * (1 - sigmoid))),
    ("one term of it", sigmoid),
):
    errors = vjp_errors(
        lambda at: at["x"] / (1 + np.exp(-at["x"])), {"x": x}, g, {"x": g * derivative}, rng
    )
    print(f"{name}: {'right' if errors['x'] < SMOOTH_TOLERANCE else 'wrong'}")

# %% [markdown]
# - Any object with `trainable`, `forward` and `backward`, a layer of your own included:
#   `gradient_errors`, away from every special point. B not zero, alpha not r, `in`, `out` and r
#   all different, several rows, a mask if there is dropout. It also names what a pass changes in
#   place.
# - In float64, whatever the layer is trained in: in float32 the gap between right and wrong is
#   narrow. `gradient_errors` sees to that by itself, `vjp_errors` takes what it is given.
# - At a kink, as of ReLU at 0, or where y is saturated, the error is NaN, and a warning says why:
#   draw another point. NaN is never smaller than the tolerance.
# - Break the backward once on purpose. If the check stays silent, it is the check that is broken.

# %% [markdown]
# ## Further reading
#
# > 延伸阅读：反向传播的推导、差商的步长，以及自动微分的综述。
#
# - [Derivations](../docs/derivations.md): every backward of the package, with the cost of each
#   product and what the cache must keep.
# - K. B. Petersen, M. S. Pedersen, "The Matrix Cookbook", 2012: derivatives of matrix products.
# - J. Nocedal, S. J. Wright, "Numerical Optimization", 2nd edition, 2006, chapter 8: difference
#   quotients and their best step.
# - A. G. Baydin, B. A. Pearlmutter, A. A. Radul, J. M. Siskind, "Automatic differentiation in
#   machine learning: a survey", Journal of Machine Learning Research 18, 2018, arXiv 1502.05767.
# - E. Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", 2021, arXiv 2106.09685.
# - Next: [05 · Start from zero](05-start-from-zero.ipynb).

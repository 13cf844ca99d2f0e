# %% [markdown]
# # 05 · Start from zero
#
# A pretrained model has cost somebody a lot. An update that you add to it should first of all leave
# it as it is, and then be able to learn. How A and B start decides both.
#
# **You will** start a layer in four ways, watch which factor moves first, and train from an A whose
# rows are equal.
#
# **You will learn** why LoRA begins with one factor at zero, what the other one has to be like,
# what alpha does at the start, and how wide to draw A.
#
# **You need** the gradients of notebook [04](04-derive-and-check-the-gradients.ipynb), 35
# minutes, and fifteen more for the exercises.

# %%
import numpy as np

from lora_ref.exercises import check, show
from lora_ref.figures import descent, first_steps, start_up
from lora_ref.gradcheck import sgd_step
from lora_ref.layers import LoRALinear, initializers
from lora_ref.lowrank import best_update

# %% [markdown]
# ## What moves first
#
# A frozen weight W0 has 16 inputs and 12 outputs. We have 64 inputs, the rows of x, and a target
# for each: the output of W0 plus a shift of rank 2, plus a little noise. The loss L is half the
# squared distance to the target, averaged over the rows. G is its gradient with respect to the
# whole weight. L and G mean the same in the next notebook.

# %%
in_features, out_features, n, shift_rank, noise = 16, 12, 64, 2, 0.1


def draw_task(seed, size=1.0):
    draws = np.random.default_rng(seed)
    W0 = draws.standard_normal((out_features, in_features)) / 4
    shift = draws.standard_normal((out_features, shift_rank)) / 4
    shift = size * shift @ draws.standard_normal((shift_rank, in_features))
    x = draws.standard_normal((n, in_features))
    target = x @ (W0 + shift).T + noise * draws.standard_normal((n, out_features))
    return W0, x, target


def loss_and_G(update, task):
    W0, x, target = task
    left = x @ (W0 + update).T - target
    return np.sum(left**2) / (2 * len(x)), left.T @ x / len(x)


task = draw_task(seed=0)
W0, x, target = task

# %% [markdown]
# LoRA adds the update s B A to W0, with s = alpha/r. In notebook 04 you found the two gradients:
#
# $$
# \nabla_A = s B^\top G, \qquad \nabla_B = s G A^\top
# $$
#
# Now A is drawn at random, and B is zero. Four steps of gradient descent follow.
#
# **Predict.** In step 0, what is the size of each gradient: zero or not? And which factor moves
# first?

# %% depends on the seed
r, alpha, lr = 4, 8, 0.02
bound = in_features**-0.5
A_drawn = np.random.default_rng(1).uniform(-bound, bound, (r, in_features))
A, B, s = A_drawn, np.zeros((out_features, r)), alpha / r
grads_of_A = []
for step in range(4):
    loss, G = loss_and_G(s * B @ A, task)
    grad_A, grad_B = s * B.T @ G, s * G @ A.T
    grads_of_A.append(grad_A)
    sizes = [np.linalg.norm(M) for M in (grad_A, grad_B, s * B @ A)]
    print("step {}: grad_A {:.3f}, grad_B {:.3f}, update {:.3f}".format(step, *sizes))
    A, B = A - lr * grad_A, B - lr * grad_B
yours = s * B @ A
print("grad_A of step 0 is exactly zero:", not grads_of_A[0].any())

# %% [markdown]
# Each gradient contains the other factor. B is zero, so the gradient of A is zero, whatever G may
# be. A is not, so B moves. From the next step on B is no longer zero, and A moves too.
#
# The package's layer, [`LoRALinear`](../lora_ref/layers/lora.py), starts in the same way:

# %%
layer = LoRALinear.init(W0, r, alpha, np.random.default_rng(1))
print("the same A:", np.array_equal(layer.A, A_drawn))
print("y is that of W0, bit for bit:", np.array_equal(layer.forward(x)[0], x @ W0.T))
for _ in range(4):
    y, _ = layer.forward(x)  # the second is a cache for the gradients
    layer, _ = sgd_step(layer, x, (y - target) / len(x), lr)
print("after four steps the same as yours:", np.allclose(layer.delta_w, yours))

# %% [markdown]
# > **Remember.** At B = 0 the gradient of A is exactly zero and that of B is not, so B moves first.
# >
# > 当 B 为零时，A 的梯度恰好为零，B 的梯度不为零，所以 B 先动。

# %% [markdown]
# ## Four ways to begin
#
# Each factor can be zero or random, which makes four starts. We ask two things of each. Does the
# model begin as it was? And can it learn? A pretrained weight is nearly right for its new task, so
# here the shift is a tenth of the one above. The last line has the least loss that an update of
# rank r allows; notebook [07](07-train-a-low-rank-update.ipynb) has the formula.
#
# **Predict.** Which of the four starts pass both tests? What does a start cost that fails the
# first: the first steps, or the end as well?


# %% depends on the seed
def descend(A, B, s, task, lr, steps):
    losses = []
    for _ in range(steps):
        loss, G = loss_and_G(s * B @ A, task)
        losses.append(loss)
        A, B = A - lr * s * B.T @ G, B - lr * s * G @ A.T
    return A, B, losses


def least_loss(task, rank):
    W0, x, target = task
    best_A, best_B = best_update(x, target, W0, rank)
    return loss_and_G(best_B @ best_A, task)[0]


draws = np.random.default_rng(2)
B_drawn = draws.uniform(-bound, bound, (out_features, r))
near = draw_task(seed=0, size=0.1)
untouched, _ = loss_and_G(0 * W0, near)
marks = (0, 10, 200, 2000)
head = " ".join(f"{mark:>6}" for mark in marks)
print(f"start        y changes by   loss after {head} steps    worse than W0")
for name, a, b in (("B = 0", 1, 0), ("A = 0", 0, 1), ("both zero", 0, 0), ("both random", 1, 1)):
    A, B = a * A_drawn, b * B_drawn
    changed = np.linalg.norm(s * x @ A.T @ B.T) / np.linalg.norm(x @ W0.T)
    _, _, losses = descend(A, B, s, near, lr, steps=max(marks) + 1)
    worse = sum(loss > untouched for loss in losses)
    found = " ".join(f"{losses[mark]:.4f}" for mark in marks)
    print(f"{name:<12} {changed:>12.1%}   {found:>38} {worse:>15} steps")
print(f"the least that rank {r} allows: {least_loss(near, r):.4f}")

# %% [markdown]
# Two starts pass: one factor zero, and the other one random. Two zeros are a trap: both gradients
# are zero, in this step and in every later one. Two random factors can learn, but they change y
# before anything has been learnt.
#
# The disturbance costs the first steps: for 25 of them the model is worse than the one that you
# were given. After that it costs nothing here: at step 200 the random start is even slightly ahead.
# No start has finished by then; after 2000 steps all three are within 6 % of the least. So the case
# for a zero factor is the first column of numbers, and not the loss at the end. (Li et al., 2025,
# find of language models as well that the end need not suffer.)
#
# **Predict.** Now the first three steps on the larger shift, from each start at which something
# moves. Which curve stays flat during step 1?

# %% to 1e-6
starts = {"B = 0, A random": (1, 0), "A = 0, B random": (0, 1), "both random": (1, 1)}
norms = {}
for name, (a, b) in starts.items():
    layer = LoRALinear(W0, a * A_drawn, b * B_drawn, alpha)
    norms[name] = first_steps(layer, x, target, lr=lr, steps=3)
start_up(norms)

# %% [markdown]
# From B = 0, A waits one step; from A = 0, B does. With both random both move at once, and the grey
# line, the size of s B A, starts at 1.0 although nothing has been learnt.
#
# Why is B the zero one? Both orders work here. LoRA's authors chose B = 0, except for embedding
# layers, where their library sets A to zero. Hayou et al. (2024) find that B = 0 tolerates larger
# learning rates.
#
# > **Remember.** One factor is zero so that the model begins as it was, and the other is not zero
# > so that it can learn.
# >
# > 一个因子为零，模型保持原样；另一个因子不为零，模型才能学习。

# %% [markdown]
# ## Does alpha guard the start?
#
# You may read that alpha/r keeps the random A and B from disturbing the model too much at the
# start. Test it with three values of alpha.
#
# **Predict.** From one row to the next, alpha becomes 16 times as large. What happens to each
# column: the change of y at B = 0, the change of y with both random, the gradient of B, and the
# update after one small step from B = 0?

# %% depends on the seed
_, G = loss_and_G(0 * W0, task)
small = 1e-6
print("alpha   B = 0   both random   norm of grad_B   update after a step")
for alpha_now in (1, 16, 256):
    s_now = alpha_now / r
    at_zero = s_now * x @ A_drawn.T @ np.zeros((r, out_features))
    at_random = s_now * x @ A_drawn.T @ B_drawn.T
    grad_B = s_now * G @ A_drawn.T
    update = s_now * (-small * grad_B) @ A_drawn
    sizes = [np.linalg.norm(M) for M in (at_zero, at_random, grad_B, update)]
    print("{:>5} {:>7g} {:>13.3f} {:>16.4f} {:>21.3e}".format(alpha_now, *sizes))

# %% [markdown]
# At B = 0 the change is exactly 0 for every alpha: of course, it is a product with zero, and that
# is the whole point. With two random factors the disturbance is proportional to alpha, so the
# sentence is true of a start that LoRA does not use.
#
# What alpha does set is the pace from the first step on. The gradient of B grows 16-fold with
# alpha. The update grows 256-fold, because the scaling enters twice: once in the gradient, and once
# more in front of B A. With the learning rate η, the first update is
#
# $$
# s B A = -\eta s^2 G A^\top A
# $$
#
# In notebook 06 the s² returns: with gradient descent alpha counts twice.
#
# > **Remember.** alpha does not change the model at B = 0; it sets how far the first step goes.
# >
# > 当 B 为零时，alpha 不改变模型，只决定第一步走多远。

# %% [markdown]
# ## Does A have to be random?
#
# A is not zero, good. But why random? Let all rows of A be the same random row, with r = 2.
#
# **Predict.** The shift has rank 2, and so may the update. What rank does the update have after 200
# steps, if the rows of A begin equal? And if they differ by a millionth?

# %% depends on the seed
pair, steps, tiny = 2, 201, 1e-6
draws = np.random.default_rng(3)
rows = draws.uniform(-bound, bound, (pair, in_features))
equal = np.tile(rows[:1], (pair, 1))
nearly = equal + tiny * draws.standard_normal(rows.shape)
curves = {}
for name, A in {"equal rows": equal, "nearly equal": nearly, "random rows": rows}.items():
    A, B, curves[name] = descend(A, np.zeros((out_features, pair)), 2.0, task, 0.03, steps)
    sigma = np.linalg.svd(2.0 * B @ A, compute_uv=False)
    print(f"{name:<12}  sigma {sigma[0]:.3f} and {sigma[1]:.3f}, loss {curves[name][-1]:.4f}")

# %% [markdown]
# The second singular value of the first line is zero: the update has rank 1. To see why, look at
# column k of the gradient of B. It is s times G times row k of A. Equal rows of A give B equal
# columns. Then the rows of the gradient of A are equal as well, and so on: however large r is, B A
# is r times one outer product.
#
# The dotted lines are the least losses that rank 1 and rank 2 allow:

# %% depends on the seed
floors = {"equal rows": least_loss(task, 1), "random rows": least_loss(task, pair)}
descent(curves, floors, title="Equal rows of A are a trap; a millionth is a way out")

# %% [markdown]
# Equal rows find the best update of rank 1 and stop there. The dashed curve stops at the same place
# for a while, and then leaves. So the plateau is a saddle, flat with a way down, and not a minimum.
#
# **Predict.** What does the difference between the two rows, a1 and a2, do on the plateau?

# %% depends on the seed
for step in (0, 40, 50, 60):
    A, _, _ = descend(nearly, np.zeros((out_features, pair)), 2.0, task, 0.03, step)
    print(f"nearly equal, step {step:>2}: the norm of a1 - a2 is {np.linalg.norm(A[0] - A[1]):.2g}")

# %% [markdown]
# From step 40 on the difference grows almost tenfold every ten steps: exponentially, as beside a
# saddle. (It begins at 6e-06: a millionth in each of 16 entries of two rows.) A smaller difference
# would only have waited longer.
#
# **Predict.** On five other tasks, will equal rows ever get below the least of rank 1? The same
# three A, with twice the steps, because on some tasks the saddle holds the nearly equal rows for
# longer. Each final loss is divided by the least of rank 1 (equal rows) or 2 (the others).

# %% depends on the seed
for name, A, rank in zip(curves, (equal, nearly, rows), (1, pair, pair), strict=True):
    found = []
    for other in map(draw_task, (1, 2, 3, 4, 5)):
        *_, losses = descend(A, np.zeros((out_features, pair)), 2.0, other, 0.03, 2 * steps)
        found.append(losses[-1] / least_loss(other, rank))
    print(f"{name:<12}  {min(found):.3f} to {max(found):.3f} times the least loss")

# %% [markdown]
# In exact arithmetic equal rows stay equal for ever. The rows of a random A differ from the
# beginning: this is what the randomness is for. It breaks a symmetry.
#
# > **Remember.** Equal rows of A stay equal and give an update of rank 1; a random A breaks this
# > symmetry.
# >
# > 若 A 的各行相同，它们会一直相同，更新的秩停在 1；随机的 A 打破这种对称。

# %% [markdown]
# ## How wide to draw A
#
# Many write-ups draw A from a normal distribution with the standard deviation 0.02. LoRA's paper
# says Gaussian and names no width. Its library and PEFT draw uniformly between plus and minus
# 1/sqrt(in_features). They reach it through PyTorch's `kaiming_uniform_` (Kaiming He's rule, which
# makes the width fall with the number of inputs so that outputs keep their size), so we call it
# Kaiming's rule. A uniform draw between -b and b has the standard deviation b/sqrt(3).
#
# **Predict.** The rows x have entries of size 1. A has a fixed width of 0.02, or follows Kaiming's
# rule. How does the size of h = x Aᵀ change when the layer becomes 16 times as wide?

# %% depends on the seed
draws, rank, std = np.random.default_rng(4), 64, 0.02
print("              standard deviation of A      size of h")
print("in_features   fixed    Kaiming             fixed   Kaiming")
for width in (256, 1024, 4096):
    inputs, drawn = draws.standard_normal((100, width)), []
    for start in (initializers.normal(std), initializers.kaiming_uniform):
        _, A, _ = start(np.zeros((1, width)), rank, 1.0, draws)
        drawn.append(A)
    spreads = [A.std() for A in drawn]
    sizes = [np.sqrt(np.mean((inputs @ A.T) ** 2)) for A in drawn]
    print("{:>11} {:>8.4f} {:>10.4f} {:>17.2f} {:>9.2f}".format(width, *spreads, *sizes))
print(f"the two widths agree where in_features is 1 / (3 std^2) = {1 / (3 * std**2):.0f}")

# %% [markdown]
# With a fixed width, h grows as the root of the number of inputs. PEFT's rule keeps it at 1/sqrt(3)
# in every layer. In a layer of some 800 inputs nobody would notice the difference. (He et al.
# derive sqrt(2/in_features) for layers with a ReLU; this one is smaller by sqrt(6).)
#
# Does the width matter, if training moves A anyway? It does: A sets the size of the first gradient
# of B. Notebook 06 shows which learning rates make up for another width.
#
# ### The same in PEFT
#
# Not run here. `init_lora_weights=True` is the default: Kaiming's rule for A, zero for B.
#
# ```python
# from peft import LoraConfig
#
# config = LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"])
# gaussian = LoraConfig(r=4, lora_alpha=8, init_lora_weights="gaussian")
# ```
#
# With `"gaussian"` PEFT draws A with the standard deviation 1/r: neither 0.02 nor Kaiming's.
#
# > **Remember.** A width that falls as 1/sqrt(in_features) gives h the same size in every layer; a
# > fixed 0.02 does not.
# >
# > 若宽度按输入维数的平方根反比减小，每一层的 h 大小相同；固定的 0.02 则不然。

# %% [markdown]
# ## Exercises
#
# Replace the three dots, run the cell, and read what it says. `print(hint("start", 1))` gives a
# first hint, after `from lora_ref.exercises import hint`.
#
# ### `start`: both factors, before the first step

# %% exact
print(show("start"))


# %%
def start(out_features, in_features, r, rng): ...


check("start", start)

# %% [markdown]
# ### `two-steps`: the update after two steps

# %% exact
print(show("two-steps"))


# %%
def two_steps(A, G, s, lr): ...


check("two-steps", two_steps)

# %% [markdown]
# ### To think about
#
# 1. Let r = 4, with two pairs of equal rows in A. Which rank can the update reach? Try it with
#    `descend`.
# 2. A colleague starts with both factors random, and takes s B A out of W0 before the training, so
#    that y is unchanged. What is gained and what is lost, compared with B = 0?

# %% [markdown]
# ## In practice
#
# - Before training, and with dropout off, compare the output of the adapted model with that of the
#   base. They must be equal. Where they are not, B is not zero, or the frozen weights are not those
#   of the base: somebody loaded them in fewer bits, say.
# - Do not check gradients at B = 0 only. At B = 0 the right gradient of A is zero, and a wrong
#   formula such as -s Bᵀ G gives zero too. Take a random B.
# - If B has not moved after the first step with a learning rate above 0 (a warm-up often starts at
#   0), it is not in the optimiser or gets no gradient. If A has not moved after the second such
#   step, the same holds for A.
# - PiSSA (Meng et al., 2024) moves the r largest singular directions of W0 into A and B, so neither
#   is zero, and the model begins as it was. But the frozen weight is another one: switching the
#   update off does not give the pretrained model back.

# %% [markdown]
# ## Further reading
#
# - E. Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", 2021, arXiv 2106.09685,
#   section 4.1.
# - K. He et al., "Delving Deep into Rectifiers", 2015, arXiv 1502.01852, on the width.
# - S. Hayou, N. Ghosh, B. Yu, "The Impact of Initialization on LoRA Finetuning Dynamics", 2024,
#   arXiv 2406.08447.
# - F. Meng, Z. Wang, M. Zhang, "PiSSA", 2024, arXiv 2404.02948. S. Li et al., "Beyond Zero
#   Initialization", 2025, arXiv 2505.23194.
# - [Derivations](../docs/derivations.md), "The start", and
#   [questions 2 and 3](../docs/questions.md).
# - Next: [06 · Scale the update](06-scale-the-update.ipynb).

# %% [markdown]
# # 07 · Train a low-rank update
#
# **You will** train A and B on a task whose best answer is known in closed form, and see that
# training finds it.
#
# **You will learn** how good a rank can be at best, why two trainings with different A and B
# agree in `B A`, and why an update that is trained at rank r is better than a full one that is
# cut to rank r, and when it is not.
#
# **You need** notebooks [02](02-find-the-rank.ipynb) and [05](05-start-from-zero.ipynb), and
# twenty minutes.

# %%
import numpy as np

from lora_ref import study
from lora_ref.counting import full_params, lora_params
from lora_ref.exercises import check, show
from lora_ref.figures import descent
from lora_ref.layers import Linear, LoRALinear
from lora_ref.lowrank import best_update, truncate
from lora_ref.ops import mean_squared_error, mean_squared_error_backward
from lora_ref.study.findings import PAIRS, Runs, listed
from lora_ref.study.methods import learning_rates
from lora_ref.training import Loss, Momentum, Network, train

# %% [markdown]
# ## A task with a known best answer
#
# > 线性任务有闭式的最优解：给定秩 r，最小损失事先可知。
#
# W0 has 12 outputs and 16 inputs. The target is made by another weight, W0 plus a shift of rank
# 6, whose terms are each about half as strong as the one before, and a little noise. The inputs
# are not equally loud: the first has a standard deviation of 3, the last of 1/3.

# %%
rng = np.random.default_rng(0)
loudness = np.geomspace(3, 1 / 3, 16)
W0, x = rng.standard_normal((12, 16)) / 4, rng.standard_normal((64, 16)) * loudness
strengths = 2.0 ** -np.arange(6) / 4
shift = (rng.standard_normal((12, 6)) * strengths) @ rng.standard_normal((6, 16))
noise = rng.standard_normal((64, 12)) / 20
target = x @ (W0 + shift).T + noise
bytes_before = W0.tobytes()

# %% [markdown]
# Which `B A` of rank r makes the mean squared error least? This is reduced-rank regression
# (Izenman, 1975). `lowrank.best_update` solves it by an SVD of x, and another of what W0 leaves
# over, seen in the directions of x
# ([derivation](../docs/derivations.md#the-best-update-of-a-linear-task)). The last column here is
# the loss on 4,000 fresh rows.

# %% to 1e-9
fresh_x = rng.standard_normal((4000, 16)) * loudness
fresh_target = fresh_x @ (W0 + shift).T + rng.standard_normal((4000, 12)) / 20
print(f"full: {full_params(16, 12)} numbers")
print(" r  numbers  least loss  on fresh rows")
for r in (1, 2, 3, 4, 5, 6, 7, 8, 12):
    A, B = best_update(x, target, W0, r)
    here, _ = mean_squared_error(x @ (W0 + B @ A).T, target)
    there, _ = mean_squared_error(fresh_x @ (W0 + B @ A).T, fresh_target)
    print(f"{r:>2} {lora_params(16, 12, r):>8} {here:>11.4f} {there:>14.4f}")

# %% [markdown]
# "Larger r, smaller error, more parameters", says the article. In this form it is right: it is
# true of the least loss on the rows that one trains on, which at full rank is that of ordinary
# least squares. On fresh rows the loss turns. Here it is least at r = 6, the rank of the shift,
# and beyond that what is fitted is noise. Notice the numbers too: from r = 7 on, A and B hold
# more than W0.

# %% [markdown]
# ## Training finds it
#
# > 从 B = 0 开始训练 A 和 B，损失降到该秩的理论下界。
#
# Now train, from B = 0, by gradient descent with momentum, at r = 1, 2 and 4. Beside them trains
# the full weight, a `Linear` that starts as W0.

# %%
options = {"optimizer": Momentum(lr=0.1), "steps": 400, "batch": len(x), "rng": rng}
options["loss"] = Loss(mean_squared_error, mean_squared_error_backward)
layers, losses, floors = {"full": Linear(W0)}, {}, {}
for r in (1, 2, 4):
    layers[f"r = {r}"] = LoRALinear.init(W0, r, 2 * r, np.random.default_rng(1))

# %%
for name, r in (("r = 1", 1), ("r = 2", 2), ("r = 4", 4), ("full", 12)):
    network, history = train(Network({"layer": layers[name]}), x, target, **options)
    layers[name], losses[name] = network["layer"], history.losses
    A, B = best_update(x, target, W0, r)
    floors[name], _ = mean_squared_error(x @ (W0 + B @ A).T, target)

# %% depends on the seed
descent(losses, floors)

# %% [markdown]
# Each curve comes down to the line of its rank, and none passes below it. (The waves are those of
# momentum, in which each step keeps a part of the last one.) That training arrives is no accident
# of this draw. The loss is not convex in A and B together, but for a linear layer and squared
# errors it has no local minimum that is not global: all other places where both gradients vanish
# are saddles. Baldi and Hornik (1989) prove it for inputs in all directions and singular values
# that differ. A network with activations is another matter.
#
# The directions do not come all at once. Below is the size of the update in each of its four
# directions, as the rows of x show it (singular values of `x @ delta_w.T`, divided by 8, the root
# of the 64 rows), while the layer of r = 4 trains:

# %% depends on the seed
start = Network({"layer": LoRALinear.init(W0, 4, 8, np.random.default_rng(1))})
_, history = train(start, x, target, callback=lambda step, now: now["layer"].delta_w, **options)
A, B = best_update(x, target, W0, 4)
path = {f"step {step}": update for step, update in history.evaluations}
names = [f"step {step}" for step in (1, 5, 10, 20, 40, 80, 160, 400)]
for name, update in {**{name: path[name] for name in names}, "the best": B @ A}.items():
    sizes = np.linalg.svd(x @ update.T, compute_uv=False)[:4] / 8
    print(f"{name:<9}", " ".join(f"{size:7.3f}" for size in sizes))

# %% [markdown]
# The strongest direction is there first and the weakest last, which Saxe, McClelland and Ganguli
# (2013) derive for deep linear networks that begin small. A weak direction pulls weakly, and
# until B has learnt something of it, A does not turn towards it. So a larger rank needs not only
# more numbers, but more steps until they are used.

# %% [markdown]
# ## Only the product is determined
#
# > 从不同的 A 出发，训练得到的 A、B 各不相同，但乘积 B A 相同：只有乘积是确定的。
#
# Train r = 2 again from another draw of A. What agrees?

# %% depends on the seed
start = LoRALinear.init(W0, 2, 4, np.random.default_rng(2))
again = train(Network({"layer": start}), x, target, **options)[0]["layer"]
one, (A, B) = layers["r = 2"], best_update(x, target, W0, 2)
for name, mine, other in (
    ("A and the other A", one.A, again.A),
    ("B and the other B", one.B, again.B),
    ("the two updates", one.delta_w, again.delta_w),
    ("update and best update", one.delta_w, B @ A),
):
    print(f"{name:<23} {np.linalg.norm(mine - other) / np.linalg.norm(mine):7.2%} apart")

# %% [markdown]
# The products agree with each other and with the closed form. The factors do not: with any
# invertible Q, `B Q` and `Q⁻¹ A` are as good (notebook 02). Find the Q that turns one B into the
# other, and its inverse turns the A:

# %% depends on the seed
Q = np.linalg.lstsq(again.B, one.B, rcond=None)[0]
for name, mine, other in (("B", one.B, again.B @ Q), ("A", one.A, np.linalg.inv(Q) @ again.A)):
    print(f"{name}, turned: {np.linalg.norm(mine - other) / np.linalg.norm(mine):.2%} apart")

# %% [markdown]
# So two adapters cannot be compared entry by entry, and a single column of B means nothing by
# itself. Which of all the pairs training finds is decided by its start.

# %% [markdown]
# ## W0 has not moved
#
# > 训练前后 W0 的字节完全相同；它的梯度却不是零，而是没有被计算和使用。
#
# The bytes of W0 are those from before. And merged into one weight, the update gives the same
# outputs, up to rounding:

# %% exact
for name in ("r = 1", "r = 2", "r = 4"):
    layer = layers[name]
    same = layer.W0.tobytes() == bytes_before
    y, merged = layer.forward(x)[0], layer.merge().forward(x)[0]
    print(f"{name}: W0 the same, byte for byte: {same}; merged alike: {np.allclose(y, merged)}")

# %% [markdown]
# That W0 does not change, the article has right. The reason that it gives, a gradient of zero, is
# wrong. Here is G, the gradient of the whole weight, where training has ended (norms):

# %% depends on the seed
for name in ("r = 1", "r = 2", "r = 4"):
    norms = []
    for layer in (layers[name], layers[name].merge()):
        y, cache = layer.forward(x)
        _, inner = mean_squared_error(y, target)
        _, grads = layer.backward(mean_squared_error_backward(inner), cache)
        norms += [np.linalg.norm(grads[key]) for key in sorted(grads)]
    print("{}: grad_A {:.4f}, grad_B {:.4f}, G {:.4f}".format(name, *norms))

# %% [markdown]
# A and B are at rest, for `B.T @ G` and `G @ A.T` vanish. G does not. It is neither computed nor
# applied in LoRA, and what is left of it here is what a larger rank would still have use for.

# %% [markdown]
# ## Train at rank r, or cut to rank r
#
# > 直接训练秩 r 的更新，还是先全量微调再截断？输入白化时两者相同，否则截断一般更差。
#
# Whoever has the full update can cut it to rank r (notebook 02), and no matrix of rank r is
# nearer to it. Is it then as good as an update that was trained at rank r? Let F be the full
# update of least squares, which no weight beats on these rows. With n rows and m outputs
#
# $$
# \text{loss}(\Delta W) = \text{loss}(F) + \tfrac{1}{n m} \lVert x (\Delta W - F)^\top \rVert^2
# $$
#
# So the loss weighs an error by how loud the inputs are in its direction, and the cut knows
# nothing of inputs. The two agree where x is *white*, equally loud in every direction. Measure
# both, on the rows as they are and on the same rows made white. First come the losses, as
# multiples of the least one of that rank, then the distances from F:

# %% depends on the seed
print("rows         r  loss: trained     cut  distance: trained     cut")
for name, rows in (("as they are", x), ("white", 8 * np.linalg.qr(x)[0])):
    goal = rows @ (W0 + shift).T + noise
    A, B = best_update(rows, goal, W0, 12)
    F = B @ A
    for r in (1, 2, 4):
        layer = LoRALinear.init(W0, r, 2 * r, np.random.default_rng(1))
        layer = train(Network({"layer": layer}), rows, goal, **options)[0]["layer"]
        (A, B), cut = best_update(rows, goal, W0, r), truncate(F, r)
        updates = B @ A, layer.delta_w, cut
        least, a, b = (mean_squared_error(rows @ (W0 + M).T, goal)[0] for M in updates)
        c, d = (np.linalg.norm(F - M) for M in updates[1:])
        print(f"{name:<11} {r:>2}  {a / least:>13.4f} {b / least:>7.4f} {c:>18.4f} {d:>7.4f}")

# %% [markdown]
# On the rows as they are, the cut is nearer to F at every rank, as the theorem of Eckart and
# Young promises, and its loss is larger at every rank. It is near in a measure that the loss does
# not use. On white rows the cut is the best there is, and what parts the two at r = 4 is only
# that training has not quite ended.

# %% [markdown]
# ## On real data
#
# > 在手写数字的研究中，秩很小时训练优于截断；秩为 16 时不再如此。
#
# A study in this package ([study](../docs/study.md), notebook 09) adapts a network of three
# layers to shifted digits, in many ways. One trains all weights, and its update is then truncated
# to rank r in each layer; another is LoRA, trained at the same rank. Biases are frozen in both, or
# trained in both. By how much does trained exceed truncated, in points of test accuracy, mean ±
# standard error over five seeds?

# %% to 1e-9
runs = Runs(study.committed())
for biases, (lora, whole) in PAIRS.items():
    print(biases)
    for r in (1, 2, 4, 8, 16):
        pairs = runs.over_truncated(lora.format(r), whole, r)
        marks = "".join("+" if one.holds else "-" if one.opposes else "." for one in pairs.values())
        print(f"  r = {r:>2} {marks}  {listed(pairs)}")

# %% [markdown]
# A plus stands where the difference exceeds two standard errors, a minus where its opposite does.
# Up to r = 2 it is as on the linear layer: training at the rank wins on every shift, and at r = 4
# on all but `near` (with biases, all but `near` and `inverted`). At r = 8 it is about even, and at
# r = 16 it wins on none, and on some the truncated update is better. Why?
#
# The result on the linear layer is about the loss on the rows that one trains on. Here test
# images are counted, after training on 100 others. On `inverted`, in per cent:

# %% to 1e-9
print(f"{'':<14} train  test")
for way in ("lora-8", "lora-16", "pissa", "weights"):
    found = [runs.at("inverted", way, seed) for seed in runs.seeds]
    train_mean, test_mean = (np.mean([run[part] for run in found]) for part in ("train", "target"))
    print(f"{way:<14} {100 * train_mean:5.1f} {100 * test_mean:5.1f}")
kept = [runs.at("inverted", "weights", seed)["truncated"]["8"] for seed in runs.seeds]
print(f"truncated to 8       {100 * np.mean(kept):5.1f}")
print("on test images, pissa over lora-16:", runs.target("pissa", "lora-16")["inverted"])

# %% [markdown]
# So it is not the rank that keeps LoRA from fitting: at r = 8 it fits nearly all the images that
# it is trained on. Many updates do, and the rank does not say which of them a training finds.
# `pissa` is LoRA at r = 8 from another start (notebook 05), with a learning rate of its own. What
# it adds to W0 has rank 16 at most, so `lora-16` could hold it, with the same frozen biases. It
# finds another, which does worse on test images. The truncated update keeps what the training of
# all weights found.

# %% [markdown]
# ## Exercises
#
# > 练习：把省略号换成你的代码，运行单元格，它会告诉你哪里不对。
#
# Replace the three dots, run the cell, and read what it says. The specification in plain loops
# says what is right. It is slow on purpose; write yours without loops.
#
# ### `step`: one step of gradient descent

# %% exact
print(show("step"))


# %%
def step(grad_y, x, A, B, alpha, lr): ...


check("step", step)

# %% [markdown]
# ## In practice
#
# > 实践：用验证集选秩和学习率；截断全量更新时，要考虑输入的分布。
#
# - Choose r by a validation set. On the training set a larger rank can always do at least as
#   well.
# - LoRA wants a learning rate of its own, often a larger one than full fine-tuning. These are the
#   ones that validation chose in the study, of five that were tried for each:

# %% exact
rates = learning_rates()
print(", ".join(f"{way} {rates[way]:g}" for way in ("full", "lora-1", "lora-4", "lora-16")))

# %% [markdown]
# - To compress a full update, or a weight, weigh it by the inputs before the SVD, as
#   `best_update` does. SVD-LLM (Wang et al., 2024) whitens with the activations of a calibration
#   set.
# - To compare two adapters, compare `B A`, or the spaces of their factors
#   (`lowrank.subspace_overlap`), and not the entries.
# - A loss that no longer falls can be a saddle, or a direction that has just begun to grow. Train
#   on for a while before raising r.

# %% [markdown]
# ## Further reading
#
# > 延伸阅读：降秩回归、线性网络的损失曲面，以及 LoRA 的表达能力。
#
# - A. J. Izenman, "Reduced-rank regression for the multivariate linear model", Journal of
#   Multivariate Analysis 5, 1975.
# - P. Baldi, K. Hornik, "Neural networks and principal component analysis: learning from examples
#   without local minima", Neural Networks 2, 1989.
# - A. Saxe, J. McClelland, S. Ganguli, "Exact solutions to the nonlinear dynamics of learning in
#   deep linear neural networks", 2013, arXiv 1312.6120.
# - Y. Zeng, K. Lee, "The Expressive Power of Low-Rank Adaptation", 2023, arXiv 2310.17513. U.
#   Jang, J. D. Lee, E. K. Ryu, "LoRA Training in the NTK Regime has No Spurious Local Minima",
#   2024, arXiv 2402.11867.
# - X. Wang et al., "SVD-LLM", 2024, arXiv 2403.07378.
# - Next: [09 · Compare the ways to adapt](09-compare-the-ways-to-adapt.ipynb).

# %% [markdown]
# # 10 · Serve several tasks
#
# **You will** put three adapters on one frozen weight, add them, switch between them, run a batch
# in which every row has a task of its own, and combine and merge them.
#
# **You will learn** what the sum over tasks means and what switching means, which way to combine
# adapters is exact, and what a merge loses.
#
# **You need** notebooks 03, 04 and 07, notebook 09 for the study that is quoted once, and twenty
# minutes.

# %%
from dataclasses import replace

import numpy as np

from lora_ref import study
from lora_ref.counting import full_params, several_tasks_params
from lora_ref.exercises import check, show
from lora_ref.figures import FIGURES
from lora_ref.layers import BASE, LoRALinear, MultiTaskLoRA
from lora_ref.training import AdamW

# %% [markdown]
# ## One W0, and a pair of factors for each task
#
# > 所有任务共用冻结的 W0，每个任务有自己的一对 A、B；文章公式中的 A、B 顺序使形状不匹配。
#
# The article shares W0 among T tasks and keeps `A_t` and `B_t` for each, which is right. Its
# formula is `W = W0 + sum_t (alpha_t / r_t) A_t B_t`, and the product is the wrong way round:

# %% exact
rng = np.random.default_rng(0)
W0, x = rng.standard_normal((5, 7)), rng.standard_normal((6, 7))
tasks = tuple(
    LoRALinear(W0, rng.standard_normal((2, 7)), rng.standard_normal((5, 2)), alpha)
    for alpha in (1.0, 2.0, 4.0)
)
layer = MultiTaskLoRA(tasks)
A, B = layer.trainable["0.A"], layer.trainable["0.B"]
print(layer)
print(f"A_t B_t: {A.shape[1]} columns meet {B.shape[0]} rows;  B_t A_t: {(B @ A).shape}, as W0")

# %% [markdown]
# The factors here are drawn and not trained: apart from the scaling below, this notebook is about
# what adapters compute, and not about how well.
#
# The tasks may have different ranks and different alphas. They must have the same W0, which is
# stored once.

# %% [markdown]
# ## The sum has every task on at once
#
# > 求和公式把所有任务同时打开：它的输出不是任何一个任务的输出。
#
# With the product in the right order, the formula is a layer. But which one? It has no place to
# say which task is meant. Here is how far its output is from that of each task alone:

# %% to 1e-9
together, _ = layer.forward(x)
for t in range(3):
    alone, _ = layer.select(t).forward(x)
    far = np.linalg.norm(together - alone) / np.linalg.norm(alone)
    print(f"task {t} alone: {far:.0%} away from the sum")

# %% [markdown]
# So the sum does not serve T tasks: it serves the mixture of all of them. That can be wanted,
# with a weight for each (see below). To serve one task, keep one term.

# %% [markdown]
# ## Switching keeps one term
#
# > 切换只保留一项；切走再切回来，输出逐位相同，W0 从不改写。
#
# The article's next sentence says so: to switch, activate the A_t and B_t of the task, and never
# retrain W0. Through all three tasks and back, bit for bit:

# %% exact
before, _ = layer.select(0).forward(x)
for t in (1, 2, 0):
    after, _ = layer.select(t).forward(x)
print("the output of task 0 is back, bit for bit:", np.array_equal(before, after))
print("W0 is one array for all:", all(np.shares_memory(one.W0, layer.W0) for one in layer.tasks))

# %% [markdown]
# Nothing was written on the way. Another adapter was read.

# %% [markdown]
# ## A batch in which each row has its task
#
# > 一个批次里每一行可以属于不同任务：W0 的大矩阵乘法只做一次，小因子各算各的。
#
# A server gets requests for all tasks at once. `task` says whose each row is, and `BASE`, which
# is -1, stands for none: W0 alone. The large product `x @ W0.T` runs once over all rows. Then
# each task adds its own, `scaling B_t (A_t x)`, to its rows:

# %% exact
task = np.array([2, 0, BASE, 1, 0, 2])
y, cache = layer.forward(x, task=task)
for row, t in enumerate(task):
    one = x[row : row + 1]
    alone = one @ W0.T if t == BASE else layer.select(t).forward(one)[0]
    print(f"row {row}, task {t:>2}: the same as alone: {np.allclose(y[row], alone[0])}")

# %% [markdown]
# The same up to rounding: a product over one row may add in another order than one over six. A
# merged weight cannot do this. It knows one task, so T tasks would need T weights in memory.

# %% [markdown]
# ## A task that is absent has a zero gradient
#
# > 批次里没有出现的任务，梯度恰好为零；但 AdamW 的动量仍会移动它的参数。
#
# In training, the rows of a task are the only ones that say anything about its factors. A task
# without a row gets zeros. (The loss is half the squared norm of y, so its gradient is y.)

# %% exact
task = np.array([0, 2, 0, 2, 0, 2])
y, cache = layer.forward(x, task=task)
_, grads = layer.backward(y, cache)
print("zero gradient:", [name for name, grad in grads.items() if not grad.any()])
y, cache = layer.forward(x)
_, grads = layer.backward(y, cache)
print("zero gradient in the sum:", [name for name, grad in grads.items() if not grad.any()])

# %% [markdown]
# A zero gradient is not yet a factor at rest. AdamW moves along a running mean of past gradients,
# and decays the weights besides. In the second of these steps task 1 is absent:

# %% exact
optimizer = AdamW(lr=0.01, weight_decay=0.0)
params, state = layer.trainable, optimizer.init_state(layer.trainable)
for task in (np.array([0, 1, 2, 0, 1, 2]), np.array([0, 2, 0, 2, 0, 2])):
    now = layer.with_params(params)
    y, cache = now.forward(x, task=task)
    _, grads = now.backward(y, cache)
    old, (params, state) = params, optimizer.step(params, grads, state)
    moved = not np.array_equal(old["1.A"], params["1.A"])
    print(f"tasks {task}: gradient of 1.A zero: {not grads['1.A'].any()}, 1.A moved: {moved}")

# %% [markdown]
# To leave an absent task alone, give the optimiser only the factors of those that are present.

# %% [markdown]
# ## What T tasks cost
#
# > 文章的参数量正确：一份 W0 加 T 份 2dr；十个任务约为十个独立模型的九分之一。
#
# The article counts W0 and T times 2 d r, "far less than T models". At d = 1024 and r = 8:

# %% exact
d, r = 1024, 8
print(f"{'T':>4} {'W0 and T adapters':>18} {'T models':>12}  times fewer")
for T in (1, 10, 100, 1000):
    shared, separate = several_tasks_params(d, d, r, tasks=T), T * full_params(d, d)
    print(f"{T:>4} {shared:>18,} {separate:>12,}  {separate / shared:.2f}")

# %% [markdown]
# At T = 10 that is 1,212,416 against 10,485,760: the count is right. For a single task it is more
# than one model, by A and B. For many tasks W0 hardly counts, and the gain approaches d / (2 r),
# 64 here.

# %% [markdown]
# ## The scaling after training
#
# > 训练之后缩放系数仍可调：为 0 时恰是原网络；调大时新任务先升后降，旧任务则一路遗忘。
#
# An update enters as `scaling B A`, so its strength can be turned after training, by
# `replace(layer, alpha=...)`, with A and B as they are. The study of notebook 09 did it with LoRA
# at r = 8:

# %% to 1e-6
FIGURES["scaling-sweep"].picture()

# %% [markdown]
# At 0 the network is the pretrained one, and at 1 the trained one. In between, one task is traded
# for the other. Beyond 1 the target accuracy falls as well. The update grows in proportion to the
# scaling, and the accuracies do not. On the mildest shift, in per cent, mean over seeds:

# %% to 1e-9
swept = [run for run in study.committed() if "scaling_sweep" in run]
near = [run["scaling_sweep"] for run in swept if run["shift"] == "near"]
print("share of the scaling  target  source")
for share, target, source in np.mean(near, axis=0):
    print(f"{share:>20.2f} {100 * target:>7.1f} {100 * source:>7.1f}")

# %% [markdown]
# At three quarters, the target is no worse here than at full strength and the source is better.
# But these are test images. To choose a share, keep a validation set, or the best share is picked
# by luck.

# %% [markdown]
# ## Combine adapters: stack the factors
#
# > 合并多个适配器：把因子拼接才是精确的加权和；对因子取平均会多出交叉项。
#
# A weighted sum of updates, `w1 s1 B1 A1 + w2 s2 B2 A2`, is one adapter of rank r1 + r2: put A1
# on top of A2, and the weighted B1 beside B2. That is exact. To average A and to average B keeps
# the rank, and is another update:


# %% to 1e-9
def average_factors(layer):
    A = np.mean([task.A for task in layer.tasks], axis=0)
    weighted = zip(layer.weights, layer.tasks, strict=True)
    B = sum(weight * task.scaling * task.B for weight, task in weighted)
    return LoRALinear(layer.W0, A, B, alpha=len(A), bias=layer.bias)


pair = MultiTaskLoRA(tasks[:2], weights=(0.7, 0.3))
wanted = 0.7 * tasks[0].delta_w + 0.3 * tasks[1].delta_w
for name, one in {
    "factors stacked": pair.concatenate_factors(),
    "factors averaged": average_factors(pair),
}.items():
    off = np.linalg.norm(one.delta_w - wanted) / np.linalg.norm(wanted)
    print(f"{name:<16}  r = {one.r}, off by {off:4.0%}")

# %% [markdown]
# Multiplying out shows why. With `A = (A1 + A2) / 2` and `B = w1 s1 B1 + w2 s2 B2`, each wanted
# term comes in with one half, and the other half meets the wrong partner: `B1 A2` and `B2 A1`,
# cross terms that no task has trained. The error is half of `(B1 - B2)(A2 - A1)`, with the
# weights and scalings in the B. It is gone where the A are equal, for instance one A that was
# drawn for all tasks and frozen (Sun et al., 2024), or where those B are:

# %% exact
one_A = MultiTaskLoRA(tuple(replace(one, A=tasks[0].A) for one in pair.tasks), pair.weights)
print("one A for both:", np.allclose(average_factors(one_A).delta_w, one_A.delta_w))

# %% [markdown]
# [Question 10](../docs/questions.md) shows the same in PEFT, where `cat` stacks and `linear` sums
# factors. And the exact sum of the updates need not be a good network for both tasks. That has to
# be measured.

# %% [markdown]
# ## A merge does not remember who is who
#
# > 合并之后无法再分出各任务；再减去更新也不能逐位还原，所以要保留 W0。
#
# `layer.merge()` folds the sum into one weight. What was whose is then gone, because quite other
# tasks make the same weight. Turn the stacked factors by any orthogonal Q, and cut them into
# three tasks again:

# %% to 1e-9
stacked = layer.concatenate_factors()
Q, _ = np.linalg.qr(rng.standard_normal((stacked.r, stacked.r)))
A, B = Q.T @ stacked.A, stacked.B @ Q
parts = [slice(k, k + 2) for k in (0, 2, 4)]
others = MultiTaskLoRA(tuple(LoRALinear(W0, A[k], B[:, k], alpha=2) for k in parts))
print("the merged weights agree:", np.allclose(others.merge().W, layer.merge().W))
for t, (mine, other) in enumerate(zip(layer.tasks, others.tasks, strict=True)):
    far = np.linalg.norm(other.delta_w - mine.delta_w) / np.linalg.norm(mine.delta_w)
    print(f"task {t}: its update is off by {far:.0%}")

# %% [markdown]
# Who still has the adapter can subtract it again. But a merge rounds every entry, and so does the
# subtraction. Merge and unmerge two tasks in turn, in float32, with updates a tenth as large as
# W0:

# %% depends on the seed
drawn = np.random.default_rng(0).standard_normal((3, 128, 128)).astype(np.float32)
start, W = drawn[0], drawn[0]
factors = [(M[:4], M[:, 4:8]) for M in drawn[1:]]
for turn in range(1, 101):
    for A, B in factors:
        merged = LoRALinear(W, A, B, alpha=0.2).merge()
        W = LoRALinear.unmerge(merged, A, B, alpha=0.2).W0
    if turn in (1, 10, 100):
        off = np.linalg.norm(W - start) / np.linalg.norm(start)
        print(f"turns: {turn:>3}, entries changed: {np.mean(start != W):.2f}, W0 off by {off:.0e}")

# %% [markdown]
# A single turn does little, but the error grows with their number: most of the changed entries
# change once and then stay, and a few are rounded the same way every time, and drift. In float16,
# with 13 bits fewer, each step is thousands of times larger. So keep W0, and make each merged
# weight from it anew.

# %% [markdown]
# ## The palette, and what it hides
#
# > 调色盘比喻说对了叠加与浓度，却把秩说成了颜色数：秩是方向数，每个方向是一整幅画。
#
# The article compares W0 to a finished painting, the update to a palette of few colours, and
# alpha to how thick the paint is. In that picture, with a picture:

# %% to 1e-6
FIGURES["palette"].picture()

# %% [markdown]
# The metaphor is right that the painting below is kept, that something is laid over it, and that
# alpha is its strength. It hides what r counts. A palette of r colours says nothing of where they
# go. B A is a mix of r whole pictures, each a column times a row, with as many shades as it
# likes. Paint only adds, an update also takes away. And the r pictures are not the colours of
# anything: by `B Q` and `Q⁻¹ A` they become others, with the same sum.
#
# Two tasks on one canvas are two such sums painted over each other. To see one task, take the
# other off.

# %% [markdown]
# ## Exercises
#
# > 练习：把省略号换成你的代码，运行单元格，它会告诉你哪里不对。
#
# Replace the three dots, run the cell, and read what it says. The specification in plain loops
# says what is right. It is slow on purpose; write yours without loops.
#
# ### `mixed-batch`: to each row its task

# %% exact
print(show("mixed-batch"))


# %%
def mixed_batch(x, task, W0, A, B, scaling): ...


check("mixed-batch", mixed_batch)

# %% [markdown]
# ### `combine`: one adapter for a weighted sum

# %% exact
print(show("combine"))


# %%
def combine(A, B, weights): ...


check("combine", combine)

# %% [markdown]
# ## In practice
#
# > 实践：多任务在线服务时不合并，按行分发；只服务一个任务时再合并，并始终保留 W0。
#
# - One task for all requests: merge, and pay nothing for the adapter. Several tasks in a batch:
#   leave them unmerged, and run W0 once over all rows. Servers for many adapters do so, with
#   kernels that make the small products of all adapters of a batch together (Chen et al., 2023;
#   Sheng et al., 2023).
# - In PyTorch, an optimiser skips a parameter whose `grad` is `None`, and not one whose gradient
#   is zero. Clear gradients to `None`, or AdamW moves absent tasks.
# - Save A, B, alpha, r, and which W0 they belong to. An adapter on another W0 is another model,
#   and no shape says so.
# - Before combining, look at the settings: whether alpha is divided by r or by its root, and
#   whether the weights go into the factors or into the products.

# %% [markdown]
# ## Further reading
#
# > 延伸阅读：多适配器服务系统，以及合并任务更新的研究。
#
# - L. Chen et al., "Punica: Multi-Tenant LoRA Serving", 2023, arXiv 2310.18547. Y. Sheng et al.,
#   "S-LoRA: Serving Thousands of Concurrent LoRA Adapters", 2023, arXiv 2311.03285.
# - G. Ilharco et al., "Editing Models with Task Arithmetic", 2022, arXiv 2212.04089, on sums of
#   updates. C. Huang et al., "LoraHub", 2023, arXiv 2307.13269, which mixes the factors.
# - Y. Sun et al., "Improving LoRA in Privacy-preserving Federated Learning", 2024, arXiv
#   2403.12313, on freezing A, so that averages of B are exact.
# - [Derivations](../docs/derivations.md), "Merging and unmerging": the bound on what is lost.
# - Next: [11 · Quantise the frozen weight](11-quantise-the-frozen-weight.ipynb).

# %% [markdown]
# # 09 · Compare the ways to adapt
#
# **You will** read a study of six ways to adapt one network, run a part of it again, and judge
# what one hears about them by its numbers.
#
# **You will learn** what an Adapter and DoRA are, how a finding is decided from paired runs, what
# LoRA forgets while it is on, and what comes back when it is off.
#
# **You need** notebook 07, and twenty minutes.

# %%
import numpy as np

from lora_ref import study
from lora_ref.exercises import check, show
from lora_ref.figures import FIGURES
from lora_ref.layers import Adapter, DoRALinear, LoRALinear
from lora_ref.study.digits import split
from lora_ref.study.findings import Runs, listed

# %% [markdown]
# ## One task, five shifts
#
# > 一个网络先学会手写数字，再用另外 100 张图去适应五种变化。
#
# A perceptron learns to read digits of 8 x 8 pixels from 900 images. Then the task shifts, and
# 100 other images are there to adapt to it. One of them, as each shift gives it to the network,
# with its label:

# %% exact
target = split(0).target
image = target._replace(x=target.x[5:6], labels=target.labels[5:6])
shifted = {name: shift(image) for name, shift in study.SHIFTS.items()}
shades = np.array(list(" ░▒▓█"))
print("  ".join(f"{f'{name}, {now.labels[0]}':<16}" for name, now in shifted.items()).rstrip())
for row in range(8):
    lines = [shades[np.rint(4 * now.x.reshape(8, 8)[row]).astype(int)] for now in shifted.values()]
    print("  ".join("".join(line.repeat(2)) for line in lines).rstrip())

# %% [markdown]
# `near` lowers the contrast on a grey ground, `middle` also turns the image by 30 degrees, `far`
# turns it by 90, `inverted` swaps black and white. `relabelled` keeps the image and moves every
# label on by one, so it contradicts the source task: who reads this image as an 8 no longer reads
# it as a 7.
#
# Every way to adapt ran on every shift with five seeds. The records lie in the package. This is
# how all were trained (the learning rate falls along a cosine to zero), and the network before it
# adapts:

# %% to 1e-9
records = study.committed()
found = {(row["shift"], row["method"]): row for row in study.rows(records)}
print(records[0]["settings"])
for name in study.SHIFTS:
    row = found[name, "untouched"]
    accuracies = [f"{100 * row[f'{task}_mean']:4.1f} %" for task in ("source_on", "target")]
    print(f"{name:<11} source task {accuracies[0]}, target task {accuracies[1]}")

# %% [markdown]
# ## What each way trains
#
# > 全量微调、LoRA、DoRA、Adapter、只训练输出层、只训练偏置：可训练的参数相差一百多倍。
#
# LoRA, DoRA and the Adapters stand on all three layers, and alpha is 2 r. Like is compared with
# like: the biases are frozen beside LoRA, so `weights` trains every weight and no bias, and is what
# LoRA is measured against; `lora-8-bias` and `full` train the biases too.

# %% exact
WAYS = ("full", "weights", "lora-8-bias", "lora-8", "dora", "adapter-16", "head", "biases")
for way in WAYS:
    print(f"{way:<11} {found['near', way]['parameters']:>6,}  {study.METHODS[way].text}")

# %% [markdown]
# Two of them have not been met before. An **Adapter** is a small network with a bottleneck of m
# numbers, put behind a frozen layer and added to what passes: `x + W_up relu(W_down x + b_down) +
# b_up`. The article writes `W = W0 + Adapter(x)`, a matrix plus a vector, which no rule of
# matrices adds. An Adapter acts on activations and not on the weight, and it cannot be merged
# into one: for every weight with any bias f(x + step) + f(x - step) - 2 f(x) is zero, and one
# number that is not zero is the proof. (An Adapter begins as the identity here, with W_up zero,
# and in the paper near it. So W_up is given.)

# %% to 1e-9
rng = np.random.default_rng(0)
W0, A, B = (rng.standard_normal(shape) for shape in ((5, 5), (2, 5), (5, 2)))
adapter = Adapter.init(5, 2, rng, std=1.0).with_params({"W_up": B})
lora = LoRALinear(W0, A, B, alpha=4)
x, step = rng.standard_normal((2, 1, 5))


def affine_defect(layer):
    ahead, middle, behind = (layer.forward(at)[0] for at in (x + step, x, x - step))
    return ahead + behind - 2 * middle


print("LoRA: zero, up to rounding:", np.allclose(affine_defect(lora), 0))
print(f"Adapter: {np.abs(affine_defect(adapter)).max():.3f}")

# %% [markdown]
# **DoRA** lets LoRA turn each row of the weight (a column in the paper, which writes it
# transposed: [question 18](../docs/questions.md)) and trains the length of each row by itself, as
# a `magnitude`. It is merged like LoRA. With A and B changed and the magnitudes not yet, LoRA has
# changed the lengths of the rows, and DoRA has not:

# %% to 1e-9
dora = DoRALinear.init(W0, r=2, alpha=4, rng=rng).with_params({"A": A, "B": B})
for name, W in {"W0": W0, "LoRA": lora.merge().W, "DoRA": dora.merge().W}.items():
    lengths = [np.sqrt(row @ row) for row in W]
    print(f"{name:<5}", " ".join(f"{length:6.3f}" for length in lengths))

# %% [markdown]
# ## Run a part of it again
#
# > 自己重跑一小部分：相同的种子应当给出与记录相同的结果。
#
# `study.run` trains the network on the source task, adapts it, and tests it on both tasks. One
# shift, LoRA at r = 4 and one seed, beside what was recorded:

# %% depends on the seed
runs = Runs(records)
again = study.run(["relabelled"], ["untouched", "lora-4"], seeds=1, processes=1)
print(f"{'':<10} {'target':<16} {'source, on':<16} source, off")
for record in again:
    before, cells = runs.at("relabelled", record["method"], seed=0), []
    for name in ("target", "source_on", "source_off"):
        pair = record[name], before[name]
        cells.append("-" if None in pair else f"{pair[0]:.2f} (was {pair[1]:.2f})")
    print(f"{record['method']:<10} {cells[0]:<16} {cells[1]:<16} {cells[2]}")

# %% [markdown]
# These are shares of the 697 test images, in brackets those that were recorded. Another processor
# rounds its products differently, and training amplifies that: a few images may then fall the
# other way, and in some runs of the study a few per cent of them. Two things are not a matter of
# rounding. Training LoRA left the bytes of W0 as they were, and with the adapter off the source
# accuracy is the old one, to the last image:

# %% exact
untouched, lora4 = again
same = lora4["source_off"] == untouched["source_on"]
print("W0 same, byte for byte:", lora4["w0_unchanged"], " off as before:", same)

# %% [markdown]
# ## How a finding is decided
#
# > 先在同一种子内相减，再看均值是否超过两个标准误：成立、部分成立或不成立。
#
# Take the sentence "LoRA (r = 8) beats training the head alone". A seed fixes the split of the
# images, the pretrained network and the order of the batches for every method. So the difference
# is taken within a seed, and what all methods share drops out of it. On one shift, in points:

# %% to 1e-9
accuracies = [
    [100 * runs.at("near", way, seed)["target"] for seed in runs.seeds]
    for way in ("lora-8", "head")
]
for seed, (lora8, head) in enumerate(zip(*accuracies, strict=True)):
    print(f"seed {seed}: {lora8:.2f} - {head:.2f} = {lora8 - head:+.2f}")
print("near, mean ± standard error:", runs.target("lora-8", "head")["near"])

# %% [markdown]
# The standard error is the deviation over seeds divided by the root of their number. On a shift a
# sentence holds if the mean exceeds two standard errors, and its opposite holds if the mean lies
# as far on the other side. Over all shifts the sentence **holds** if it does on every one, holds
# **partly** if on some, and **fails** if on none. Where its opposite holds on every shift, the
# finding is **opposite**; a failure alone is no proof of it.
#
# How often does chance pass this rule? Five draws of normal noise around zero, many times over:

# %% depends on the seed
noise = np.random.default_rng(0).standard_normal((100_000, len(runs.seeds)))
error = noise.std(axis=1, ddof=1) / np.sqrt(noise.shape[1])
print(f"{100 * np.mean(noise.mean(axis=1) > 2 * error):.1f} % of the draws")

# %% exact
judged = study.judge_popular(records)
print(len(judged), "sentences on", len(runs.shifts), "shifts:", len(judged) * len(runs.shifts))

# %% [markdown]
# So of that many comparisons about five would pass on noise alone, and about five opposites. (For
# the sentences with 'within a point' zero is not the middle: there, two equal methods pass often.)
# So trust a pattern over shifts more than a single mark. The seeds also draw from the same 1,797
# images, so they are less independent than the rule takes them to be.

# %% [markdown]
# ## What was found
#
# > 没有一种方法处处最好：结论取决于任务怎样变化。
#
# Rank-stabilised LoRA and PiSSA are in notebook 05, QLoRA is LoRA over a W0 that is stored in 4
# bits (notebook 11). Under the initial of each shift, `+` where a sentence holds, `-` where its
# opposite does, a dot where neither does:

# %% exact
print(*(shift[0] for shift in runs.shifts), " finding")
for sentence, (finding, pairs) in judged.items():
    marks = ("+" if one.holds else "-" if one.opposes else "." for one in pairs.values())
    print(*marks, f" {finding:<8}", sentence)

# %% [markdown]
# On `near`, `inverted` and `relabelled` the head alone beats LoRA at r = 8, with fewer
# parameters: there a new last layer over the old features is enough. On `middle` and `far`, where
# the image is turned, LoRA beats the head. DoRA beats LoRA on one shift. An Adapter beats it on
# one and loses on two. To train the biases too helps LoRA on no shift. Biases alone keep up with
# LoRA on `near`, and fall behind everywhere else.
# The [page of the study](../docs/study.md) has the numbers behind each mark.
#
# The picture shows learning and forgetting by rank: blue is the new task, orange the old one with
# the adapter on. The stars are the pretrained network, which is rank 0.

# %% to 1e-6
FIGURES["forgetting"].picture()

# %% [markdown]
# ## Forgotten while on, back when off
#
# > 适配器接上时，LoRA 同样会遗忘；拔掉之后，原任务的准确率一张图不差地恢复。
#
# The article says that full fine-tuning loses a part of what was learnt before, and that LoRA and
# an Adapter keep all of it. Accuracy on the source task, in per cent, mean over seeds:

# %% to 1e-9
print(f"{'adapter on':<11}", " ".join(f"{shift:>10}" for shift in runs.shifts))
for way in ("untouched", *WAYS):
    means = [100 * found[shift, way]["source_on_mean"] for shift in runs.shifts]
    print(f"{way:<11}", " ".join(f"{mean:>10.1f}" for mean in means))

# %% exact
back = [
    run["source_off"] == runs.at(run["shift"], "untouched", run["seed"])["source_on"]
    and run["w0_unchanged"]
    for run in records
    if run["method"] in ("lora-8", "dora", "adapter-16")
]
print(f"adapter off: {sum(back)} of {len(back)} runs give the source accuracy back, and W0's bytes")

# %% [markdown]
# With the adapter on, LoRA at r = 8 forgets more than the training of all weights on `near` and
# `middle`, by about a point on `relabelled`, and on no shift is it shown to forget less. So "LoRA
# keeps it entirely" is true of W0, and false of the network that is in use. What LoRA does have
# is the way back. But with the adapter off the new task is gone too: off, the network is the old
# one. And forgetting has to be read beside learning: biases keep most on `middle` and on the last
# two shifts, where they also learn least.
#
# To train little is not to forget little. The head has about a thirtieth of the parameters, and
# on every shift it forgets more than full fine-tuning. Full fine-tuning less head, in points:

# %% to 1e-9
print("target:", listed(runs.target("full", "head")))
print("source:", listed(runs.source("full", "head")))

# %% [markdown]
# Nor is the way back a property of low rank. Whoever stores the old head or the old biases can
# put them back, and after full fine-tuning the old weights, at the price of a second model. With
# LoRA and Adapters it costs nothing, because nothing is written over W0.

# %% [markdown]
# ## How low the rank of an update is
#
# > 全量更新的能量大多集中在少数方向上，但并非全部；秩小是否足够，要看任务。
#
# The article says LoRA assumes that the update of a task tends to lie in a low-dimensional
# subspace, so that a small r suffices, and that a small r prevents overfitting. The study
# measures how much of the squared norm of the full update its best approximation of rank r holds
# (notebook 02). Here are the two shifts on which one direction holds most, and least, of the
# first layer's update:

# %% to 1e-6
extremes = [record for record in records if record["shift"] in ("near", "far")]
FIGURES["spectrum"].picture(records=extremes)

# %% exact
for name, finding in study.judge_claims(records).items():
    print(f"{name:<21} {finding.finding}")

# %% [markdown]
# The first three are about forgetting, with the adapter on. `full-forgets` asks for any loss. To
# keep means to stay within a point, and is asked of LoRA at r = 4 and of an Adapter with m = 4,
# smaller than those in the table above. The other two are about the rank. Few directions hold
# much, but accuracy decides. At r = 4, in per cent of the images, mean over seeds:

# %% to 1e-9
print(f"{'':<11} {'test images':>20}   training images")
print(f"{'':<11} {'trunc.':>6} {'LoRA':>6} {'all':>6}   {'LoRA':>6} {'all':>6}")
for shift in runs.shifts:
    whole, lora4 = ([runs.at(shift, way, s) for s in runs.seeds] for way in ("weights", "lora-4"))
    accuracies = [[record["truncated"]["4"] for record in whole]]
    for task in ("target", "train"):
        accuracies += [[record[task] for record in way] for way in (lora4, whole)]
    cells = [f"{100 * np.mean(values):6.1f}" for values in accuracies]
    print(f"{shift:<11}", *cells[:3], " ", *cells[3:])

# %% [markdown]
# - `low-rank-suffices` asks that LoRA at r = 4 reach the training of all weights less one point,
#   with biases frozen in both and with biases trained in both. On no shift is that shown: the mean
#   is below on all five, by little on `near` and by much on `inverted`.
# - Yet on all shifts but `near`, LoRA trained at rank 4 is far above the whole update *truncated*
#   to rank 4. A spectrum says how well this one update can be truncated. It does not bound what
#   training at that rank reaches.
# - `low-rank-regularizes` asks for a smaller gap between training and test images. Except for
#   LoRA on `inverted`, both fit the training images almost entirely, so the gap is what the test
#   lacks, and LoRA lacks more. On `inverted` it fits them less well, and its gap is larger all
#   the same.

# %% [markdown]
# ## What these numbers do not say
#
# > 这些结果来自 8×8 的数字图像和一个小型网络，不能当作关于大语言模型的结论。
#
# - This is a perceptron with three layers, on digits of 64 pixels, adapted to 100 images. About
#   large language models it says nothing. For those, adapted to programming and mathematics,
#   Biderman et al. (2024) report that LoRA learns less than full fine-tuning, and forgets less.
# - Each method has one learning rate, the best of five on the mean over shifts. A rate for each
#   shift could change the order. The one of `biases` lies at the edge of what was tried.
# - All runs have 500 steps and no early stopping. A shorter run may learn less and forget less.
# - What does carry over is how to ask: both tasks, the adapter on and off, the cheap baselines,
#   several seeds, differences in pairs, and a rule that was fixed beforehand.

# %% [markdown]
# ## Exercises
#
# > 练习：把省略号换成你的代码，运行单元格，它会告诉你哪里不对。
#
# Replace the three dots, run the cell, and read what it says. The specification in plain loops
# says what is right. It is slow on purpose; write yours without loops.
#
# ### `adapter`: a bottleneck beside the identity

# %% exact
print(show("adapter"))


# %%
def adapter(x, W_down, b_down, W_up, b_up): ...


check("adapter", adapter)

# %% [markdown]
# ### `dora`: turn each row, then set its length

# %% exact
print(show("dora"))


# %%
def dora(W0, A, B, alpha, magnitude): ...


check("dora", dora)

# %% [markdown]
# ## In practice
#
# > 实践：先跑只训练输出层这个基线；每种方法各自选学习率；新旧两个任务都要测。
#
# - Run the head alone first. It is cheap, and on three of these five shifts it is better on the
#   new task than LoRA at r = 8, and than full fine-tuning.
# - Tune the learning rate for each method. At one common rate a comparison ranks the rates: the
#   [study](../docs/study.md) prints what each method reached at each of five.
# - If the old task still counts, measure it with the adapter on, or route its inputs past the
#   adapter (notebook 10).
# - `lora-ref study --shift far --methods head lora-8 full --seeds 3` makes a study of your own,
#   and `--out DIR` keeps every run as it finishes.

# %% [markdown]
# ## Further reading
#
# > 延伸阅读：各种方法的原始论文，以及关于遗忘与比较方法的研究。
#
# - N. Houlsby et al., "Parameter-Efficient Transfer Learning for NLP", 2019, arXiv 1902.00751, on
#   Adapters. S.-Y. Liu et al., "DoRA: Weight-Decomposed Low-Rank Adaptation", 2024, arXiv
#   2402.09353. E. Ben Zaken et al., "BitFit", 2021, arXiv 2106.10199, on biases.
# - D. Biderman et al., "LoRA Learns Less and Forgets Less", 2024, arXiv 2405.09673, on language
#   models.
# - A. Kumar et al., "Fine-Tuning can Distort Pretrained Features and Underperform
#   Out-of-Distribution", 2022, arXiv 2202.10054, on when the head alone is better.
# - X. Bouthillier et al., "Accounting for Variance in Machine Learning Benchmarks", 2021, arXiv
#   2103.03098, on what a seed varies.
# - Frequent questions [16 and 17](../docs/questions.md), on forgetting and on the rank.
# - Next: [10 · Serve several tasks](10-serve-several-tasks.ipynb).

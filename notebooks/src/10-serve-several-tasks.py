# %% [markdown]
# # 10 · Serve several tasks
#
# One language model is to write verse for one user and a play for another, at the same moment. Two
# fine-tuned copies would fill the memory twice; two adapters share one weight and are small.
#
# **You will** put two trained voices on one frozen language model, switch between them, add them,
# turn each up and down, run one batch that holds requests for both, and make one adapter of two.
#
# **You will learn** what a sum of adapters is and what it is not, why a merged weight cannot serve
# a mixed batch, and which way to combine adapters is exact.
#
# **You need** notebooks 01 and 03 (the formula `x W0^T + s (x A^T) B^T`), notebook 09 for one
# picture, and forty-five minutes, an hour with the exercises.

# %%
import json

import numpy as np

from lora_ref.exercises import check, hint, show
from lora_ref.figures import FIGURES
from lora_ref.layers import BASE, Linear, MultiTaskLoRA
from lora_ref.layers.composite import layers_of
from lora_ref.ops import softmax_cross_entropy
from lora_ref.transformer.voices import WEIGHTS, base_model, with_voices

# %% [markdown]
# ## One frozen weight, two voices
#
# The small language model of this package has read the King James Bible, *Alice in Wonderland* and
# a report. Two adapters of rank 8 come with it. One was trained on Milton's *Paradise Lost*
# (**verse**), the other on Shakespeare's *As You Like It* (**play**). Both sit on the same 24
# matrices of the model, and the model itself was never touched.
#
# **Predict.** The same prompt, the same random draws, three settings: no voice, verse, play. What
# will a small model pick up from a text first: its words, its line breaks, or its sense?

# %% depends on the seed
base = base_model()
names = ("verse", "play")


def write(model, prompt="The king", length=40, seed=6):
    return prompt + model.write(prompt, length, np.random.default_rng(seed), temperature=0.6)


for title, strengths in {"no voice": (0, 0), "verse": (1, 0), "play": (0, 1)}.items():
    print(f"--- {title}\n{write(with_voices(base, names, strengths))}\n")

# %% [markdown]
# What shows at once is the layout (a capital at the beginning of each line; the speaker's name)
# and some favourite words. The sense does not come at this size. One sample proves little: try
# other seeds.
#
# Here is what was switched. Take one of the 24 matrices, the queries of the first block, and rows
# that this matrix really sees: the tokens of a text, after the norm.

# %% exact
both = with_voices(base, names, (1.0, 1.0))
layer = both.gpt.blocks["0"].attention.q
W0, bias = layer.W0, layer.bias
A = [task.A for task in layer.tasks]
B = [task.B for task in layer.tasks]
s = [task.scaling for task in layer.tasks]


def rows_of(text):
    tokens = base.tokenizer.encode(text)
    embedded = base.gpt.tokens.W[tokens] + base.gpt.positions.W[: len(tokens)]
    return base.gpt.blocks["0"].norm1.forward(embedded)[0]


def one_voice(x, t):
    y = x @ W0.T + bias  # what all voices share
    return y + s[t] * (x @ A[t].T) @ B[t].T


x = rows_of("The king of Israel, and all the night of Heaven")
for t, name in enumerate(names):
    print(f"{name}: the same as the package's:", end=" ")
    print(np.allclose(one_voice(x, t), layer.select(t).forward(x)[0], atol=1e-5))
print("W0 is one array for both:", all(np.shares_memory(one.W0, W0) for one in layer.tasks))

# %% [markdown]
# `layer.select(t)` *switches*: it is the one adapter on the same W0, and nothing is copied or
# written ([layers/multitask.py](../lora_ref/layers/multitask.py)).
#
# **Predict.** How many numbers does a second voice add to this model: a tenth of it, a half?

# %% exact
matrices = [one for one in layers_of(base.gpt).values() if isinstance(one, Linear)]
arrays = [array for one in layers_of(base.gpt).values() for array in vars(one).values()]
whole = sum(array.size for array in arrays if isinstance(array, np.ndarray))
r = len(A[0])
voice = sum(r * sum(one.W.shape) for one in matrices)
print(f"the model {whole:,} numbers, a voice of rank {r} {voice:,}: {voice / whole:.1%}")
for T in (1, 2, 10, 100):
    times = T * whole / (whole + T * voice)
    print(f"T = {T:>3}: full copies take {times:.1f} times the numbers of one base and its voices")

# %% [markdown]
# This model is tiny, so a voice is a large part of it. A wide matrix does better: at width d an
# adapter has 2 d r numbers beside d^2, and with many tasks the gain approaches d / (2 r), which is
# 256 at d = 4096 and r = 8.
#
# > **Remember.** Every task keeps its own small A and B, and all tasks read the same frozen W0.
# >
# > 每个任务有自己的一对小矩阵 A 和 B，所有任务读同一个冻结的 W0。

# %% [markdown]
# ## Add two voices, or switch between them
#
# Textbooks write several tasks as a sum, `W = W0 + sum_t s_t B_t A_t`. As a formula it is a layer,
# and easy to build. But no letter in it says *which* task is meant.

# %% exact
summed = x @ W0.T + bias
for t in range(len(A)):
    summed = summed + s[t] * (x @ A[t].T) @ B[t].T
print("the same as the package's sum:", np.allclose(summed, layer.forward(x)[0], atol=1e-5))

# %% [markdown]
# To see what a sum is good for, measure. These passages come from the ends of the three texts,
# which no training has seen. `model.loss` is the mean of -log(probability) of each next token,
# over two windows of 96 tokens here. Lower is better; 6.24 would be guessing among the 512
# tokens.

# %%
bible = """Blessed are they that do his commandments, that they may have right to the tree of \
life, and may enter in through the gates into the city.
For without are dogs, and sorcerers, and whoremongers, and murderers, and idolaters, and whosoever \
loveth and maketh a lie.
I Jesus have sent mine angel to testify unto you these things in the churches. I am the root and \
the offspring of David, and the bright and morning star.
And the Spirit and the bride say, Come. And let him that heareth say, Come. And let him that is \
athirst come. And whosoever will, let him take the water of life freely.
"""
milton = """They, looking back, all the eastern side beheld
Of Paradise, so late their happy seat,
Waved over by that flaming brand; the gate
With dreadful faces thronged, and fiery arms:
Some natural tears they dropt, but wiped them soon;
The world was all before them, where to choose
Their place of rest, and Providence their guide:
They, hand in hand, with wandering steps and slow,
Through Eden took their solitary way.
"""
shakespeare = """DUKE SENIOR Stay, Jaques, stay.

JAQUES To see no pastime I what you would have
I'll stay to know at your abandon'd cave.

[Exit]

DUKE SENIOR Proceed, proceed: we will begin these rites,
As we do trust they'll end, in true delights.

[A dance]

AS YOU LIKE IT

EPILOGUE

ROSALIND It is not the fashion to see the lady the epilogue;
but it is no more unhandsome than to see the lord
the prologue. If it be true that good wine needs
"""
passages = {"Bible": bible, "Milton": milton, "Shakespeare": shakespeare}

# %% [markdown]
# **Predict.** The table will have a row for each setting and a column for each passage. With *both*
# voices at full strength, is the loss on Milton as good as with verse alone? Between no voice and
# verse? Or worse than without any voice? And on the Bible?

# %% depends on the seed
print(f"{'':<22}" + "".join(f"{name:>13}" for name in passages))
for strengths in ((0, 0), (1, 0), (0, 1), (1, 1), (0.5, 0.5)):
    model = with_voices(base, names, strengths)
    line = "".join(f"{model.loss(text):13.2f}" for text in passages.values())
    print(f"verse {strengths[0]:<4} play {strengths[1]:<6}{line}")

# %% [markdown]
# Each voice helps its own text and costs the Bible. The sum at full strength helps both a little,
# far less than either voice alone, and is the worst of all on the Bible. Half of each is better
# than the full sum on all three, and better than no voice on both new texts. So the sum is exact
# arithmetic and still not "both abilities at once". Two things are mixed up in it: together the
# updates are larger than either, and neither was trained in the presence of the other. The table
# alone does not say how much is due to which.
#
# Two windows of text are few. The records of the training have the losses on 20,000 characters of
# each text, for the base and for each voice alone:

# %% to 1e-9
for name in names:
    held_out = json.loads((WEIGHTS / name / "record.json").read_text())["held_out"]
    for text in ("kjv", *names):
        without, trained = held_out[text]
        print(f"{name:<5} on {text:<5}: off {without:.2f}, on {trained:.2f}")

# %% [markdown]
# To *switch*, keep one term. Nothing is written, so the way back is exact, bit for bit:

# %% exact
kept, before = layer.W0.copy(), layer.select(0).forward(x)[0]
for t in (*range(len(A)), 0):
    after = layer.select(t).forward(x)[0]
print("W0, bit for bit:", np.array_equal(kept, layer.W0))
print("the first voice again, bit for bit:", np.array_equal(before, after))

# %% [markdown]
# > **Remember.** A sum has all tasks on at once and is a model that nobody trained; to serve one
# > task, keep its term alone, and to serve two, try half of each.
# >
# > 求和会把所有任务同时打开，得到一个没有人训练过的模型；要服务一个任务，就只保留它那一项。

# %% [markdown]
# ## A dial for each voice
#
# An update enters as `s B A`, so it can be turned after training by one number, A and B untouched.
# At 0 the base speaks, at 1 the trained voice.
#
# **Predict.** You turn verse from 0 to 2 in steps. Where will the loss on Milton's lines be least:
# at 1, where it was trained, below it, or beyond? And the loss on the Bible?

# %% depends on the seed
print("strength of verse   Milton   the Bible")
for strength in (0, 0.25, 0.5, 0.75, 1, 1.25, 1.5, 2):
    model = with_voices(base, ["verse"], [strength])
    print(f"{strength:>17} {model.loss(milton):8.2f} {model.loss(bible):11.2f}")

# %% [markdown]
# On Milton the loss falls steeply at first, is flat around 1, and rises beyond. On the Bible the
# first quarter costs next to nothing, and then the price rises faster and faster. The update
# grows in proportion to the strength; what the model does with it does not.
#
# The same dial was turned in the study of notebook 09: a small network reads digits, the pictures
# change (five kinds of change), and LoRA of rank 8 adapts it. Solid blue is the new task
# (*target*), dashed orange the old one (*source*); the panels go from a small change of the
# pictures to new labels.
#
# **Predict.** Do the two lines cross before 1, at 1 or beyond?

# %% to 1e-6
FIGURES["scaling-sweep"].picture()

# %% [markdown]
# Always before 1: late where the change is small, early where the labels are new. At 0 you have the
# old network, and in between one task is traded for the other. Which point is best depends on what
# you serve. Choose it on data that is neither trained on nor reported.
#
# > **Remember.** The strength of an adapter is a dial that you may turn after training: it trades
# > the new task for the old one.
# >
# > 适配器的强度是训练之后仍可转动的旋钮：它在新任务和旧任务之间取舍。

# %% [markdown]
# ## A batch in which each row has its own voice
#
# A server collects requests for all its users and runs them as one batch. So each row belongs to a
# task of its own. A merged weight cannot do that: it speaks in one voice.
#
# The obvious way is a loop over the tasks, with a column of ones and zeros that says whose a row
# is:

# %% exact
task = np.array([1, 0, 0, 1, 1, 0, 1, 0, 0, 1])  # one for each row
batch = rows_of("The king of Israel, and all the night of Heaven")[: len(task)]
task = task[: len(batch)]


def masked(x, task):
    y = x @ W0.T + bias  # once, for all rows
    for t in range(len(A)):
        mine = (task == t)[:, None]
        y = y + mine * (s[t] * (x @ A[t].T) @ B[t].T)
    return y


y, _ = layer.forward(batch, task=task)
print("the same as the package's mixed batch:", np.allclose(masked(batch, task), y, atol=1e-5))

# %% [markdown]
# Right, and wasteful: every adapter runs over every row, and most of it is multiplied by zero.
#
# **Predict.** With 100 tasks and 100 rows, one for each, how many rows go through the small
# products in the loop above? How many have to?
#
# <details><summary>Answer</summary>
#
# 100 times 100, ten thousand, of which one hundred are used. At d = 4096 and r = 8 the small
# products of one task cost 2 r / d = 1/256 of the large one, so a hundred of them over all rows
# cost 39 % of it instead of 0.4 %.
#
# </details>

# %% [markdown]
# So sort the rows by task. Then each task is one *run* of neighbouring rows, and its two thin
# products see these rows alone:

# %% exact
order = np.argsort(task, kind="stable")
rows, whose = batch[order], task[order]
print("before:", task, "\nsorted:", whose)
y_sorted = rows @ W0.T + bias  # still once, for all rows
for t in np.unique(whose):
    first, last = np.searchsorted(whose, [t, t + 1])
    run = rows[first:last]
    y_sorted[first:last] += s[t] * (run @ A[t].T) @ B[t].T
    print(f"task {t}: rows {first} to {last - 1} of the sorted batch")
print("the same rows, in sorted order:", np.allclose(y_sorted, y[order], atol=1e-5))

# %% [markdown]
# The answers are right and stand in the wrong order: user 0 would get the answer of another.
# Putting them back is left to you, in the exercise `mixed-batch`.
#
# Now the whole model at once. Three requests, one for each passage: the Bible without a voice
# (`BASE`, which is -1), Milton with verse, Shakespeare with play. All 24 layers are told whose the
# rows are; a row is a token here.
#
# **Predict.** Each passage has its best setting now. Will the losses be as good as alone, or does a
# passage suffer from its neighbours in the batch?

# %% depends on the seed
texts = np.stack([base.tokenizer.encode(text)[:97] for text in passages.values()])
inputs, following = texts[:, :-1], texts[:, 1:]
whose = np.repeat([[BASE], [0], [1]], inputs.shape[1], axis=1)  # a task for each token
# a layer with voices has a child ".0", the first of them: take the names of these layers
adapted = [path.removesuffix(".0") for path in layers_of(both.gpt) if path.endswith(".0")]
# keywords hand the task of each row to the forward pass of each such layer
logits, _ = both.gpt.forward(inputs, keywords={f"{path}.task": whose for path in adapted})
for i, (name, strengths) in enumerate(zip(passages, ((0, 0), (1, 0), (0, 1)), strict=True)):
    alone, _ = with_voices(base, names, strengths).gpt.forward(inputs[i])
    losses = [softmax_cross_entropy(one, following[i])[0] for one in (logits[i], alone)]
    print(f"{name:<12} in the batch {losses[0]:.3f}, alone {losses[1]:.3f}")

# %% [markdown]
# (These are the first 96 tokens of each passage; the table above used two windows of each.)
#
# > **Remember.** In a mixed batch the large product runs once over all rows, and each small one
# > over its own rows; the answers go back to the order of the requests.
# >
# > 在混合批次中，大矩阵乘法对所有行只做一次，小矩阵各算自己的行，最后按请求的顺序放回。

# %% [markdown]
# ## One adapter of two
#
# Say you like the compromise, half of each voice, and want it as *one* adapter, to store or to
# send. The mean of two updates is `(s B1 A1 + s B2 A2) / 2`.
#
# **Predict.** You average the two A and average the two B. Is the product the mean of the two
# updates? Multiply out `(B1 + B2)(A1 + A2)` before you read on.

# %% to 1e-6
FIGURES["cross-terms"].picture(tasks=layer.tasks, names=names)

# %% [markdown]
# Stacked, every column of B meets its own row of A. Averaged, half of what comes out are products
# of factors that never met in training. In NumPy, for this layer:


# %% to 1e-6
def off(got, wanted):
    return np.linalg.norm(got - wanted) / np.linalg.norm(wanted)


wanted = (s[0] * B[0] @ A[0] + s[1] * B[1] @ A[1]) / 2
long_A = np.vstack(A)
wide_B = np.hstack([s[0] * B[0] / 2, s[1] * B[1] / 2])
print(f"stacked, A {long_A.shape} and B {wide_B.shape}: off by {off(wide_B @ long_A, wanted):.0e}")
mean_A, mean_B = np.mean(A, axis=0), (s[0] * B[0] + s[1] * B[1]) / 2
print(f"averaged, A {mean_A.shape} and B {mean_B.shape}: off by {off(mean_B @ mean_A, wanted):.2f}")
halves = MultiTaskLoRA(layer.tasks, (0.5, 0.5))
stacked = halves.concatenate_factors()
print("the same as the package's:", np.allclose(stacked.delta_w, wanted, atol=1e-6))

# %% [markdown]
# The error is half as large as the update that was asked for, in this layer. (To serve nothing at
# all would be off by 1.)
#
# **Predict.** Is it so in all 24? And if the two adapters shared one frozen A and had trained B
# alone: what would the average be off by then? The last line gives both voices the A of the
# first.

# %% to 1e-6
every = layers_of(both.gpt)
offs = []
for path in adapted:
    one, other = every[f"{path}.0"], every[f"{path}.1"]
    mean = (one.B + other.B) / 2 @ ((one.A + other.A) / 2) * one.scaling
    offs.append(off(mean, (one.delta_w + other.delta_w) / 2))
print(f"in {len(offs)} layers: off by {min(offs):.2f} to {max(offs):.2f}")
print(f"with one A for both: off by {off(mean_B @ A[0], wide_B @ np.vstack([A[0], A[0]])):.0e}")

# %% [markdown]
# With one A, of course, the cross terms are the wanted terms. In *federated* training many owners
# train on data of their own and send only their adapters to be averaged. Some methods freeze one A
# for everybody: then the average of the B is the average of the updates. These two voices did
# begin at the same random A, and training moved them apart.
#
# Two warnings. An average of factors is not always a bad *model*: it is another one than you
# asked for, so measure it. And an exact sum need not be a good one, as the table above shows.
#
# ### The same in PEFT
#
# Not run here. `cat` stacks the factors. `linear` adds the A and adds the B, each times the root of
# weight times scaling. So with weights 1/2 and 1/2 it keeps the two wanted terms whole and adds
# both cross terms: twice the average above, and with one A for both twice the update you asked for.
#
# ```python
# from peft import PeftModel
#
# model = PeftModel.from_pretrained(base, "voices/verse", adapter_name="verse")
# model.load_adapter("voices/play", adapter_name="play")
# model.set_adapter("play")  # switch
# both = {"adapters": ["verse", "play"], "weights": [0.5, 0.5]}
# model.add_weighted_adapter(**both, adapter_name="half", combination_type="cat")
# model.set_adapter("half")
# model.eval()
# model.generate(**inputs, adapter_names=["__base__", "verse", "play"])  # a mixed batch of three
# ```
#
# > **Remember.** Stack the factors and the sum of the updates is exact; average the factors and
# > strangers are multiplied.
# >
# > 把因子拼接，更新之和就是精确的；对因子取平均，会把互不相识的因子相乘。

# %% [markdown]
# ## Merge and take out, a hundred times
#
# `W = W0 + s B A` is as fast as the base alone. For one voice that is the thing to serve.
#
# **Predict.** A server merges verse, takes it out again by subtracting the same update, merges
# play, takes it out, and so on. After a hundred turns, is W0 back: bit for bit, nearly, or not at
# all? And in 16 bits?

# %% depends on the seed
for dtype in (np.float32, np.float16):
    start = W0.astype(dtype)
    updates = [(s[t] * B[t] @ A[t]).astype(dtype) for t in range(len(A))]
    W = start
    for turn in range(1, 101):
        for update in updates:
            W = W + update - update
        if turn in (1, 10, 100):
            wide, changed = start.astype(np.float64), np.mean(start != W)
            text = f"{changed:.2f} of the entries changed, off by {off(W, wide):.0e}"
            print(f"{np.dtype(dtype).name}, turn {turn:>3}: {text}")

# %% [markdown]
# Every addition rounds. Most of the changed entries change once and then stay; where two voices
# alternate, a few drift, and the error grows with the number of turns. (With one voice alone it
# does not grow after the first turn: try `updates[:1]`.) In float32 it is small; in float16 it is
# thousands of times larger. And who has only the merged W, and no A and B, cannot tell what was
# whose. So keep W0, and make each merged weight from it anew.
#
# > **Remember.** A merged weight speaks in one voice; keep W0 and the factors, and merge a copy.
# >
# > 合并后的权重只有一种声音；保留 W0 和因子，只合并副本。

# %% [markdown]
# ## Exercises
#
# Replace the three dots and run the cell. The specification in plain loops is slow on purpose:
# yours should have none over the rows. Each exercise asks something to answer before you write.
# If you are stuck there are three hints, none of which is the answer:

# %% exact
print(hint("mixed-batch", 1))

# %% [markdown]
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
# ### To think about
#
# 1. You train both voices in one mixed batch, and for a while no row of *play* comes. What is the
#    gradient of its A and B? AdamW moves along a mean of past gradients: will they stand still?
# 2. Turn stacked factors by an orthogonal Q: `B Q` and `Q^T A`. What is the product? Can anybody
#    tell from it which part was verse?
# 3. You may give each voice its own strength. Is there a pair that is better on Milton *and* on
#    Shakespeare than half and half? Search with `with_voices` and `model.loss`, and say what you
#    would have to hold out for the answer to mean something.
# 4. A voice with strength -1: what should it write? Try it, then explain what you see.

# %% [markdown]
# ## In practice
#
# - One task for all requests: merge a copy, and pay nothing for the adapter. Several in a batch:
#   leave them unmerged. Servers for many adapters run W0 once over all rows and gather the small
#   products in one kernel (Punica, S-LoRA).
# - An adapter belongs to one W0. On another it is another model, and no shape says so. Store beside
#   it which base it was trained on.
# - In PyTorch an optimiser skips a parameter whose `grad` is `None`, and not one whose gradient is
#   zero. Clear gradients to `None`, or AdamW moves tasks that are absent.
# - Before you combine, look whether the weights go into the products or into the factors
#   ([question 10](../docs/questions.md)).

# %% [markdown]
# ## Further reading
#
# - L. Chen et al., "Punica: Multi-Tenant LoRA Serving", 2023, arXiv 2310.18547. Y. Sheng et al.,
#   "S-LoRA: Serving Thousands of Concurrent LoRA Adapters", 2023, arXiv 2311.03285.
# - G. Ilharco et al., "Editing Models with Task Arithmetic", 2022, arXiv 2212.04089, on sums of
#   updates. C. Huang et al., "LoraHub", 2023, arXiv 2307.13269, which mixes the factors.
# - Y. Sun et al., "Improving LoRA in Privacy-preserving Federated Learning", 2024, arXiv
#   2403.12313, on freezing A, so that averages of B are exact.
# - [Derivations](../docs/derivations.md), "Merging and unmerging": the bound on what is lost.
# - Next: [11 · Quantise the frozen weight](11-quantise-the-frozen-weight.ipynb).

# %% [markdown]
# # 10 · Serve several tasks
#
# One language model is to write verse for one user and a play for another, at the same moment. Two
# fine-tuned copies take twice the memory. Two adapters share one frozen model, and each adds little
# to it: the wider the model, the less.
#
# **You will** put two trained voices on one frozen language model, switch between them, add them,
# turn each up and down, run one batch that holds requests for both, and make one adapter of two.
#
# **You will learn** what a sum of adapters is and what it is not, what a batch of several voices
# costs, and how far the ways to make one adapter of two are from what you asked for.
#
# **You need** notebooks 01, 02 and 03 (the SVD, and the formula `x W0^T + s (x A^T) B^T`),
# eighty-five minutes with the exercise in its middle, and thirty-five for the two at its end. You
# need not know how a transformer works (08 and 09 are mentioned, not needed): think of 24 linear
# layers (4 blocks, 6 in each) with other things between them. A *token* is a piece of a word, one
# row of x.

# %%
import json
from dataclasses import replace

import numpy as np

from lora_ref.exercises import check, hint, show
from lora_ref.figures import FIGURES
from lora_ref.layers import BASE, Linear, MultiTaskLoRA
from lora_ref.layers.composite import layers_of
from lora_ref.lowrank import truncate
from lora_ref.ops import softmax_cross_entropy
from lora_ref.study.records import committed
from lora_ref.transformer.voices import WEIGHTS, base_model, with_voices

# %% [markdown]
# ## One frozen weight, two voices
#
# The small language model of this package has read the King James Bible, *Alice in Wonderland* and
# a report on a workshop. Two adapters of rank 8 come with it. One was trained on Milton's *Paradise
# Lost* (**verse**), the other on Shakespeare's *As You Like It* (**play**). Both sit on the same 24
# matrices of the model, and the model itself was never touched.
#
# **Predict.** The same prompt, the same random draws, three settings: no voice, verse, play. What
# will tell you first which voice is speaking?

# %% depends on the seed
base = base_model()
names = ("verse", "play")


def write(model, prompt="The king", length=40, seed=6):
    return prompt + model.write(prompt, length, np.random.default_rng(seed), temperature=0.6)


for title, strengths in {"no voice": (0, 0), "verse": (1, 0), "play": (0, 1)}.items():
    print(f"--- {title}\n{write(with_voices(base, names, strengths))}\n")

# %% [markdown]
# What shows at once is the layout (a capital at the beginning of each line; the speaker's name)
# and some favourite words. A model of this size makes little sense. One sample proves little: try
# other seeds.
#
# Here is what was switched. Take one of the 24 matrices, the first of the first block (it makes the
# *queries*, notebook 08), and an x that it really sees. Each row of x is a token of a text, looked
# up in a table and rescaled by a *norm*.

# %% exact
both = with_voices(base, names, (1.0, 1.0))
layer = both.gpt.blocks["0"].attention.q  # block 0, the queries
W0, bias = layer.W0, layer.bias
A = [task.A for task in layer.tasks]
B = [task.B for task in layer.tasks]
s = [task.scaling for task in layer.tasks]
print("s = alpha / r of each voice:", *s)


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
# `layer.select(t)` *switches*: it returns a layer that has adapter t alone, on the same array W0.
# Nothing is copied, and no weight is changed
# ([layers/multitask.py](../lora_ref/layers/multitask.py)).
#
# **Predict.** How much does a second voice add to this model: a hundredth of it, a tenth, a half?

# %% exact
every = layers_of(base.gpt)  # all layers by name, such as "blocks.0.attention.q"
linears = {path: one for path, one in every.items() if isinstance(one, Linear)}
arrays = [array for one in every.values() for array in vars(one).values()]
whole = sum(array.size for array in arrays if isinstance(array, np.ndarray))  # all its numbers
r, d = len(A[0]), 4096
voice = sum(r * sum(one.W.shape) for one in linears.values())
print(f"the model {whole:,} numbers, a voice of rank {r} {voice:,}: {voice / whole:.1%}")
print("numbers in T full copies, divided by the numbers in one base and T voices:")
print(f"{'this model':>37}   a {d} x {d} matrix")
for T in (2, 10, 100, 10_000):
    small, wide = (T * W / (W + T * AB) for W, AB in ((whole, voice), (d * d, 2 * d * r)))
    print(f"T = {T:>6,}: {small:20.1f} times {wide:16.1f} times")

# %% [markdown]
# This model is tiny, so a voice is a large part of it. At width d an adapter has 2 d r numbers
# beside d^2. However many tasks there are, the gain stays below d / (2 r), which is 256 at d = 4096
# and r = 8; it comes near with thousands of tasks.
#
# > **Remember.** Every task keeps its own small A and B, and all tasks read the same frozen W0.
# >
# > 每个任务有自己的一对小矩阵 A 和 B，所有任务读同一个冻结的 W0。

# %% [markdown]
# ## Add two voices, or switch between them
#
# Several tasks are often written as a sum, `W = W0 + sum_t s_t B_t A_t`. The formula is easy to
# build as a layer. But nothing in it says *which* task a row belongs to: each gets all of them.

# %% exact
summed = x @ W0.T + bias
for t in range(len(A)):
    summed = summed + s[t] * (x @ A[t].T) @ B[t].T
print("the same as the package's sum:", np.allclose(summed, layer.forward(x)[0], atol=1e-5))

# %% [markdown]
# To see what a sum is good for, measure. These passages come from the ends of the three texts,
# which no training has seen. `model.loss` is the mean of -log(probability) of each next token. It
# reads *windows* of 96 tokens, as many as the model sees at once: two of each passage. Lower is
# better; 6.24 would be guessing among the 512 tokens.

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
# voices at full strength, is the loss on Milton as good as with verse alone, between verse and no
# voice, or worse than without any voice?

# %% depends on the seed
print(f"{'':<22}" + "".join(f"{name:>13}" for name in passages))
for strengths in ((0, 0), (1, 0), (0, 1), (1, 1), (0.5, 0.5)):
    model = with_voices(base, names, strengths)
    line = "".join(f"{model.loss(text):13.2f}" for text in passages.values())
    print(f"verse {strengths[0]:<4} play {strengths[1]:<6}{line}")

# %% [markdown]
# Each voice helps its own text and costs the Bible, and verse costs Shakespeare too. The sum at
# full strength helps both new texts a little, far less than each text's own voice does alone, and
# is the worst of all on the Bible. Half of each is better than the full sum on all three, and
# better than no voice on both new texts. So the sum is exact arithmetic and still not "both
# abilities at once". At least two things are mixed up in it: together the updates are larger than
# either, and neither was trained in the presence of the other.
#
# Two windows are few. The records of the training have the losses on 20,000 characters of each
# text, for one voice at a time. The sums rest on the two windows alone.

# %% to 1e-9
for name in names:
    held_out = json.loads((WEIGHTS / name / "record.json").read_text())["held_out"]
    for key, text in {"kjv": "Bible", "verse": "Milton", "play": "Shakespeare"}.items():
        without, trained = held_out[key]
        print(f"{text:<12} without {name:<5} {without:.2f}, with it {trained:.2f}")

# %% [markdown]
# > **Remember.** A sum has all tasks on at once and is a model that nobody trained; blend half and
# > half only where a single answer should have something of both.
# >
# > 求和同时打开所有任务，没人训练过这个模型；只有一个回答要兼有两者时，才试各取一半。

# %% [markdown]
# ## A dial for each voice
#
# An update enters as `s B A`. Multiply s by a number, the **strength**, and leave A and B alone: at
# strength 0 the base speaks, at 1 the voice as it was trained (s itself is 2 there, as printed
# above).
#
# **Predict.** You turn verse from 0 to 2 in steps. Where will the loss on Milton's lines be least:
# at 1, where it was trained, below it, or beyond?

# %% depends on the seed
print("strength of verse   Milton   the Bible")
for strength in (0, 0.25, 0.5, 0.75, 1, 1.25, 1.5, 2):
    model = with_voices(base, ["verse"], [strength])
    print(f"{strength:>17} {model.loss(milton):8.2f} {model.loss(bible):11.2f}")

# %% [markdown]
# On Milton the loss falls steeply at first, is flat around 1, and rises beyond. On the Bible the
# first quarter costs next to nothing; then the loss climbs, from about 1 on by nearly the same
# amount for every quarter. The update grows in proportion to the strength; the loss does not.
#
# The same dial was turned in the study of notebook 09, where LoRA of rank 8 adapts a small reader
# of digits (*source*) to changed digits (*target*). Two of the five changes matter here: *near* has
# less contrast on a grey ground, and *inverted* has black for white. The strength is called *share
# of the trained scaling* there. Points are means over five runs, and a bar is one standard error of
# that mean (how far such means typically scatter).
#
# **Predict.** Do the two lines cross before 1, at 1 or beyond?

# %% to 1e-6
changes = ("near", "inverted")
FIGURES["scaling-sweep"].picture(records=[one for one in committed() if one["shift"] in changes])

# %% [markdown]
# Before 1, both times. On *near* the lines meet at 0.75 with both above 90 %, and the target is as
# good there as at 1: the middle is a real compromise. On *inverted* they meet near 25 %: halfway,
# the network can do neither task. A crossing is not yet a good setting: read its height too. And
# choose the strength on data apart from the data that you report. (We did not, above.)
#
# > **Remember.** The strength of an adapter is a dial that you may turn after training: up to about
# > 1 it gives to the new task and takes from the old one; far beyond, both get worse.
# >
# > 适配器的强度在训练之后仍可转动：调到 1 左右，新任务得益，旧任务受损；再大许多，两者都变差。

# %% [markdown]
# ## A batch in which each row has its own voice
#
# A server collects requests for all its users and runs them as one batch. So each row belongs to a
# task of its own. The plainest way takes the rows one at a time:

# %% exact
task = np.array([1, 0, 0, 1, 1, 0, 1, 0, 0, 1])  # whose each row is: 0 verse, 1 play
batch = rows_of("The king of Israel, and all the night of Heaven")[: len(task)]
y = np.array([one_voice(row, t) for row, t in zip(batch, task, strict=True)])
expected, _ = layer.forward(batch, task=task)
print("the same as the package's mixed batch:", np.allclose(y, expected, atol=1e-5))

# %% [markdown]
# **Predict.** A hundred rows, each with a task of its own. This loop reads the large W0 a hundred
# times. How often does it have to be read?
#
# <details><summary>Answer</summary>
#
# Once: `x @ W0.T` is the same for all rows, whatever their tasks. (With each update added into
# a copy of W0, there would be a hundred large weights, each of them read for one row.)
#
# </details>
#
# The small products differ from task to task. At d = 4096 and r = 8 one adapter has 2 r / d = 1/256
# of the numbers of W0, and takes 1/256 of the multiplications over the same rows. Let each run over
# its own row.
#
# **Predict.** How much of the large product do the hundred take together? And how many numbers have
# to be *read* for them, against those of W0?
#
# <details><summary>Answer</summary>
#
# Each takes a hundredth of its 1/256. A hundred of them make 1/256 = 0.4 % of the large product.
#
# *Read* are a hundred adapters, each once, however few rows it has: 100/256 = 39 % of the numbers
# of W0. With so few rows a processor waits for numbers more than it multiplies: the 39 % takes the
# time, and not the 0.4 %.
#
# </details>

# %% [markdown]
# So the large product runs once, and each adapter sees its own rows alone. In NumPy you could pick
# the rows of a task with `x[task == t]`, and that is a good answer. Or sort the rows once, before
# the first layer: then the rows of a task lie side by side in all 24 layers, and each layer takes a
# slice. The order:

# %% exact
order = np.argsort(task, kind="stable")
print("before:", task, "\nsorted:", task[order])

# %% [markdown]
# Each *run* of neighbouring rows takes two thin products with its own A and B. Then the answers
# stand in the wrong order, and user 0 would get the answer of another.
#
# ### `mixed-batch`: to each row its task
#
# The products, and the way back, are for you to write. `spec` is an exact description, and slow:
# write a version without its loop over the rows of x. Replace the three dots and run the cell.
# There are three hints, none of which is the answer: `print(hint("mixed-batch", 1))`.

# %% exact
print(show("mixed-batch"))


# %%
def mixed_batch(x, task, W0, A, B, scaling): ...


check("mixed-batch", mixed_batch)

# %% [markdown]
# Now the whole model at once, on your function. (Until you have written it, the package's runs in
# its place.) Three requests, as they came in: Shakespeare with play, the Bible without a voice (the
# package writes -1 for that, and calls it `BASE`), Milton with verse. A row is a token here, and
# all 24 layers are told whose the rows are.


# %%
class Served(MultiTaskLoRA):
    """Both voices on one W0, run by `mixed_batch`."""

    def forward(self, x, task):
        A, B, s = ([getattr(t, key) for t in self.tasks] for key in ("A", "B", "scaling"))
        y = mixed_batch(x.reshape(-1, x.shape[-1]), np.ravel(task), self.W0, A, B, s)
        if y is None:
            return super().forward(x, task=task)
        return (y.reshape(*x.shape[:-1], -1) + self.bias).astype(x.dtype), None


on_base = layers_of(both.gpt)  # "blocks.0.attention.q.0" is verse on the layer q, ".1" is play
# `mapped` goes through all layers, and puts what the function returns in the place of each
served = base.gpt.mapped(
    lambda path, one: (
        Served((on_base[f"{path}.0"], on_base[f"{path}.1"])) if path in linears else one
    )
)


def run(tokens, whose):
    """Return scores for the next token, the logits; whose[i] is the task of request i."""
    tasks = np.repeat(whose, tokens.shape[1]).reshape(tokens.shape)  # a task for each token
    # `keywords` hands an argument to layers by name: each of the 24 gets `task=tasks`
    return served.forward(tokens, keywords={f"{path}.task": tasks for path in linears})[0]


# %% [markdown]
# **Predict.** Each passage now has the voice made for its text. Will the losses be as good as
# alone, or does a passage suffer from its neighbours in the batch?

# %% depends on the seed
requests = {"Shakespeare": 1, "Bible": BASE, "Milton": 0}
texts = np.stack([base.tokenizer.encode(passages[name])[:97] for name in requests])
inputs, following = texts[:, :-1], texts[:, 1:]
logits = run(inputs, [*requests.values()])
for i, (name, t) in enumerate(requests.items()):
    model = base if t == BASE else with_voices(base, [names[t]], [1.0])
    alone, _ = model.gpt.forward(inputs[i])
    losses = [softmax_cross_entropy(one, following[i])[0] for one in (logits[i], alone)]
    print(f"{name:<12} in the batch {losses[0]:.3f}, alone {losses[1]:.3f}")

# %% [markdown]
# (These are the first 96 tokens of each passage; the table above used two windows of each.) Let the
# same batch write: one prompt, three voices, and in every step the likeliest token of each.

# %% depends on the seed
tokens = np.tile(base.tokenizer.encode("And"), (3, 1))
for _ in range(20):
    logits = run(tokens, [*requests.values()])
    tokens = np.column_stack([tokens, logits[:, -1].argmax(axis=-1)])
for name, line in zip(requests, tokens, strict=True):
    print(f"{name:<12} {base.tokenizer.decode(line)!r}")

# %% [markdown]
# Did you sort? Then leave out the way back, and run these cells again. Each of the 24 layers hands
# its rows to another request. Which voice writes, if any? (With `x[task == t]` nothing has
# to be put back.)
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
# **Predict.** You average the two A and average the two B. How far is the product from the mean of
# the two updates: not at all, a tenth of its norm, a half? Multiply out `(B1 + B2)(A1 + A2)` first.


# %% depends on the seed
def off(got, wanted):
    return np.linalg.norm(got - wanted) / np.linalg.norm(wanted)


wanted = sum(s[t] * B[t] @ A[t] for t in range(len(A))) / len(A)
mean_A, mean_B = np.mean(A, axis=0), np.mean([s[t] * B[t] for t in range(len(A))], axis=0)
averaged = mean_B @ mean_A
print(f"averaged, {mean_A.shape} and {mean_B.shape}: off by {off(averaged, wanted):.2f}")

# %% [markdown]
# Four products come of it, each with a quarter. Two are wanted, with a half. The other two, the
# *cross terms*, are of factors that never met in training.
#
# **Predict.** Which makes more of the 0.53, the missing quarters or the cross terms? Do they partly
# cancel?

# %% to 1e-6
FIGURES["cross-terms"].picture(tasks=layer.tasks, names=names)

# %% depends on the seed
quarters = wanted / 2
errors = [np.linalg.norm(part) / np.linalg.norm(wanted) for part in (quarters, averaged - quarters)]
print(f"the missing quarters {errors[0]:.2f}, the cross terms {errors[1]:.2f}", end="; ")
print(f"at right angles they would make {np.hypot(*errors):.2f}")
cosine = np.sum(A[0] * A[1]) / (np.linalg.norm(A[0]) * np.linalg.norm(A[1]))
print(f"the cosine of the two A: {cosine:.2f}")

# %% [markdown]
# The quarters make a little more. (No adapter at all would be off by 1.) Two errors of 0.50 and
# 0.44 at right angles would make 0.67. These make 0.53, so they partly cancel: the cross terms
# put back part of what the missing quarters took away. Both voices began at the same random A, and
# some of it is left (the cosine). With one A for both, the average is exact:
# B1 A + B2 A = (B1 + B2) A.
#
# Stacked, every column of B meets its own row of A. Why is that exact? `B A` is a sum of outer
# products, one for each column of B and the row of A with its number. The mean of two updates of
# rank 8 is a sum of sixteen, and one pair can hold sixteen:

# %% depends on the seed
outer = [
    s[t] / len(A) * np.outer(B[t][:, k], A[t][k]) for t in range(len(A)) for k in range(len(A[t]))
]
stacked = MultiTaskLoRA(layer.tasks, (0.5, 0.5)).concatenate_factors()
print(f"{len(outer)} outer products: off by {off(sum(outer), wanted):.0e}")
print("the package's stacked pair:", stacked.A.shape, stacked.B.shape, end=", ")
print("the same product:", np.allclose(stacked.delta_w, sum(outer), atol=1e-6))

# %% [markdown]
# How to stack a pair is the exercise `combine`.
#
# > **Remember.** Stack the factors and the sum of the updates is exact; average the factors and
# > strangers are multiplied.
# >
# > 把因子拼接，更新之和就是精确的；对因子取平均，会把互不相识的因子相乘。

# %% [markdown]
# ## Room for rank 8 only
#
# Stacking costs rank: the pair grows with every voice. If there is room for rank 8 only, you may
# average the factors, or take the matrix of rank 8 that is nearest to the wanted update (notebook
# 02 proved that none is nearer). Two windows of text are too few to rank such models. They can show
# whether the nearest matrix has to be the better one.
#
# **Predict.** On how many of the two new texts has the nearest matrix less loss than the average?
# Where it has more: is the average just a smaller update? (The norms are shares of the wanted one.
# The last row has the nearest matrix with the norm of the average.)


# %% depends on the seed
def with_update(make):
    """Return the model with one update, made of those of both voices, in each linear layer."""
    offs, norms = [], []

    def change(path, one):
        if path not in linears:
            return one
        pair = on_base[f"{path}.0"], on_base[f"{path}.1"]  # verse and play on this layer
        update, wanted = make(*pair), mean_of(*pair)
        offs.append(off(update, wanted))
        norms.append(np.linalg.norm(update) / np.linalg.norm(wanted))
        return replace(one, W=one.W + update)

    return base.with_gpt(base.gpt.mapped(change)), offs, norms


def mean_of(one, other):
    return (one.delta_w + other.delta_w) / 2


def average(one, other):
    return one.scaling * (one.B + other.B) @ (one.A + other.A) / 4


def nearest(one, other):
    return truncate(mean_of(one, other), room)


def shortened(one, other):
    update = nearest(one, other)
    return update * (np.linalg.norm(average(one, other)) / np.linalg.norm(update))


def compare(ways):
    print(f"{'24 layers':<18}       off by    norm" + "".join(f"{name:>13}" for name in passages))
    for title, make in ways.items():
        model, offs, norms = with_update(make)
        line = "".join(f"{model.loss(text):13.2f}" for text in passages.values())
        print(f"{title:<18} {min(offs):.2f} to {max(offs):.2f} {np.mean(norms):7.2f}{line}")


room = 8
ways = {
    f"stacked, rank {2 * r}": mean_of,
    "averaged": average,
    f"nearest of rank {room}": nearest,
    "nearest, shortened": shortened,
}
compare(ways)

# %% [markdown]
# On one, Shakespeare. On Milton it is worse, although no matrix of rank 8 is nearer. Size is not
# why: shortened it is no better. On the Bible it is: shortened it is level with the average. The
# norm counts all errors alike; the loss does not. So an average of factors need not be a bad
# *model*. It is another one than you asked for.
#
# ### The same in PEFT
#
# Not run here. `cat` stacks the factors, and `svd` takes the nearest matrix of rank `svd_rank`. A
# third way, `linear`, multiplies each factor by sqrt(s/2) here and adds, so its product is
# s/2 (B1 + B2)(A1 + A2), twice the average.
#
# ```python
# from peft import PeftModel
#
# model = PeftModel.from_pretrained(base_model, "voices/verse", adapter_name="verse")
# model.load_adapter("voices/play", adapter_name="play")
# model.set_adapter("play")  # switch
# halves = {"adapters": ["verse", "play"], "weights": [0.5, 0.5]}
# model.add_weighted_adapter(**halves, adapter_name="blend", combination_type="cat")
# model.set_adapter("blend")
# model.eval()
# model.generate(**inputs, adapter_names=["__base__", "verse", "play"])  # a mixed batch of three
# ```
#
# `linear` by our own formula, in the same table:

# %% depends on the seed
compare({"PEFT's linear": lambda one, other: 2 * average(one, other)})

# %% [markdown]
# Its whole error is the cross terms, twice those of the average: 0.78 to 0.98 of the norm of what
# was wanted, where no adapter at all would be off by 1. On the two new texts its loss is about
# that of both voices at full strength (3.53 and 3.79 above).
#
# > **Remember.** The matrix that is nearest to the wanted update need not be the best model:
# > measure the loss too.
# >
# > 离目标更新最近的矩阵不一定是最好的模型：损失也要量。

# %% [markdown]
# ## Merge and take out, a hundred times
#
# `W = W0 + s B A` is one plain weight (it is *merged*), as fast as the base alone. For one voice
# that is the thing to serve.
#
# **Predict.** A server merges verse, takes it out again by subtracting the same update, merges
# play, takes it out, and so on, in float32. After a hundred turns, is W0 back: bit for bit, nearly,
# or not at all?

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
# alternate, a few drift, and the error grows with the number of turns. In float32 it is small; in
# float16 it is thousands of times larger. If you kept only the merged W, you could not even try to
# subtract: you need A and B for that. So keep W0, and make each merged weight from it anew.
#
# > **Remember.** A merged weight speaks in one voice; keep W0 and the factors, and merge a copy.
# >
# > 合并后的权重只有一种声音；保留 W0 和因子，只合并副本。

# %% [markdown]
# ## Exercises
#
# Two more of the kind of `mixed-batch`. Write a version without the loop over k (`combine`), and
# one without any loop (`best-of-two`). Each begins with a question, and has three hints:

# %% exact
print(hint("combine", 1))

# %% [markdown]
# ### `combine`: one adapter for a weighted sum

# %% exact
print(show("combine"))


# %%
def combine(A, B, weights): ...


check("combine", combine)

# %% [markdown]
# ### `best-of-two`: two voices, and room for one

# %% exact
print(show("best-of-two"))


# %%
def best_of_two(A, B): ...


check("best-of-two", best_of_two)

# %% [markdown]
# ### To think about
#
# 1. You train both voices in one mixed batch, and for a while no row of *play* comes. What is the
#    gradient of its A and B? The optimiser AdamW moves along a mean of past gradients: will they
#    stand still?
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
#   leave them unmerged. Servers for many adapters run W0 once over all rows, and all the small
#   products in one program on the graphics card, a *kernel* (Punica, S-LoRA).
# - An adapter belongs to one W0. On another base of the same shapes it loads without an error and
#   computes what nobody trained, sometimes nonsense. Store beside it which base it was trained on.
# - In PyTorch an optimiser skips a parameter whose `grad` is `None`, and not one whose gradient is
#   zero. If no row of a task came, its `grad` has to be `None`: clear gradients to `None`, and do
#   not run the task's branch on no rows at all, which leaves zeros.
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

# %% [markdown]
# # 01 · Adapt a model in one sitting
#
# A language model writes like what it has read, and you want it to write something else. To train
# all of it again is expensive, and then the old model is gone. **LoRA**, *low-rank adaptation*,
# trains a small addition instead.
#
# **You will** take a small language model, read LoRA in a class of eighteen lines, and teach the
# model to write weather reports, or sentences of your own. Then you will turn the addition up, down
# and off, and fold it into the model.
#
# **You will learn** what LoRA adds to a layer, how training begins, what is trained and what is
# frozen, and what becomes of the old knowledge.
#
# **You need** matrix products and a little Python, and half an hour. New words are explained when
# they come; the other twelve notebooks open the lid.

# %%
from dataclasses import dataclass

import numpy as np

from lora_ref.exercises import check, show
from lora_ref.figures import FIGURES
from lora_ref.layers import Linear
from lora_ref.layers.base import Layer
from lora_ref.layers.composite import layers_of
from lora_ref.ops import softmax_cross_entropy, softmax_cross_entropy_backward
from lora_ref.training import AdamW
from lora_ref.transformer.voices import base_model, voices, with_voices

# %% [markdown]
# ## A model that has read
#
# This package brings a small language model. It was trained with nothing but this package's
# NumPy, on three old texts: the King James Bible, *Alice in Wonderland* and a report on a
# workshop. Such a model does one thing. It knows 512 *tokens*, letters and pieces of words, and
# from the beginning of a text it computes how probable each of them is as the next one. To write,
# it draws a token, appends it, and goes on. (The *temperature* below 1 makes likely tokens
# likelier.)
#
# **Predict.** Large models have some hundred thousand times as many numbers. Will this one write
# real words? Real sentences? In whose voice?

# %% depends on the seed
base = base_model()


def write(model, prompt, seed=3, length=60):
    """Return a prompt, and how a model goes on."""
    return prompt + model.write(prompt, length, np.random.default_rng(seed), temperature=0.6)


print(write(base, "And the "))
print("-----")
print(write(base, "Alice "))

# %% [markdown]
# The words are mostly real, the sentences hardly, and the voice is easy to tell.
#
# Each section of this course ends as this one does, with one sentence to remember, in English and
# in Chinese. (The course began with a widely read Chinese article on LoRA.)
#
# > **Remember.** A language model continues a text in the voice of what it has read.
# >
# > 语言模型会用它读过的文字的口吻，把一段文字续写下去。

# %% [markdown]
# ## What it should write instead
#
# We want weather reports. There is no need for a data set: a few lines of Python write six
# hundred reports. Change the words if you like, and the model will learn yours.


# %% exact
def report(rng):
    """Return one line of weather, drawn at random."""
    place = rng.choice(["the north", "the south", "the hills", "the islands", "the coast"])
    sky = rng.choice(["rain", "snow", "sun", "fog", "clouds", "storms"])
    time = rng.choice(["in the morning", "at noon", "towards evening", "all day", "by night"])
    wind = rng.choice(["west", "east", "north", "south"])
    return f"Weather for {place}: {sky} {time}. Wind from the {wind}, {rng.integers(30)} degrees."


rng = np.random.default_rng(0)
reports = "\n".join(report(rng) for _ in range(600))
drawn = [report(rng) for _ in range(60)]
unseen = "\n".join(line for line in drawn if line not in reports)
print(reports[:230])

# %% [markdown]
# How far is the model from that? Its *loss* on a text is the mean of `-log(probability)` that it
# gave to each token that really came next, with the natural logarithm. Whoever gives each of the
# 512 tokens the same probability has a loss of log 512.
#
# **Predict.** Which loss is lower: the model's on its own kind of text, or on weather reports?

# %% to 1e-6
own_kind = "".join(write(base, prompt, length=200) for prompt in ("And the ", "Alice "))
print(f"knowing nothing:      {np.log(512):.2f}")
print(f"weather reports:      {base.loss(unseen):.2f}")
print(f"text of its own kind: {base.loss(own_kind):.2f}")

# %% [markdown]
# (The model has just written its own kind of text itself, at a low temperature. So the number is
# far below its loss on real old text; later, read how much it rises.)
#
# > **Remember.** The loss says how surprised the model is by a text, and training lowers it.
# >
# > 损失衡量模型对一段文字有多意外，训练就是把它降下来。

# %% [markdown]
# ## LoRA in one class
#
# Most numbers of a language model stand in matrices. A *linear layer* with the matrix W0 turns
# each input x, a row of numbers, into `x @ W0.T`. (It adds a bias too, which stays what it is.)
# Full fine-tuning changes every number of every W0. LoRA adds a second, narrow path beside it:
#
# $$y = x W_0^\top + \frac{\alpha}{r} (x A^\top) B^\top$$
#
# A takes x down to r numbers, B takes them up again. **r**, the *rank*, is small: here 8. W0 is
# *frozen*: only A and B are trained. **alpha / r** is a fixed number that says how loud the second
# path is, here 16 / 8 = 2. Drawn to scale, for one matrix of the model:

# %% exact
FIGURES["two-paths"].picture(out_features=96, in_features=96, r=8, alpha=16)

# %% [markdown]
# And that is all of it. `forward` is the formula. Its line for y stands alone in the next cell:
# break it once you are through, and run all again.
# `backward` is what training needs: from the gradient of y, by the chain rule, those of A, of B and
# of x. You need not follow it now: notebook [04](04-derive-and-check-the-gradients.ipynb) derives
# each of its lines.


# %%
def output(x, W0, A, B, scaling):
    """Return what the layer returns: the formula from above, without the bias."""
    h = x @ A.T
    return x @ W0.T + scaling * h @ B.T


# %%
@dataclass(frozen=True)
class LoRA(Layer):
    W0: np.ndarray
    bias: np.ndarray
    A: np.ndarray
    B: np.ndarray
    scaling: float

    @property
    def trainable(self):
        return {"A": self.A, "B": self.B}

    def forward(self, x):
        y = output(x, self.W0, self.A, self.B, self.scaling)
        return y + self.bias, (x, x @ self.A.T)

    def backward(self, grad_y, cache):
        # texts x tokens x features become plain rows
        rows_x, rows_h, rows_y = (M.reshape(-1, M.shape[-1]) for M in (*cache, grad_y))
        grad_h = self.scaling * rows_y @ self.B
        grads = {"A": grad_h.T @ rows_x, "B": self.scaling * rows_y.T @ rows_h}
        return (rows_y @ self.W0 + grad_h @ self.A).reshape(cache[0].shape), grads


# %% [markdown]
# The package's own layer is this one with its errors explained and its arrays checked:
# [layers/lora.py](../lora_ref/layers/lora.py).
#
# > **Remember.** LoRA adds B A, scaled by alpha / r, to a frozen weight, and trains A and B alone.
# >
# > LoRA 在冻结的权重旁加上一条窄路 B A，乘以 alpha/r，只训练 A 和 B。

# %% [markdown]
# ## Put it into the model
#
# A *transformer*, which this model is, has blocks, and each block has an attention with four
# matrices called q, k, v and o, by which its tokens look at each other. (Notebook
# [08](08-look-inside-a-transformer.ipynb) looks inside.) The paper that proposed LoRA put it on
# **q and v**, and so do we. A starts with random numbers, and B
# as in the line with `np.zeros`.
#
# **Predict.** A is random noise. What will the model write now, before any training?


# %% to 1e-6
def with_lora(gpt, names, r, alpha, seed):
    """Return the model with LoRA in place of the layers whose names end so."""
    rng = np.random.default_rng(seed)

    def change(path, layer):
        if path.rpartition(".")[2] not in names:
            return layer
        out, into = layer.W.shape
        A = (rng.standard_normal((r, into)) / np.sqrt(into)).astype(np.float32)
        return LoRA(layer.W, layer.bias, A, np.zeros((out, r), np.float32), alpha / r)

    return gpt.mapped(change)


start = with_lora(base.gpt, ("q", "v"), r=8, alpha=16, seed=0)
print(write(base.with_gpt(start), "And the "))
print()
same = write(base.with_gpt(start), "And the ") == write(base, "And the ")
print("the same text as before:", same)

# %% [markdown]
# B = 0, so `(x A^T) B^T = 0`, whatever A is: training starts exactly from the model as it was.
# Notebook [05](05-start-from-zero.ipynb) is about that start.
#
# **Predict.** There are 4 blocks, with q and v in each, of 96 x 96. How many numbers are trained?

# %% exact
trained = sum(array.size for array in start.trainable.values())
arrays = [a for layer in layers_of(base.gpt).values() for a in vars(layer).values()]
frozen = sum(a.size for a in arrays if isinstance(a, np.ndarray))
print(f"trained: {trained:,} numbers, in {len(start.trainable)} matrices")
print(f"frozen:  {frozen:,} numbers; the trained ones are {trained / frozen:.1%} of that")
adapted = {path.rpartition(".")[0] for path in start.trainable}
print(f"LoRA stands on {len(adapted)} layers, and most layers have none of it")

# %% [markdown]
# > **Remember.** B starts at zero, so the adapted model begins as exactly the old one.
# >
# > B 从零开始，所以加上 LoRA 之后，模型一开始与原来完全相同。

# %% [markdown]
# ## Train it
#
# One step of training: take four excerpts of the reports, compute the loss, compute the gradient
# of the loss with respect to every A and B, and let an *optimiser* move them a little downhill.
# (AdamW is the usual one: it divides each gradient by its recent size.) W0 is read, and never
# written.


# %% depends on the seed, slow
def adapt(model, gpt, text, steps, lr, seed=1, batch=4):
    """Train what is trainable in a model; return the model and its losses."""
    rng, optimizer, losses = np.random.default_rng(seed), AdamW(lr, weight_decay=0.0), []
    windows, state = model.windows(text), optimizer.init_state(gpt.trainable)
    for _ in range(steps):
        rows = windows[rng.integers(len(windows), size=batch)]
        logits, cache = gpt.forward(rows[:, :-1])
        loss, kept = softmax_cross_entropy(logits, rows[:, 1:])
        _, grads = gpt.backward(softmax_cross_entropy_backward(kept), cache)
        params, state = optimizer.step(gpt.trainable, grads, state)
        gpt = gpt.with_params(params)
        losses.append(loss)
    return gpt, losses


trained_gpt, losses = adapt(base, start, reports, steps=80, lr=0.01)
for step in range(0, len(losses), 10):
    print(f"loss in step {step:>2}: {losses[step]:.2f}")

# %% [markdown]
# **Predict.** It has seen eighty times four excerpts, and one number was free to move for every
# forty that were not. "And the" is how its old texts begin sentences. What does it write now?

# %% depends on the seed
weather = base.with_gpt(trained_gpt)
print(write(weather, "And the "))
print("-----")
print(write(weather, "Weather for "))

# %% [markdown]
# It has learnt the form and not the facts: no report goes above 29 degrees, and the model does not
# know. How low could its loss get? There are 5 x 6 x 5 x 4 x 30 = 18,000 different reports, all
# equally likely, so a line carries log 18,000 of surprise, however well it is learnt.
#
# **Predict.** Divided by the tokens of a line, is that far below the loss that you see, or near?

# %% to 1e-6
lines = unseen.split("\n")
tokens = len(base.tokenizer.encode(unseen)) / len(lines)
print(f"{tokens:.0f} tokens a line, so {np.log(18_000) / tokens:.2f} at best")
print(f"the model on unseen reports: {weather.loss(unseen):.2f}")

# %% [markdown]
# > **Remember.** Training moves A and B alone, and that is enough to change what the model writes.
# >
# > 训练只移动 A 和 B，就足以改变模型的写法。

# %% [markdown]
# ## Turn it down, and off
#
# A and B together, with their scaling, are called *the adapter* (notebook 09 meets another thing of
# that name). It has its own knob. Multiply the scaling by 0: off. By 1: on, as trained. By
# anything in between, or more.
#
# **Predict.** With the adapter off, is the old model back nearly, or exactly? Which strength will
# be the best for the reports: 1, or another? And what does the adapter cost on the old kind?


# %%
def at_strength(gpt, strength):
    """Return the model with the second path of every LoRA multiplied by a number."""

    def change(path, layer):
        if not isinstance(layer, LoRA):
            return layer
        return LoRA(layer.W0, layer.bias, layer.A, layer.B, strength * layer.scaling)

    return gpt.mapped(change)


# %% depends on the seed, slow
strengths = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5)
models = [base.with_gpt(at_strength(trained_gpt, strength)) for strength in strengths]
new, old = ([model.loss(text) for model in models] for text in (unseen, own_kind))
print("off, it writes the same as the base:", write(models[0], "Alice ") == write(base, "Alice "))
print("off, it has the same loss:", new[0] == base.loss(unseen))
FIGURES["strength"].picture(strengths=strengths, new=new, old=old, names=("weather", "old text"))

# %% depends on the seed
for strength in (0.0, 0.5, 1.0):
    print(f"--- strength {strength}")
    print(write(base.with_gpt(at_strength(trained_gpt, strength)), "And the wind "))

# %% [markdown]
# Of these strengths 1, which was trained, is the best, and 1.5 overshoots. Look at the other curve,
# too. At strength 1 its own kind of text surprises the model about as much as weather did before it
# had seen a report: **it has forgotten, while the adapter is on**. Switched off it has forgotten
# nothing, because nobody has touched W0. That LoRA "does not forget" is said often, and is true of
# the adapter switched off. Notebook [09](09-compare-the-ways-to-adapt.ipynb) measures it.
#
# > **Remember.** Switched off, the adapter leaves exactly the old model; switched on, it costs
# > some of what the model knew.
# >
# > 关掉适配器，原来的模型分毫不差；打开它，模型原有的本领会损失一部分。

# %% [markdown]
# ## Fold it in
#
# Two paths take longer than one. For serving, they are folded into one.
#
# **Predict.** `x W0^T + s (x A^T) B^T` is to be `x W^T`, with one matrix W. Which one? Is the
# merged model bigger than the base?


# %% to 1e-6
def merged(gpt):
    """Return the model with a plain layer in place of every LoRA."""

    def change(path, layer):
        if not isinstance(layer, LoRA):
            return layer
        return Linear(layer.W0 + layer.scaling * layer.B @ layer.A, layer.bias)

    return gpt.mapped(change)


plain = base.with_gpt(merged(trained_gpt))
print("the same text:", write(plain, "Weather for ") == write(weather, "Weather for "))
print(f"loss on unseen reports: {weather.loss(unseen):.4f} and {plain.loss(unseen):.4f}")
layer = trained_gpt.blocks["0"].attention.q
print("rank of B A:", np.linalg.matrix_rank(layer.B @ layer.A), "of at most", min(layer.W0.shape))

# %% [markdown]
# `W = W0 + s B A` is a plain weight of the size of W0, so the model is no bigger than the base. And
# B A has rank 8 of at most 96: hence *low-rank* adaptation. What you send to a friend who has the
# base is A and B alone.
#
# > **Remember.** W0 + s B A is one plain weight that does the same, at the cost of one path.
# >
# > 把 s B A 加进 W0，得到一个普通的权重，结果相同，运行时没有额外开销。

# %% [markdown]
# ## Voices that took longer
#
# Eighty steps on one kind of sentence is a trick. These two were trained for 300 steps each, by
# this package, on *Paradise Lost* and on *As You Like It*, with LoRA on all six matrices of a
# block: q, k, v, o, and two larger ones behind them called fc1 and fc2. They come with the package,
# 110 kB each.
#
# **Predict.** A play names who speaks, verse breaks its lines. Will you see it at a glance?

# %% depends on the seed
for name in voices():
    print(f"--- {name}")
    print(write(with_voices(base, [name], [1.0]), "\n", seed=2, length=90).strip())

# %% [markdown]
# One base, as many voices as you like, each a small file beside it: that is what LoRA is used for.
# On the command line it is `lora-ref speak --voice verse`, and `lora-ref adapt --text FILE` trains
# a voice on a text of your own.
#
# > **Remember.** One frozen base serves many tasks, each with a small A and B of its own.
# >
# > 一个冻结的底座可以服务许多任务，每个任务只带一份小小的 A 和 B。

# %% [markdown]
# ## The lid
#
# What you have taken on trust, and where it is opened:
#
# | you saw | opened in |
# |---|---|
# | r, the rank | [02](02-find-the-rank.ipynb), [07](07-train-a-low-rank-update.ipynb) |
# | B A on four numbers by hand | [03](03-walk-through-the-example.ipynb) |
# | `backward` | [04](04-derive-and-check-the-gradients.ipynb) |
# | B = 0 at the start | [05](05-start-from-zero.ipynb) |
# | alpha / r, and the learning rate | [06](06-scale-the-update.ipynb) |
# | q and v | [08](08-look-inside-a-transformer.ipynb) |
# | forgetting, and other ways to adapt | [09](09-compare-the-ways-to-adapt.ipynb) |
# | several voices at once | [10](10-serve-several-tasks.ipynb) |
# | the frozen weight in 4 bits (QLoRA) | [11](11-quantise-the-frozen-weight.ipynb) |
# | what is saved, and what is not | [12](12-count-what-it-costs.ipynb) |
# | texts that get all this wrong | [13](13-judge-the-textbook.ipynb) |
#
# ### The same in PEFT
#
# With the library that most people use it is this. (Not run here: it needs PyTorch.)
#
# ```python
# from peft import LoraConfig, get_peft_model
#
# config = LoraConfig(r=8, lora_alpha=16, target_modules=["q_proj", "v_proj"])
# model = get_peft_model(base_model, config)  # B = 0: nothing changes yet
# model.print_trainable_parameters()
# # ... train ...
# with model.disable_adapter():  # off
#     model(tokens)
# plain = model.merge_and_unload()  # W0 + s B A
# ```
#
# > **Remember.** A few lines do the work, and the rest of the course says why they work.
# >
# > 几行代码就够了，其余的笔记本讲为什么够。

# %% [markdown]
# ## Exercises
#
# Each exercise in this course is a function to write. `show` prints the task, `check` calls your
# function with random numbers and says what is right or which mistake it sees. If you are stuck,
# `from lora_ref.exercises import hint` and `print(hint("dial"))`. But first, without a grade:
# **make it write your own
# sentences.** Change `report` above, run all cells below it, and see how far eighty steps go.
#
# ### `dial`: the knob

# %% exact
print(show("dial"))


# %%
def dial(y_off, y_on, strength): ...


check("dial", dial)

# %% [markdown]
# ### To think about
#
# 1. `dial` is exact for one layer. Is the output of the whole *model* at strength 0.5 the mean of
#    its outputs at 0 and at 1? Try it with logits, and say why.
# 2. Train with `names=("q",)` and with all of `("q", "k", "v", "o", "fc1", "fc2")`. Which loss is
#    lower after as many steps, and is the comparison fair?
# 3. What would you have to send to a friend if you had fine-tuned all numbers instead?

# %% [markdown]
# ## In practice
#
# - r = 8 or 16 on all linear layers is where people begin today; q and v alone was the paper's
#   choice. Which is better has to be measured on your task;
#   [the study on text](../docs/text-study.md) compares them at equal numbers.
# - LoRA mostly wants a larger learning rate than full fine-tuning. How much larger depends on task,
#   rank and optimiser (notebook [06](06-scale-the-update.ipynb)): measure it.
# - Keep W0's file and the adapter's apart. A merged weight can be unmerged only to rounding.
# - Judge on text that the training has not seen, on the new kind and on the old.

# %% [markdown]
# ## Further reading
#
# - E. Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", 2021, arXiv 2106.09685.
# - [The model of this notebook](../lora_ref/transformer/weights/SOURCE.md): its texts, licences,
#   seeds and losses.
# - Next: [02 · Find the rank of an update](02-find-the-rank.ipynb).

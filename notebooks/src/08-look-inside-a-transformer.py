# %% [markdown]
# # 08 · Look inside a transformer
#
# In notebook 01 you put LoRA on two matrices called q and v, and took on trust what they are. A
# line such as `target_modules=["q_proj", "v_proj"]` stands in every LoRA configuration, and you
# can only choose well there if you know what these matrices do.
#
# **You will** take the small language model of this package apart in NumPy, from the letters of
# a sentence to the probability of the next piece. Then you will put LoRA on its q and v, follow
# a gradient back through a softmax, and train on three stanzas of a poem, at four places.
#
# **You will learn** what tokens, queries, keys, values, heads and targets are, why the rows of a
# batch are tokens, and what T tokens cost.
#
# **You need** notebooks [01](01-adapt-a-model.ipynb) and
# [04](04-derive-and-check-the-gradients.ipynb), and forty minutes; the exercises take as
# long again.

# %%
import numpy as np

from lora_ref.exercises import check, hint, show
from lora_ref.figures import FIGURES
from lora_ref.layers import LoRALinear
from lora_ref.layers.composite import layers_of
from lora_ref.ops import attention as attention_of_the_package
from lora_ref.ops import attention_backward, softmax_cross_entropy, softmax_cross_entropy_backward
from lora_ref.training import AdamW
from lora_ref.transformer import GPT, with_lora
from lora_ref.transformer.voices import base_model


def same(ours, theirs):
    """Return whether two arrays agree to what the model's 32-bit numbers can hold."""
    return bool(np.allclose(ours, theirs, rtol=1e-4, atol=1e-4))


# %% [markdown]
# ## Tokens are rows
#
# A language model does not read letters. A *tokenizer* cuts the text into pieces, the *tokens*,
# and each piece has a number. This model knows 512 pieces: the frequent words and syllables of the
# old texts it was trained on, and single letters for everything else.
#
# **Predict.** In the King James Bible "LORD" and "Moses" are frequent. Will each be one piece? And
# to which word does the blank between two words belong?

# %% exact
sentence = "And the LORD spake unto Moses,"

base = base_model()
gpt, tokenizer = base.gpt, base.tokenizer
tokens = tokenizer.encode(sentence)
pieces = [tokenizer.decode([token]) for token in tokens]
print("pieces: ", pieces)
print("numbers:", tokens)
print("together they are the sentence:", "".join(pieces) == sentence)

# %% [markdown]
# Each token then becomes a row of numbers. A table, the *embedding*, has a row for each of the
# 512 pieces, and the number of a token says which row to take. A second table has a row for each
# place in the text. The two rows are added, so that the model knows what stands where.

# %% exact
logits_of_the_package, _ = gpt.forward(tokens)  # for later; it also checks the length
x = gpt.tokens.W[tokens] + gpt.positions.W[: len(tokens)]
T, width = x.shape
print(f"{T} tokens are {T} rows of {width} numbers: x has the shape {x.shape}")
rows_of_the_package = gpt.tokens.forward(tokens)[0] + gpt.positions.forward(np.arange(T))[0]
print("the same as the package's embeddings:", same(x, rows_of_the_package))

# %% [markdown]
# In notebooks 02 to 07 a batch x had n rows, and the rows had nothing to do with each other. Here
# n is **T**, the number of tokens, and all rows are of one text. A linear layer does not know the
# difference: `x @ W0.T` treats each row by itself. Everything that you know about LoRA holds for
# rows that are tokens.
#
# > **Remember.** A text of T tokens is a matrix with T rows, and a layer treats each row by itself.
# >
# > 一段含 T 个词元的文字就是一个 T 行的矩阵，线性层逐行处理，各行互不相干。

# %% [markdown]
# ## One head of attention
#
# What comes after "unto" depends on what came before it, so rows have to hear from each other.
# That is all that *attention* is for. Each row sends out three rows of its own:
#
# - a *query*, q: what am I looking for?
# - a *key*, k: what am I?
# - a *value*, v: what do you get if you take from me?
#
# Row i compares its query with the key of every row, and takes a mean of the values. Where query
# and key fit well, the value has a large weight.
#
# First each row is brought to mean 0 and size 1, then multiplied by a gain and shifted by a bias,
# one of each for every column. This is a *layer norm*
# ([ops/normalization.py](../lora_ref/ops/normalization.py)).


# %%
def layer_norm(x, norm):
    """Bring each row to mean 0 and size 1, then apply the gain and the bias."""
    centred = x - x.mean(axis=-1, keepdims=True)
    variance = (centred**2).mean(axis=-1, keepdims=True)
    return norm.gain * centred / np.sqrt(variance + norm.epsilon) + norm.bias


block = gpt.blocks["0"]  # the first of four
rows = layer_norm(x, block.norm1)
print("the same as the package's layer norm:", same(rows, block.norm1.forward(x)[0]))

# %% [markdown]
# q, k and v are three linear layers, with a matrix of 96 x 96 each. Their columns are cut into
# four *heads*: four attentions side by side, each with 24 columns of its own. We look at one head.

# %% exact
attention = block.attention
q, k, v = (rows @ layer.W.T + layer.bias for layer in (attention.q, attention.k, attention.v))

heads = attention.heads
d = width // heads  # the width of one head
head = 3 % heads  # 0, 1, 2 or 3
part = slice(head * d, (head + 1) * d)
q1, k1, v1 = q[:, part], k[:, part], v[:, part]
print("q, k and v of this head have the shape", q1.shape)
products = q1 @ k1.T  # entry (i, j): how well the query of i fits the key of j
print("each query with each key:", products.shape)

# %% [markdown]
# The products are divided by sqrt(d) before anything else happens to them.
#
# **Predict.** Take queries and keys at random, each entry of size 1. If d grows from 6 to 384, does
# the size of a product `q @ k` stay, or grow? What will a softmax make of large scores?


# %% depends on the seed
def softmax(S):
    """Return exp(S), divided by the sum of each row."""
    e = np.exp(S - S.max(axis=-1, keepdims=True))  # the shift changes nothing, and exp stays small
    return e / e.sum(axis=-1, keepdims=True)


rng = np.random.default_rng(0)
print("random rows, 10 keys, 1,000 queries")
print("   d   size of q @ k   largest weight: undivided   divided by sqrt(d)")
for wide in (6, 24, 96, 384):
    random_q, random_k = rng.standard_normal((1000, wide)), rng.standard_normal((10, wide))
    sums = random_q @ random_k.T
    plain, scaled = (softmax(one).max(axis=-1).mean() for one in (sums, sums / wide**0.5))
    print(f"{wide:>4} {sums.std():>15.1f} {plain:>27.2f} {scaled:>20.2f}")

# %% [markdown]
# A sum of d independent products of size 1 has the size sqrt(d). Undivided, wide heads give nearly
# all the weight to one token. There the softmax is flat, and hardly any gradient passes.
#
# Now the *mask*. The model is trained to predict the next token, so no row may see a later one:
# its weight has to be 0. The mask is applied to the scores, before the softmax.
#
# **Predict.** Which score has the weight 0 after the softmax: the score 0, or another one?
#
# <details><summary>Answer</summary>
#
# exp(0) = 1, so a score of 0 gets a share like any other. exp(-infinity) = 0: the score has to be
# minus infinity (a very negative number does too).
#
# </details>

# %% depends on the seed
allowed = np.tri(T, dtype=bool)  # row i may take from 0, 1, ..., i
scores = np.where(allowed, products / d**0.5, -np.inf)
P = softmax(scores)  # the weights
y1 = P @ v1  # for each row a mean of the values
print("weights of the first row:", P[0].round(2))
print("weights of the last row: ", P[-1].round(2))
print("rows of weights add up to 1:", same(P.sum(axis=1), np.ones(T)))
theirs, _ = attention_of_the_package(q1, k1, v1, allowed=allowed)
print("the same as the package's attention:", same(y1, theirs))

# %% [markdown]
# The package's version is [ops/attention.py](../lora_ref/ops/attention.py).
#
# **Predict.** "Moses" is cut into three pieces, ` M`, `os` and `es`. From which piece would *you*
# take, if you were `es` and had to find out what you are the end of?

# %% depends on the seed
by_head = [slice(h * d, (h + 1) * d) for h in range(heads)]
P_all = np.array(
    [softmax(np.where(allowed, q[:, c] @ k[:, c].T / d**0.5, -np.inf)) for c in by_head]
)
other = 0 % heads
FIGURES["attention-weights"].picture(
    weights=P_all[[other, head]], tokens=pieces, titles=(f"head {other}", f"head {head}")
)

# %% [markdown]
# Head 3 gathers words that were cut: `ake` takes most from ` sp`, and both `os` and `es` take most
# from ` M`. Nobody told it to: training found it. Head 0 does something else. Be careful with
# such pictures. They show from where a row takes, on one sentence, and not what for.
#
# > **Remember.** Queries and keys decide from where each token takes, and values are what it gets.
# >
# > 查询与键决定每个词元从哪里取，值决定取到什么。

# %% [markdown]
# ## Heads, a block, and the next piece
#
# What is left is quickly built. The four heads are put side by side and go through one more matrix,
# **o**. The result is *added* to x; so is what the MLP makes of each row. (*MLP*: two matrices, fc1
# and fc2, four times as wide in between, with a curve called GELU between them.) Both only
# add to a row, so what the embedding put there is still in it at the end.


# %%
def gelu(u):
    """Return the curve between fc1 and fc2: nearly 0 on the left, nearly u on the right."""
    return 0.5 * u * (1 + np.tanh((2 / np.pi) ** 0.5 * (u + 0.044715 * u**3)))


def attend(rows, attention):
    """Return what attention adds to each row, and the weights of each head."""
    q, k, v = (layer.forward(rows)[0] for layer in (attention.q, attention.k, attention.v))
    T, width = q.shape
    q, k, v = (M.reshape(T, attention.heads, -1).swapaxes(0, 1) for M in (q, k, v))
    scores = q @ k.swapaxes(1, 2) / q.shape[2] ** 0.5
    P = softmax(np.where(np.tri(T, dtype=bool), scores, -np.inf))
    side_by_side = (P @ v).swapaxes(0, 1).reshape(T, width)
    return attention.o.forward(side_by_side)[0], P


def through(x, block):
    """Return the rows after one block: attention, then the MLP, each added to x."""
    x = x + attend(layer_norm(x, block.norm1), block.attention)[0]
    inner = gelu(block.mlp["fc1"].forward(layer_norm(x, block.norm2))[0])
    return x + block.mlp["fc2"].forward(inner)[0]


print(
    "the same as the package's attention:",
    same(attend(rows, attention)[0], attention.forward(rows)[0]),
)
print("the same as the package's block:", same(through(x, block), block.forward(x)[0]))

# %% [markdown]
# `layer.forward(rows)` is `rows @ layer.W.T + layer.bias`, as above; we call it so that other
# layers can stand there too.
#
# The model is four blocks in a row. At the end each row is compared with the row of each of the
# 512 pieces in the embedding. The products are the *logits*, and their softmax is the probability
# of each piece to come next.
#
# **Predict.** What will the model say after "And the LORD spake unto Moses,"?

# %% depends on the seed
stream = x
for number in gpt.blocks:
    stream = through(stream, gpt.blocks[number])
logits = layer_norm(stream, gpt.norm) @ gpt.tokens.W.T
probability = softmax(logits)
print("the same as the package's model:", same(logits, logits_of_the_package))
for token in np.argsort(-probability[-1])[:5]:
    print(f"{probability[-1, token]:>5.0%}  {tokenizer.decode([token])!r}")

# %% [markdown]
# "And the LORD spake unto Moses, saying": the model knows how that verse goes on. And not only
# the last row predicts. Every row predicts the piece after it, so one text of T tokens is T - 1
# examples to learn from. The loss is the mean of `-log(probability)` over them.

# %% depends on the seed
right = probability[np.arange(T - 1), tokens[1:]]
for i in range(T - 1):
    guess = tokenizer.decode([probability[i].argmax()])
    what = f"after {pieces[i]!r:<8} comes {pieces[i + 1]!r:<8}"
    print(f"{what} {right[i]:>6.1%}   best guess {guess!r}")
loss, _ = softmax_cross_entropy(logits_of_the_package[:-1], tokens[1:])
print(f"loss {-np.log(right).mean():.4f}, the package's {loss:.4f}")

# %% [markdown]
# The package's versions are [transformer/block.py](../lora_ref/transformer/block.py) and
# [transformer/gpt.py](../lora_ref/transformer/gpt.py).
#
# > **Remember.** Attention mixes rows, the MLP treats each alone, and both add to what is there.
# >
# > 注意力在各行之间传递信息，MLP 逐行处理，二者都只是往原有的行上加一点东西。

# %% [markdown]
# ## Where LoRA goes
#
# A block has six matrices: q, k, v, o, fc1 and fc2. Each is a linear layer W0, and can have A and B
# beside it. A **target** is a layer that gets them. Here is a block with the targets that the LoRA
# paper took:

# %% exact
FIGURES["transformer-block"].picture(features=width, heads=heads, targets=("q", "v"), r=8)

# %% [markdown]
# LoRA on q, in view. Nothing is new, except that the rows are tokens: they go through W0 as before,
# and beside it through A and B. (B is random here, and not 0, so that there is something to see.)

# %% exact
r, alpha = 8, 16
rng = np.random.default_rng(0)
A = (rng.standard_normal((r, width)) / np.sqrt(width)).astype(np.float32)
B = (rng.standard_normal((width, r)) / np.sqrt(r)).astype(np.float32)

layer = LoRALinear(attention.q.W, A, B, alpha, bias=attention.q.bias)  # the package's
h = rows @ A.T  # T rows of r numbers
q_adapted = rows @ attention.q.W.T + attention.q.bias + alpha / r * h @ B.T
print("h has the shape", h.shape, "and q still has", q_adapted.shape)
print("the same as the package's layer:", same(q_adapted, layer.forward(rows)[0]))

# %% [markdown]
# Every layer of the model has a name, and a target is the end of one: `q` stands for the q of all
# blocks. `with_lora` ([transformer/adapt.py](../lora_ref/transformer/adapt.py)) puts A and B at
# all targets, and freezes everything else.
#
# **Predict.** 4 blocks, width 96, r = 8, targets q and v: how many numbers train?

# %% exact
names = [name for name in layers_of(gpt) if name.startswith("blocks.0")]
print("the layers of block 0:", ", ".join(name.removeprefix("blocks.0.") for name in names))
for targets in (("q", "v"), ("q", "k", "v", "o"), ("fc1", "fc2"), "all-linear"):
    adapted = with_lora(gpt, np.random.default_rng(0), targets=targets, r=8, alpha=16)
    count = sum(array.size for array in adapted.trainable.values())
    print(f"{count:>7,} numbers train with targets={targets}")

# %% [markdown]
# Each matrix costs r (out + in) numbers: 8 (96 + 96) for q, and 8 (384 + 96) for fc1. (The head at
# the end is not among "all-linear"; PEFT leaves it out too.)
#
# q and v do different things. In the next cell one of them gets a small random A and B, in all
# blocks. We look at how much of the weights of attention moves, in the first block and in the last.
#
# **Predict.** With LoRA on v alone, do the weights of the *first* block move? Those of the *last*?


# %% depends on the seed
def weights_in(gpt, x):
    """Return the weights of attention of every block."""
    found = []
    for name in gpt.blocks:
        found.append(attend(layer_norm(x, gpt.blocks[name].norm1), gpt.blocks[name].attention)[1])
        x = through(x, gpt.blocks[name])
    return found


before = weights_in(gpt, x)
for targets in (("q",), ("v",), ("fc1", "fc2")):
    rng = np.random.default_rng(0)
    start = with_lora(gpt, rng, targets=targets, r=8, alpha=16)
    drawn = {}
    for name, array in start.trainable.items():
        drawn[name] = (array + 0.05 * rng.standard_normal(array.shape)).astype(np.float32)
    after = weights_in(start.with_params(drawn), x)
    first, *_, last = (abs(a - b).sum(axis=-1) / 2 for a, b in zip(after, before, strict=True))
    shares = f"first block {first.mean():>6.2%}, last block {last.mean():>6.2%}"
    print(f"LoRA on {' and '.join(targets):<11}  weights moved: {shares}")

# %% [markdown]
# ("Moved" is the share of a row's weight that has gone from some tokens to others.) In the first
# block v moves nothing. The weights are made of q and k, and v enters after them. The same is true
# of the MLP, which comes later still. In the last block all of them move the weights, because the
# rows that arrive there have changed. So within a block q changes *where a token looks*, and v
# changes *what it brings back*.
#
# ### The same in PEFT
#
# Names differ from model to model, and the end of a name is matched in the same way. (Not run here:
# it needs PyTorch.)
#
# ```python
# from peft import LoraConfig, get_peft_model
#
# names = ["q_proj", "v_proj"]  # Llama, Mistral, Qwen; "c_attn" in GPT-2, "query" in BERT
# config = LoraConfig(r=8, lora_alpha=16, target_modules=names)
# everywhere = LoraConfig(r=8, lora_alpha=16, target_modules="all-linear")
# mlp_alone = LoraConfig(r=8, lora_alpha=16, target_modules=r".*\.mlp\.(up|down)_proj")
# model = get_peft_model(base_model, config)
# print(model.targeted_module_names)  # look at it: a wrong name may match too little
# ```
#
# > **Remember.** A target gets A and B: on q they change where tokens look, on v what they bring.
# >
# > 目标就是配上 A 和 B 的矩阵：改 q 会改变词元往哪里看，改 v 会改变它带回什么。

# %% [markdown]
# ## Back through the softmax
#
# To train A and B of q, a gradient has to come back from y to q. Three of the four steps are
# products, as in notebook 04. The new one is the softmax. From the loss L we know `grad_P`, its
# gradient with respect to the weights, and want the one with respect to the scores.
#
# A weight is a quotient, so we look at its relative change. The numerator changes by the change of
# its own score, the denominator by a mean of the changes of the whole row, weighted by P:
#
# $$
# \frac{\delta P_{ij}}{P_{ij}} = \delta S_{ij} - \sum_l P_{il}\, \delta S_{il}
# $$
#
# Multiply by `grad_P` and `P`, sum, and collect what stands beside each change of a score:
#
# $$
# \nabla_S = P \odot \Big( \nabla_P - \sum_j (P \odot \nabla_P)_{ij} \Big)
# $$
#
# The sum is one number for each row. People forget it, because they take the softmax for a curve
# like GELU that treats each entry by itself.
#
# **Predict.** Add the same number to all scores of a row: which weights change? So what does each
# row of the gradient with respect to the scores add up to?

# %% order of magnitude
q64, k64, v64 = (M.astype(np.float64) for M in (q1, k1, v1))
grad_y = np.random.default_rng(0).standard_normal((T, d))  # as if it came from layers above
S = np.where(allowed, q64 @ k64.T / d**0.5, -np.inf)
P = softmax(S)
grad_P = grad_y @ v64.T
grad_S = P * (grad_P - (P * grad_P).sum(axis=1, keepdims=True))
forgotten = P * grad_P
print(f"largest sum of a row of grad_S:       {abs(grad_S.sum(axis=1)).max():.0e}")
print(f"with the row sum forgotten:           {abs(forgotten.sum(axis=1)).max():.0e}")

# %% [markdown]
# And is it right? Move each score a little up and a little down, and see how the loss changes.

# %% order of magnitude
step = 1e-5
quotients = np.zeros((T, T))
for i, j in np.argwhere(allowed):
    up, down = S.copy(), S.copy()
    up[i, j], down[i, j] = S[i, j] + step, S[i, j] - step
    change = np.sum(grad_y * ((softmax(up) - softmax(down)) @ v64))
    quotients[i, j] = change / (2 * step)
print(f"size of the gradient:                 {abs(grad_S).max():.0e}")
print(f"largest error of grad_S:              {abs(grad_S - quotients).max():.0e}")
print(f"with the row sum forgotten:           {abs(forgotten - quotients).max():.0e}")

# %% [markdown]
# What was masked has P = 0, and so no gradient: the mask needs no line of its own on the way back.
# Then come two products. The scores were divided by sqrt(d), so their gradient is too.
#
# **Predict.** The first row of `grad_q` is 0, whatever the loss is. Why?
#
# <details><summary>Answer</summary>
#
# The first token sees itself alone. Its weight is 1 whatever it asks, so its query changes nothing.
#
# </details>

# %% depends on the seed
grad_q = grad_S @ k64 / d**0.5
grad_k = grad_S.T @ q64 / d**0.5
grad_v = P.T @ grad_y
_, cache = attention_of_the_package(q64, k64, v64, allowed=allowed)
theirs = attention_backward(grad_y, cache)
agree = [same(a, b) for a, b in zip((grad_q, grad_k, grad_v), theirs, strict=True)]
print("the same as the package's gradients of q, k and v:", agree)
print("first row of grad_q:", np.unique(abs(grad_q[0]).round(12)))

# %% [markdown]
# `grad_q` is what LoRA on q gets as its `grad_y`. The rest is notebook 04, and the exercise
# `lora-on-q` asks you for it. ([Derivations](../docs/derivations.md) has all of this, and the layer
# norm.)
#
# > **Remember.** The weights of a row share a divisor, so the way back subtracts a row sum.
# >
# > 同一行的权重共用一个分母，所以 softmax 的梯度要减去一个行和。

# %% [markdown]
# ## What T tokens cost
#
# A forward pass keeps arrays for the way back: the *activations*. We count them in what the package
# keeps, for one text of T random tokens, with LoRA on q and v.
#
# **Predict.** Twice as many tokens: are there twice as many activations, or four times as many? And
# does LoRA keep fewer of them than full fine-tuning?


# %% exact
def arrays_in(kept):
    """Return every matrix that a forward pass keeps, each once."""
    if isinstance(kept, np.ndarray):
        return {kept.ctypes.data: kept} if kept.ndim > 1 else {}
    inside = kept.values() if isinstance(kept, dict) else kept if isinstance(kept, tuple) else ()
    return {place: array for one in inside for place, array in arrays_in(one).items()}


r = 8
on_q_and_v = with_lora(gpt, np.random.default_rng(0), targets=("q", "v"), r=r, alpha=2 * r)
sizes = {"vocabulary": 512, "context": 96, "features": width, "heads": heads, "blocks": 4}
full = GPT.init(**sizes, rng=np.random.default_rng(0))  # as large, and everything trains
print("       full fine-tuning   LoRA on q and v   of these")
print("   T        keeps in all      keeps in all   weights of attention    rows h")
for length in (12, 24, 48, 96):
    random_tokens = np.random.default_rng(0).integers(512, size=length)
    caches = [one.forward(random_tokens)[1] for one in (full, on_q_and_v)]
    found = [arrays_in(one).values() for one in caches]
    inside = [one.children["attention"].inner for one in caches[1].children["blocks"].caches]
    square = sum(one.weights.y.size for one in inside)
    thin = sum(a.size for a in found[1] if a.shape == (length, r))
    of_full, of_lora = (sum(a.size for a in arrays) for arrays in found)
    print(f"{length:>4} {of_full:>19,} {of_lora:>17,} {square:>22,} {thin:>9,}")

# %% [markdown]
# Most of it doubles with T. The weights of attention are T x T in each head, and they grow by four:
# for texts that are long enough they are most of it. And LoRA keeps no less than full fine-tuning.
# The gradient of A needs the rows x, just as that of W0 would, and that of B needs the thin rows h.
# What LoRA saves is elsewhere: the gradients, and the two numbers that Adam keeps for each number
# that trains.

# %% exact
batch, length = 16, 96
random_tokens = np.random.default_rng(0).integers(512, size=(batch, length))
activations = sum(a.size for a in arrays_in(on_q_and_v.forward(random_tokens)[1]).values())
trained = sum(a.size for a in on_q_and_v.trainable.values())
arrays = [a for one in layers_of(gpt).values() for a in vars(one).values()]
everything = sum(a.size for a in arrays if isinstance(a, np.ndarray))
print(f"activations of {batch} texts of {length} tokens: {activations:>10,} numbers")
print(f"gradients and Adam, full fine-tuning: {3 * everything:>10,}")
print(f"gradients and Adam, LoRA on q and v:  {3 * trained:>10,}")
print("weights of attention with 32 blocks of 32 heads, one text, 2 bytes each, if they are kept:")
for length in (2048, 8192, 32768):
    print(f"{length:>6} tokens: {32 * 32 * length**2 * 2 / 1e9:>8,.0f} GB")

# %% [markdown]
# That many gigabytes are held nowhere: FlashAttention (Dao et al., 2022) computes the weights in
# tiles, and again on the way back. Notebook [12](12-count-what-it-costs.ipynb) counts the rest.
#
# > **Remember.** LoRA saves optimiser states, not activations, which grow with T and T squared.
# >
# > LoRA 省下的是优化器状态而不是激活值，激活值随 T 增长，其中注意力权重随 T 的平方增长。

# %% [markdown]
# ## Choose the targets
#
# The model has read mostly prose. We train it on three stanzas of a poem, and keep the fourth for
# judging. To be fair, each choice of targets gets the rank at which the same number of numbers
# trains.

# %% exact
# William Wordsworth, "I wandered lonely as a cloud", as in Poems, 1815
poem = """I wandered lonely as a cloud
That floats on high o'er vales and hills,
When all at once I saw a crowd,
A host, of golden daffodils;
Beside the lake, beneath the trees,
Fluttering and dancing in the breeze.

Continuous as the stars that shine
And twinkle on the milky way,
They stretched in never-ending line
Along the margin of a bay:
Ten thousand saw I at a glance,
Tossing their heads in sprightly dance.

The waves beside them danced; but they
Out-did the sparkling waves in glee:
A poet could not but be gay,
In such a jocund company:
I gazed--and gazed--but little thought
What wealth the show to me had brought:

For oft, when on my couch I lie
In vacant or in pensive mood,
They flash upon that inward eye
Which is the bliss of solitude;
And then my heart with pleasure fills,
And dances with the daffodils.
"""
*three, fourth = poem.split("\n\n")
stanzas = "\n\n".join(three)
train_on, judge_by = (len(tokenizer.encode(text)) for text in (stanzas, fourth))
print(f"{train_on} tokens to train on, {judge_by} to judge by")
choices = {("q",): 20, ("v",): 20, ("q", "v"): 10, ("fc1", "fc2"): 4}
for targets, r in choices.items():
    start = with_lora(gpt, np.random.default_rng(0), targets=targets, r=r, alpha=2 * r)
    count = sum(array.size for array in start.trainable.values())
    print(f"{' and '.join(targets):<11} r = {r:>2}: {count:,} numbers")

# %% [markdown]
# Fifteen steps each, from two seeds, all with one learning rate and one scaling. (The second seed
# is there so that you see how much is chance.)
#
# **Predict.** Which will know the three stanzas best: q, v, both, or the MLP? And will the same one
# be the best on the fourth?


# %% depends on the seed, slow
def adapt(gpt, text, steps=15, lr=0.01, seed=0, batch=4, length=32):
    """Train what is trainable in a model on pieces of a text."""
    rng, optimizer = np.random.default_rng(seed), AdamW(lr, weight_decay=0.0)
    windows = np.lib.stride_tricks.sliding_window_view(tokenizer.encode(text), length + 1)
    state = optimizer.init_state(gpt.trainable)
    for _ in range(steps):
        texts = windows[rng.integers(len(windows), size=batch)]
        logits, cache = gpt.forward(texts[:, :-1])
        _, kept = softmax_cross_entropy(logits, texts[:, 1:])
        _, grads = gpt.backward(softmax_cross_entropy_backward(kept), cache)
        params, state = optimizer.step(gpt.trainable, grads, state)
        gpt = gpt.with_params(params)
    return base.with_gpt(gpt)


print(f"{'':<13} three stanzas   the fourth")
print(f"{'untrained':<13} {base.loss(stanzas):>13.2f} {base.loss(fourth):>12.2f}")
for targets, r in choices.items():
    for seed in (0, 1):
        start = with_lora(gpt, np.random.default_rng(seed), targets=targets, r=r, alpha=2 * r)
        model = adapt(start, stanzas, seed=seed)
        name = " and ".join(targets)
        print(f"{name:<13} {model.loss(stanzas):>13.2f} {model.loss(fourth):>12.2f}")

# %% [markdown]
# On the three stanzas the order is the same with both seeds: q alone learns least and the MLP
# most; v alone and q with v are close. On the fourth stanza the MLP is *worse* than the untrained
# model. It has learnt these three stanzas, and not verse. Among the other three choices, one seed
# differs from the other by more than the choices do.
#
# So which targets are best depends on what you measure. And do not carry this further than it
# goes: one poem of some 400 tokens, one small model, fifteen steps, one learning rate, two seeds.
# On GPT-3, at an equal number of trained numbers, v alone was better than q alone on one task and
# as good on the other, and q with v was the better pair (Hu et al., 2021, table 5). For code and
# mathematics on a model of 7 billion numbers, the order was all, then MLP, then attention
# (Biderman et al., 2024).
#
# > **Remember.** Compare targets at an equal count, and on text that was not trained on.
# >
# > 比较目标时，要让训练的参数个数相等，并用没有训练过的文字来评判。

# %% [markdown]
# ## Exercises
#
# The specifications of the gradients use a trick: they move one entry by a tiny *imaginary* step.
# The imaginary part of the loss is then the derivative times the step, and no difference costs
# digits. So they give you numbers to compare with, and no formula. Each exercise has three hints,
# none of which is the answer:

# %% exact
print(hint("causal-mask", 1))

# %% [markdown]
# ### `causal-mask`: no look ahead

# %% exact
print(show("causal-mask"))


# %%
def causal_mask(scores): ...


check("causal-mask", causal_mask)

# %% [markdown]
# ### `softmax-gradient`: back through a softmax

# %% exact
print(show("softmax-gradient"))


# %%
def softmax_gradient(scores, grad_weights): ...


check("softmax-gradient", softmax_gradient)

# %% [markdown]
# ### `attention-scale`: the root, on both ways

# %% exact
print(show("attention-scale"))


# %%
def attention_scale(q, k, grad_scores): ...


check("attention-scale", attention_scale)

# %% [markdown]
# ### `layer-norm-backward`: three ways back

# %% exact
print(show("layer-norm-backward"))


# %%
def layer_norm_backward(grad_y, x, gain, epsilon): ...


check("layer-norm-backward", layer_norm_backward)

# %% [markdown]
# ### `lora-on-q`: all of it

# %% exact
print(show("lora-on-q"))


# %%
def lora_on_q(grad_y, x, W0, A, B, alpha, k, v): ...


check("lora-on-q", lora_on_q)

# %% [markdown]
# ### To think about
#
# 1. The scores of a head are `q @ k.T`, and q and k are made of the same rows. Is there anything
#    that LoRA on q can do and LoRA on k cannot? Write the score of two rows as one product.
# 2. The same number added to every key (a bias of k) adds one number to a whole row of scores. What
#    is the gradient of the bias of k, and what would a check of relative errors say about it?
# 3. In GPT-2 q, k and v are one matrix, `c_attn`, of 3 x 96 rows for a width of 96. LoRA of rank r
#    on it has one A. What do q, k and v share then, and how many numbers train?
# 4. Train longer, or with another learning rate, on q and v. Can you get the fourth stanza below
#    what the table shows? You have now chosen by looking at it; what would you need for an honest
#    number?

# %% [markdown]
# ## In practice
#
# - Print the names of your model's layers before you choose targets, and the targets that were
#   found after it. A name that matches nothing is an error; one that matches half is not.
# - "all-linear" is where many begin today. It trains more numbers at the same r, so compare it with
#   q and v at a smaller r.
# - Long texts cost activations, and a smaller r does not help. Shorter texts, smaller batches and
#   recomputing (gradient checkpointing) do.
# - A causal mask that is off by one makes the loss *better*: the model sees what it has to predict.
#   Test that a changed last token changes no earlier row.

# %% [markdown]
# ## Further reading
#
# - A. Vaswani et al., "Attention Is All You Need", 2017, arXiv 1706.03762. A. Radford et al.,
#   "Language Models are Unsupervised Multitask Learners", 2019 (GPT-2, which our model follows).
# - J. Ba, J. Kiros, G. Hinton, "Layer Normalization", 2016, arXiv 1607.06450. T. Dao et al.,
#   "FlashAttention", 2022, arXiv 2205.14135.
# - E. Hu et al., "LoRA", 2021, arXiv 2106.09685, section 7.1 on the targets. D. Biderman et al.,
#   "LoRA Learns Less and Forgets Less", 2024, arXiv 2405.09673.
# - [Derivations](../docs/derivations.md): "Softmax", "Layer norm", "Attention".
# - Next: [09 · Compare the ways to adapt](09-compare-the-ways-to-adapt.ipynb).

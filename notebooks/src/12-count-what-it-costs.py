# %% [markdown]
# # 12 · Count parameters, memory and multiply-adds
#
# **You will** count what LoRA trains, computes and holds in memory, for one matrix, for published
# models, and for a model of your own.
#
# **You will learn** which of these LoRA makes smaller and which it does not, where it saves
# nothing, and how to find out what an odd printed number counts.
#
# **You need** notebook 03, from notebook 04 what the backward pass computes, and twenty minutes.

# %%
from pathlib import Path
from textwrap import fill

from lora_ref import counting
from lora_ref.claims import article, judge
from lora_ref.counting import Full, LoRA, count_parameters, get_model
from lora_ref.counting import spec as specs
from lora_ref.errors import LoraRefError
from lora_ref.exercises import check, show
from lora_ref.figures import FIGURES

# %% [markdown]
# ## One matrix
#
# > 一个矩阵：LoRA 训练 r(in + out) 个数，而不是 in × out 个。
#
# A has r rows of `in_features` numbers, B has r columns of `out_features`. Together
# `r * (in_features + out_features)`. For a square matrix that is the 2 d r of the article.

# %% exact
print("  out x in       r  entries of W0   A and B     share")
for out_features, in_features, r in ((4, 4, 2), (1024, 1024, 8), (4096, 4096, 8), (3072, 768, 8)):
    whole = counting.full_params(in_features, out_features)
    few = counting.lora_params(in_features, out_features, r)
    share = 100 * few / whole
    print(f"{out_features:>5} x {in_features:<5} {r:>3} {whole:>14,} {few:>9,} {share:8.4f} %")

# %% [markdown]
# The article's counts are right: 16 numbers for 16 in its 4x4 example, and at d = 1024, r = 8
# there are 16,384 for 1,048,576. It gives that as 1.56 % in one part and as 98.4 % less in the
# other, which says the same.
#
# Where does the saving end? At the **break-even rank** A and B have as many numbers as W0:

# %% exact
for out_features, in_features in ((4, 4), (1024, 1024), (3072, 768), (32000, 4096), (2, 768)):
    rank = counting.break_even_rank(in_features, out_features)
    least = min(out_features, in_features)
    print(f"{out_features:>5} x {in_features:<4}: {float(rank):8.2f} of at most {least}")

# %% [markdown]
# It is the r for which `r * (in + out)` equals `in * out`: half of the width for a square matrix,
# and more than half of the smaller side for any other. So the 4x4 example at r = 2 saves nothing,
# as the article says. A head of two outputs could save at r = 1 only. Train it whole.

# %% [markdown]
# ## Linear in r, and linear in d
#
# > 参数量对 r 是线性的，对 d 也是线性的；d 的平方是完整矩阵，文章把两者混淆了。
#
# The article says that the number of parameters is linear in r and quadratic in d. Double one at
# a time:

# %% exact
print(f"{'':<20} {'LoRA':>7} {'W0':>10}   share of W0")
for name, d, r in (("d = 1024, r = 8", 1024, 8), ("twice r", 1024, 16), ("twice d", 2048, 8)):
    few, whole = counting.lora_params(d, d, r), counting.full_params(d, d)
    print(f"{name:<20} {few:>7,} {whole:>10,} {100 * few / whole:10.4f} %")

# %% [markdown]
# Twice r is twice as many, and twice d is twice as many. Quadratic in d is W0. This is why LoRA
# saves more the larger a model is: at the same r, its share 2 r / d falls.

# %% [markdown]
# ## Whole models
#
# > 整个模型：按模块形状逐个相加；占比取决于秩、宽度和目标模块，并不总在 0.01%–1% 之间。
#
# A count needs shapes and no weights. `get_model` returns those of a published model, with its
# modules under the names of the checkpoint, and `count_parameters` counts what a method trains:

# %% exact
llama = get_model("llama-7b")
counted = count_parameters(llama, LoRA(8, ["q_proj", "v_proj"]))
print(counted)
print("by hand:", f"{32 * 2 * counting.lora_params(4096, 4096, 8):,}")
share = 100 * counted.trainable / llama.total
print(f"of the model alone: {llama.total:,}, {share:.4f} %")

# %% [markdown]
# The first line has the form in which PEFT prints it. By hand: 32 blocks, two square matrices in
# each. PEFT's total has A and B in it, the model alone is a little smaller. To four decimals the
# share is the same. A few more, on the query and value matrices:

# %% exact
FIGURES["parameters"].picture()

# %% [markdown]
# So "from billions to millions", as the article has it, is right for such settings. It also says
# that LoRA usually trains 0.01 % to 1 % of a model. That holds for some settings, and not for
# others:

# %% exact
linear = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
for name, r, targets in (
    ("gpt3-175b", 1, ["c_attn.q", "c_attn.v"]),
    ("llama-7b", 8, ["q_proj", "v_proj"]),
    ("llama-7b", 8, linear),
    ("llama-7b", 64, linear),
):
    counted = count_parameters(get_model(name), LoRA(r, targets))
    where = "all linear of the blocks" if targets is linear else "queries and values"
    share = 100 * float(counted.share)
    print(f"{name:<9} r = {r:<2} {where:<24} {counted.trainable:>11,} {share:7.4f} %")

# %% [markdown]
# Among [all claims of the article](../docs/article.md) both are *conditional*. Before the semicolon
# stands what comes out of all that is tried, and behind it where the sentence is true:

# %% exact
for name in ("billions-to-millions", "share-range"):
    judged = judge(article().claim(name))
    print(fill(f"{name}, {judged.verdict}: {judged.recomputed}", 88))

# %% [markdown]
# ## Multiply-adds: what a step computes
#
# > 前向多 r(in + out) 次乘加；反向不算 W0 的梯度，一步训练最多省三分之一。
#
# For each row of x, full fine-tuning makes three products of the size of W0: y on the way
# forward, and on the way back the gradients of x and of W0. LoRA makes two of them, and adds thin
# products with A and B. The gradient of W0 is left out because nobody would use it. (It is not
# zero, though the article says so: notebook 04.) LoRA divided by full, at d = 1024:

# %% exact
d = 1024
full = counting.full_multiply_adds(d, d, n=1)
print("   r   forward  backward   a step")
for r in (1, 8, 64, 170, 171, d // 2):
    lora = counting.lora_multiply_adds(d, d, r, n=1)
    pairs = ((lora.forward, full.forward), (lora.backward, full.backward), (lora.total, full.total))
    print(f"{r:>4}", *(f"{some / all_of_it:9.4f}" for some, all_of_it in pairs))

# %% [markdown]
# - **Forward** LoRA always costs more, by `r * (in + out)` multiply-adds a row. The article calls
#   this O(2dr), "far below O(d^2)". That is right for r far below d / 2. At d / 2 the forward
#   pass costs twice as much.
# - **A step** approaches two thirds as r gets small. It is cheaper than full fine-tuning below a
#   third of the break-even rank, here up to r = 170. From there to r = 511 LoRA trains fewer
#   numbers, and computes more.
# - **After a merge** the forward pass costs what it did before, whatever r is.
#
# Code that forms `B @ A` in every pass pays `r * out * in` for it each time:

# %% exact
for n in (1, 64, 4096):
    thin = counting.lora_multiply_adds(d, d, 8, n=n).forward
    formed = counting.forming_multiply_adds(d, d, 8) + n * counting.full_params(d, d)
    print(f"{n:>5} rows, r = 8: forming B A costs {formed / thin:.2f} times the forward pass")

# %% [markdown]
# With few rows that is a waste, and with many it looks harmless. The backward pass is where it
# hurts: an automatic differentiation of `x @ (W0 + B @ A).T` computes the gradient of `B @ A`,
# which is the gradient of W0 that LoRA had saved, and holds it in memory.
#
# Multiply-adds are not seconds. Thin products use a processor less well than large ones, so the
# gain in time is usually smaller. The paper reports a speed-up of 25 % for GPT-3: that much less
# time for each token, or a third more tokens a second ([the figures](../docs/literature.md)).

# %% [markdown]
# ## Memory: weights, gradients, states, activations
#
# > LoRA 省的是梯度和优化器状态；权重和激活一点不少；行数一多，激活就占大头。
#
# Training holds the weights, a gradient for each trained number, what the optimiser keeps for it
# (two moments in AdamW), and the activations that the backward pass will need. For one matrix
# with d = 4096 and r = 8, in MiB of float32:

# %% exact
parts = ("weights", "gradients", "optimizer", "activations", "total")
print("  rows       ", *(f"{part:>11}" for part in parts))
for n in (512, 65536):
    full = counting.full_bytes(4096, 4096, n=n)
    lora = counting.lora_bytes(4096, 4096, 8, n=n)
    for name, held in (("full", full), ("LoRA", lora)):
        print(f"{n:>6} {name:<6}", *(f"{getattr(held, part) / 2**20:11.1f}" for part in parts))

# %% [markdown]
# The gradients and the states are nearly gone. The weights are all there, and A and B besides.
# The activations are all there too: A needs x for its gradient, just as W0 did. (Only a layer in
# which neither a weight nor an A is trained could do without x. For a bias, the gradient of y is
# enough.) With few rows LoRA takes little more than a quarter of the memory. With many, the
# activations are most of it, and LoRA takes 85 %. Against those it helps to recompute them in the
# backward pass, to make the batch smaller, or the texts shorter.
#
# So there are three levers, and each pulls at one part: LoRA at gradients and states, quantising
# at the frozen weights (notebook 11), recomputation at the activations.

# %% exact
FIGURES["memory"].picture()

# %% [markdown]
# What is held depends on dtypes and optimiser. The picture is AdamW with weights and gradients in
# bfloat16 and moments in float32. (A float32 copy of the trained weights, which mixed precision
# often keeps besides, is not in it.) With one dtype for everything, for LLaMA 7B:

# %% exact
model = get_model("llama-7b")
counts = {
    "full": count_parameters(model, Full()),
    "LoRA": count_parameters(model, LoRA(8, ["q_proj", "v_proj"])),
}
print(f"{'GB':<15}", *(f"{optimizer:>9}" for optimizer in counting.OPTIMIZER_STATES))
for dtype in ("float32", "bfloat16"):
    for name, counted in counts.items():
        held = [
            counting.training_memory(counted, dtype, optimizer=o).total / 1e9
            for o in counting.OPTIMIZER_STATES
        ]
        print(f"{dtype:<9} {name:<5}", *(f"{size:9.1f}" for size in held))

# %% [markdown]
# With plain gradient descent, which keeps no states, full fine-tuning is at two numbers for each
# weight, and LoRA at about one. The factor of LoRA depends on what it is compared with.

# %% [markdown]
# ## What is stored
#
# > 每个任务只需存 A 和 B；文件大小本身就能说明里面存了多少个数。
#
# A task needs its A and B on the disk, and W0 once for all tasks (notebook 10). For GPT-3 with
# r = 4 on queries and values, in 16 bits:

# %% exact
gpt3 = get_model("gpt3-175b")
whole = counting.checkpoint_bytes(count_parameters(gpt3, Full()), "float16")
adapter = counting.checkpoint_bytes(
    count_parameters(gpt3, LoRA(4, ["c_attn.q", "c_attn.v"])), "float16"
)
print(f"the model {whole:,}, a task {adapter:,} bytes: {whole // adapter:,} times smaller")

# %% [markdown]
# The paper has 350 GB, roughly 35 MB, and 10,000 times. Conversely, the size of a file tells what
# is in it. For LoRA on GPT-2 medium, r = 4, table 3 of the paper has 0.35M trained numbers, and
# the authors' repository lists files of 1.5 MB. In float32:

# %% exact
medium = count_parameters(get_model("gpt2-medium"), LoRA(4, ["c_attn.q", "c_attn.v"]))
size = counting.checkpoint_bytes(medium)
print(f"r = 4: {medium.trainable:,} numbers, {size:,} bytes, {size / 2**20} MiB")

# %% [markdown]
# So the files hold 0.39M, which is what r = 4 makes. The 0.35M belongs to no rank
# ([question 1](../docs/questions.md)).

# %% [markdown]
# ## Explain an odd number
#
# > 打印出的参数量对不上时，多半是计数规则不同：explain 会逐条规则去试。
#
# PEFT's guide to custom models trained a network of widths 20, 2000, 2000, 2, with LoRA of r = 8
# on the first two layers and the last one whole, and printed 56,164 trainable parameters. Counted
# once each:

# %% exact
mlp, method, saved = get_model("peft-mlp"), LoRA(8, ["seq.0", "seq.2"]), ["seq.4"]
print(count_parameters(mlp, method, modules_to_save=saved))

# %% [markdown]
# A rule of counting is a difference, so the question is which rules add up to what is missing.
# `explain` tries none, each, and two or three together:

# %% exact
for found in counting.explain(56_164, mlp, method, modules_to_save=saved):
    print(f"{found.value:,} is the {found.count} count; total {found.total:,}")
    for name in found.rules:
        print(f"{name}: {counting.RULES[name]}")

# %% [markdown]
# The guide prints 4,100,164 for the total, and that comes out beside it. That both come out under
# one rule is better evidence than one number. One number that agrees under three rules together
# is weak evidence, for there are many such sums. Where nothing fits, `explain` returns nothing.
#
# Another one. Where LLaMA 7B is loaded in 4 bits, as in notebook 11, with LoRA of r = 8 on
# queries and values, one finds printed "all params: 3504607232", half of what the model has:

# %% exact
llama, method = get_model("llama-7b"), LoRA(8, ["q_proj", "v_proj"])
for found in counting.explain(3_504_607_232, llama, method):
    share = 100 * found.trainable / found.total
    print(
        f"{found.value:,} is the {found.count} count; trainable {found.trainable:,}, {share:.4f} %"
    )
    for name in found.rules:
        print(f"{name}: {counting.RULES[name]}")

# %% [markdown]
# So the share that stands beside it is nearly twice too large. The model has as many numbers as
# before, in fewer bytes, and A and B are not in 4 bits.

# %% [markdown]
# ## A model of your own
#
# > 自己的模型：用 JSON 写下每个模块的名字和形状，就能同样计数。
#
# A JSON file with names and shapes is enough. One lies beside the package:

# %% exact
path = Path(specs.__file__).with_name("example_spec.json")
mine = specs.load(path)
for module in mine.modules[:3]:
    splits = " ".join(name for name, _ in module.splits)
    shape = " x ".join(map(str, module.shape))
    print(f"{module.copies} x  {module.name:<24} {module.kind:<10} {shape:<10} {splits}".rstrip())
print(f"... {mine.total:,} numbers in all")
print(count_parameters(mine, LoRA(4, ["qkv.q", "qkv.v", "out"])))

# %% [markdown]
# A `*` in a name stands for the number of the block, and `splits` say what the rows of a fused
# projection are, so that `qkv.q` can be a target. On the command line:
#
# ```console
# $ lora-ref count --spec mine.json --rank 4 --targets qkv.q qkv.v out
# ```
#
# A target that names nothing is an error, with the nearest name:

# %% exact
try:
    count_parameters(mine, LoRA(4, ["qvk"]))
except LoraRefError as error:
    print(error)

# %% [markdown]
# ## When it saves, and when it does not
#
# > 一张表：LoRA 与全量微调之比；秩小、行数少时省得多；行数多时省内存少；秩太大时反而更贵。
#
# LoRA divided by full fine-tuning, for one matrix with d = 4096, float32 and AdamW. Above 1 it
# costs more:

# %% exact
d = 4096
print("   r   rows   trained   a step   memory   unmerged use   merged use")
for r, n in ((8, 512), (8, 65536), (256, 512), (1024, 512), (2048, 512)):
    lora, full = counting.lora_multiply_adds(d, d, r, n=n), counting.full_multiply_adds(d, d, n=n)
    merged = counting.merged_multiply_adds(d, d, n=n)
    held = counting.lora_bytes(d, d, r, n=n).total / counting.full_bytes(d, d, n=n).total
    trained = counting.lora_params(d, d, r) / counting.full_params(d, d)
    ratios = f"{trained:9.3f} {lora.total / full.total:8.3f} {held:8.3f}"
    use = f"{lora.forward / full.forward:14.3f} {merged.forward / full.forward:12.3f}"
    print(f"{r:>4} {n:>6} {ratios} {use}")

# %% [markdown]
# With a small rank, a step saves about a third whatever the number of rows, and the memory saves
# most where rows are few. At r = 1024 half as many numbers are trained, and yet a step costs more
# than full fine-tuning. At r = 2048, the break-even rank, everything costs as much or more.

# %% [markdown]
# ## Exercises
#
# > 练习：自己数一遍参数、盈亏平衡的秩和训练所占的字节。
#
# ### `count`: how many numbers LoRA trains

# %% exact
print(show("count"))


# %%
def count(shapes, r): ...


check("count", count)

# %% [markdown]
# ### `break-even`: the largest rank that still saves

# %% exact
print(show("break-even"))


# %%
def break_even(out_features, in_features): ...


check("break-even", break_even)

# %% [markdown]
# ### `training-bytes`: what training holds

# %% exact
print(show("training-bytes"))


# %%
def training_bytes(frozen, trained): ...


check("training-bytes", training_bytes)

# %% [markdown]
# ## In practice
#
# > 实践：先数再训；显存不够时先看是哪一部分占大头，再决定用哪种办法。
#
# - Count before training, and compare with what the library prints. A wrong target name, a layer
#   that is trained by mistake, a head that is not: all of them show there.
# - Out of memory: ask which part it is. Weights: quantise. Activations: recompute, or shorten.
#   Gradients and states: LoRA. A smaller r seldom helps, because A and B are small already.
# - Too slow: LoRA saves a third of the arithmetic at most. Look for code that forms `B @ A`, and
#   for many small products; merge before use.
# - To compare methods, say what is counted: with or without the head, and out of which total.

# %% [markdown]
# ## Further reading
#
# > 延伸阅读：LoRA 原文的成本部分，训练显存的构成，以及重算激活的方法。
#
# - E. Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", 2021, arXiv 2106.09685,
#   section 4.2, on memory, checkpoints and speed.
# - S. Rajbhandari et al., "ZeRO: Memory Optimizations Toward Training Trillion Parameter Models",
#   2019, arXiv 1910.02054, section 3, on where the memory of training goes.
# - T. Chen et al., "Training Deep Nets with Sublinear Memory Cost", 2016, arXiv 1604.06174, on
#   recomputing activations.
# - [Derivations](../docs/derivations.md): "What a pass costs" and "What the cache keeps".
#   [Questions](../docs/questions.md) 1, 11 and 12 are on counting.
# - Next: [13 · Judge the textbook](13-judge-the-textbook.ipynb).

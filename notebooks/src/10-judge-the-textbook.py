# %% [markdown]
# # 10 · Judge the textbook
#
# **You will** recompute the claims of a published article, look at how a verdict comes about,
# and judge a lecture of your own in the same way.
#
# **You will learn** what a printed number promises, why a verdict must never be typed, how a
# claim that is true under a condition differs from a false one, and how to keep a text right for
# good.
#
# **You need** notebook [02](02-walk-through-the-example.ipynb) for the numbers of the example,
# and fifteen minutes.

# %%
from collections import Counter
from dataclasses import replace

from lora_ref import ledger
from lora_ref.errors import LoraRefError
from lora_ref.exercises import check, show
from lora_ref.figures import FIGURES
from lora_ref.ledger import claim as claims
from lora_ref.ledger import lecture, literature, report
from lora_ref.ledger.claim import Correction, Number

CLAIMS = {claim.id: claim for claim in ledger.CLAIMS}

# %% [markdown]
# ## One claim, recomputed
#
# > 一条论断由原文的输入、打印的数值和重新计算的函数组成，结论由计算得出。
#
# A claim holds what the text prints, the text's own inputs, and a function that recomputes the
# number from them. Whoever writes a claim chooses how it is judged: as a number, a shape, a law.
# Whether it holds is what comes out of comparing, and nobody writes that down.

# %%
# exact
judged = ledger.judge(CLAIMS["ab-11"])
print("the article says", judged.claim.says)
print("recomputed      ", judged.recomputed)
print("verdict         ", judged.verdict)
print("right           ", judged.correction)
print("because         ", judged.why)

# %% [markdown]
# Is that honest? Change the printed digits to the right ones, and the same function must confirm
# them; change an input, and the verdict must fall again.

# %%
# exact
claim = CLAIMS["ab-11"]
print("inputs:", ", ".join(claim.given))
corrected = replace(claim, statement=Number("0.50", claim.statement.value))
print("0.59 printed:", ledger.judge(claim).verdict)
print("0.50 printed:", ledger.judge(corrected).verdict)
other_inputs = {**claim.given, "B": claim.given["B"] * 2}
print("0.50 printed, B doubled:", ledger.judge(replace(corrected, given=other_inputs)).verdict)

# %% [markdown]
# ## What a printed number promises
#
# > 打印的数值承诺误差不超过末位的半个单位，比较必须用十进制而不是浮点数。
#
# A text that prints 1.56 does not claim 1.5600000: it claims a value that rounds to it, within
# half a unit of the last digit. `0.5` and `0.50` are different claims. The comparison is made in
# decimal, because in binary the ends are not where they seem to be. (A float counts as the
# shortest decimal that stands for it: 0.505 is 505/1000.)

# %%
# exact
print("1.56 % for 1/64: ", claims.agrees("1.56 %", 1 / 64))
print("1.57 % for 1/64: ", claims.agrees("1.57 %", 1 / 64))
print("0.50 for 0.505:  ", claims.agrees("0.50", 0.505), " the end belongs to it")
print("in floats:       ", abs(0.505 - 0.50) <= 0.005, " 0.505 - 0.50 is not 0.005")

# %% [markdown]
# No tolerance is chosen by whoever judges. How exact a number is meant to be, its digits say.

# %% [markdown]
# ## All claims of the article
#
# > 全文共五十九条论断，其中五十二条可以重新计算；图中每格是一条论断。
#
# Eight verdicts. `slip`: the expression is right and its number is not. `shape`: the expression
# has no meaning for the stated shapes, or another shape. `false` has a computed counterexample.
# `conditional` is true under a condition that the text leaves out, and both sides are computed.
# The rest needs data (`measured`), is a metaphor (`illustrated`), or has nothing that bears it
# out (`unsupported`). And `confirmed` is what comes out as printed.

# %%
# exact
judgements = [ledger.judge(claim) for claim in ledger.CLAIMS]
found = Counter(one.verdict for one in judgements)
for verdict in claims.VERDICTS:
    print(f"{verdict:<12} {found[verdict]:>2}")
print(f"{'all':<12} {found.total()}")

# %%
# exact
FIGURES["ledger"].picture()

# %% [markdown]
# The largest group is `confirmed`, and that is worth saying: the parameter counts, the start from
# B = 0, the two steps B (A x) and the switching of tasks stand in the article as they should.
# What is wrong is wrong in a few ways that repeat:

# %%
# exact
for verdict in ("slip", "shape", "false"):
    print(f"{verdict}:", ", ".join(one.claim.id for one in judgements if one.verdict == verdict))

# %% [markdown]
# ## A correction is a claim too
#
# > 更正本身也是一条论断，同样要重新计算；算不出来的更正会使整个检验失败。
#
# Whoever corrects makes mistakes as well. So each correction is a statement under the same rules,
# and one that does not come out confirmed fails the run.

# %%
# exact
print(report.as_text([ledger.judge(CLAIMS["frobenius"])], width=84, chinese=False))

# %% [markdown]
# Print the correction with fewer digits, and it still holds: it claims less. Print a wrong digit,
# and the ledger reports a problem, and `lora-ref verify` would end with status 1. The verdict on
# the article is another matter, and stays.

# %%
# exact
good = CLAIMS["frobenius"].correction
shorter = Correction(good.says, Number("1.93", good.check.value))
wrong = Correction(good.says, Number("1.83", good.check.value))
for correction in (good, shorter, wrong):
    one = ledger.judge(replace(CLAIMS["frobenius"], correction=correction))
    print(correction.check.printed, "->", one.verdict, "| correction holds:", one.correction_holds)

# %% [markdown]
# ## True under a condition
#
# > 有些论断只在某个条件下成立：两边都要计算，并把条件写出来。
#
# "LoRA adds only O(2dr) to the forward pass, far below O(d^2)" is neither right nor wrong before
# r is known.

# %%
# exact
print(report.as_text([ledger.judge(CLAIMS["forward-cost"])], width=84, chinese=False))

# %% [markdown]
# ## The papers as well
#
# > 论文和软件库中印出的数字同样可以检验，不一致常常来自没有写明的计数规则。
#
# The same is done for what papers and libraries print about LoRA. A number that does not come out
# need not be a slip: it may follow a counting rule that the source leaves unsaid (`by-rule`, and
# the rule has a name), or the source may contradict itself or its own code (`conflict`). `rounds`
# and `truncates` say how the last digit came about.

# %%
# exact
printed = [literature.judge(figure) for figure in literature.FIGURES]
by_verdict = Counter(one.verdict for one in printed)
print(f"{len(printed)} figures of {len(literature.PAPERS)} sources:")
for verdict in literature.VERDICTS:
    print(f"  {verdict:<10} {by_verdict[verdict]:>3}")

# %% [markdown]
# [The literature](../docs/literature.md) lists them all, and notebook
# [09](09-count-what-it-costs.ipynb) looks for a rule behind a number.

# %% [markdown]
# ## Your own lecture
#
# > 把自己讲义里的矩阵和数字写成 TOML 文件，程序就会逐条检验。
#
# Write down your matrices, what you print, and which quantity each number is meant to be. Nothing
# in the file is executed. One of these three is wrong:

# %%
# exact
slides = lecture.parse("""
[lecture]
title = "LoRA in five minutes"

[matrices]
A = "1 2 0 / 0 1 3"
B = "1 0 / 2 1"

[[claim]]
id = "update"
says = "the update for alpha = 4"
quantity = "delta-w"
alpha = 4
printed = "2 4 0 / 4 10 6"

[[claim]]
id = "size"
says = "A and B together have 10 numbers, as the weight would"
quantity = "lora-count"
in = 3
out = 2
r = 2
printed = "10"

[[claim]]
id = "norm"
says = "its norm"
quantity = "frobenius-norm"
of = "B A"
printed = "6.71"
""")
print(lecture.report.as_text(slides, lecture.judge(slides), width=84))

# %% [markdown]
# The second claim is confirmed, although its sentence ends in a falsehood: a weight of 2 x 3 has
# 6 numbers, fewer than A and B. **A program judges the number, not the sentence around it.** That
# is why the ledger keeps what it recomputes beside what is said.

# %% [markdown]
# A file with a fault is no verdict. All faults are told together, with their lines:

# %%
# exact
try:
    lecture.parse('[lecture]\ntitle = "x"\n[matrices]\nA = "1 2 / 3"\n[[claim]]\nid = "a"\n')
except LoraRefError as error:
    print(error)

# %% [markdown]
# ## Exercises
#
# > 练习：写出判断打印值与计算值是否一致的函数。
#
# ### `agrees`: whether a printed number is the computed one

# %%
# exact
print(show("agrees"))


# %%
def agrees(printed, value): ...


check("agrees", agrees)

# %% [markdown]
# ## In practice
#
# > 实践：让检验成为讲义的一部分，每次修改后自动运行。
#
# - `lora-ref verify` recomputes the article, `lora-ref verify --literature` the papers, `lora-ref
#   verify --file my_lecture.toml` your own. The exit status is 0 where everything could be
#   judged, 1 where a correction fails, 2 where a file has faults: enough for a check on every
#   change.
# - [Your own lecture](../docs/your-lecture.md) has the vocabulary and three files to start from.
#   One is the article itself in this form.
# - Print no more digits than you stand for, and say where a number comes from. Who prints 0.5
#   promises less than who prints 0.50.

# %% [markdown]
# ## Further reading
#
# > 延伸阅读：全部论断的清单，以及可重复研究的文献。
#
# - [The ledger](../docs/ledger.md): all claims of the article with their verdicts, written by the
#   program. [The literature](../docs/literature.md): the same for published figures.
# - D. E. Knuth, "Literate Programming", The Computer Journal 27, 1984: text and program in one
#   source.
# - J. F. Claerbout, M. Karrenbach, "Electronic documents give reproducible research a new
#   meaning", SEG Technical Program Expanded Abstracts, 1992.
# - Back to the beginning: [01 · Find the rank of an update](01-find-the-rank.ipynb).

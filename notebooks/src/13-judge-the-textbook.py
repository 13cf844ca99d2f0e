# %% [markdown]
# # 13 · Judge the textbook
#
# **You will** recompute the claims of a published article, look at how a verdict comes about,
# and judge a lecture of your own in the same way.
#
# **You will learn** what a printed number promises, why a claim is data and its verdict must never
# be typed, how a claim that is true under a condition differs from a false one, and how to keep a
# text right for good.
#
# **You need** notebook [03](03-walk-through-the-example.ipynb) for the numbers of the example,
# and fifteen minutes.

# %%
from collections import Counter

from lora_ref.claims import DATA, VERDICTS, article, judge, literature, parse, report
from lora_ref.claims.judge import NOT_COMPUTED
from lora_ref.claims.printed import agreement
from lora_ref.errors import LoraRefError
from lora_ref.exercises import check, show
from lora_ref.figures import FIGURES

# %% [markdown]
# ## One claim, recomputed
#
# > 一条论断就是文件里的一张表，写明印出的数值、要算的量和它的输入；结论由计算得出。
#
# All claims of the article stand in one file, as text. A claim is a table in it: what the article
# says, what it prints, and the quantity that the number is meant to be, with the inputs that the
# article gives. Here is one as it stands in the file:

# %% exact
text = (DATA / "article.toml").read_text(encoding="utf-8")
start = text.index('[[claim]]\nid = "ab-11"')
table = text[start : text.index("[[claim]]", start + 1)]
print(table.rstrip())

# %% [markdown]
# There is no verdict in it. `entry` names a function that multiplies the matrices A and B, which
# stand further up in the same file, and takes one entry. The `derived` lines compute in the same
# way what stands in braces, so that no number of the reason is typed. Whoever writes a claim
# chooses what is computed, and from what. Whether it agrees is what comes out of comparing:

# %% exact
judged = judge(parse(text).claim("ab-11"))
print("the article says", judged.claim.text)
print("recomputed      ", judged.recomputed)
print("verdict         ", judged.verdict)
print("right           ", judged.correction)
print("because         ", judged.reason)

# %% [markdown]
# Is that honest? Write the right digits where the wrong ones stand, and the same function must
# confirm them. Change an input, and the verdict must fall again.

# %% exact
right = text.replace(table, table.replace('printed = "0.59"', 'printed = "0.50"'))
other = right.replace("\n0.10 0.20\n0.30 0.40\n", "\n0.20 0.20\n0.30 0.40\n")
for what, file in (
    ("as it stands", text),
    ("0.50 printed", right),
    ("0.50 printed, and B begins with 0.20", other),
):
    judged = judge(parse(file).claim("ab-11"))
    print(f"{what}: {judged.recomputed} computed, {judged.verdict}")

# %% [markdown]
# ## What a printed number promises
#
# > 打印的数值承诺误差不超过末位的半个单位，比较必须用十进制而不是浮点数。
#
# A text that prints 1.56 does not claim 1.5600000: it claims a value that rounds to it, within
# half a unit of the last digit. `0.5` and `0.50` are different claims. The comparison is made in
# decimal, because in binary the ends are not where they seem to be. (A float counts as the
# shortest decimal that stands for it: 0.505 is 505/1000.)

# %% exact
print("1.56 % for 1/64: ", agreement("1.56 %", 1 / 64))
print("1.57 % for 1/64: ", agreement("1.57 %", 1 / 64))
print("0.50 for 0.5:    ", agreement("0.50", 0.5))
print("0.50 for 0.505:  ", agreement("0.50", 0.505), " the end belongs to it")
print("0.50 for 0.506:  ", agreement("0.50", 0.506), " rounded it would be 0.51")
print("in floats:       ", abs(0.505 - 0.50) <= 0.005, " 0.505 - 0.50 is not 0.005")

# %% [markdown]
# No tolerance is chosen by whoever judges. How exact a number is meant to be, its digits say. A
# last digit that was cut and not rounded is told apart, as `truncated`. (Where a text itself says
# "about", its file may say how near that is.)

# %% [markdown]
# ## All claims of the article
#
# > 全文共六十九条论断，其中六十一条可以重新计算；图中每格是一条论断。
#
# Eight verdicts occur. `slip`: the expression is right and its number is not. `shape`: the
# expression has no meaning for the stated shapes, or another shape. `false` has a computed
# counterexample. `conditional` is true under a condition that the text leaves out, and both sides
# are computed. The rest needs data (`measured`), is a `metaphor`, or has nothing that bears it
# out (`unsupported`). And `confirmed` is what comes out as printed.

# %% exact
judgements = [judge(claim) for claim in article().claims]
found = Counter(one.verdict for one in judgements)
for verdict in VERDICTS:
    if found[verdict]:
        print(f"{verdict:<12} {found[verdict]:>2}")
recomputed = sum(one.verdict not in NOT_COMPUTED for one in judgements)
print(f"{'all':<12} {found.total()}, {recomputed} of them recomputed")

# %% exact
FIGURES["verdicts"].picture()

# %% [markdown]
# The largest group is `conditional`, and what the text leaves out there is worth the reading:
# B = 0 keeps the output as it was before the first step, and not for all of early training; some
# shares hold at one width and rank, and not at others. Next is `confirmed`, and that is worth
# saying too: the parameter counts, the two steps B (A x) and the switching of tasks stand in the
# article as they should. What is wrong is wrong in a few ways that repeat:

# %% exact
for verdict in ("slip", "shape", "false"):
    print(f"{verdict}:", ", ".join(one.claim.id for one in judgements if one.verdict == verdict))

# %% [markdown]
# ## A correction is a claim too
#
# > 更正本身也是一条论断，同样要重新计算；算不出来的更正会使整个检验失败。
#
# Whoever corrects makes mistakes as well. So each correction is a statement under the same rules,
# and one that does not come out confirmed fails the run.

# %% exact
print(report.as_text([judge(article().claim("frobenius"))], [article()], width=84))

# %% [markdown]
# Print the correction with fewer digits, and it still holds: it claims less. Print a wrong digit,
# and it is a problem of the file, with which `lora-ref verify` would end with status 1. The
# verdict on the article is another matter, and stays.

# %% exact
for digits in ("1.9339", "1.93", "1.83"):
    one = judge(parse(text.replace('equals = "1.9339"', f'equals = "{digits}"')).claim("frobenius"))
    print(f"{digits}: {one.verdict}, the correction holds: {one.correction_holds}")
print(*one.problems)

# %% [markdown]
# ## True under a condition
#
# > 有些论断只在某个条件下成立：两边都要计算，并把条件写出来。
#
# "LoRA adds only O(2dr) to the forward pass, far below O(d^2)" is neither right nor wrong before
# r is known.

# %% exact
print(report.as_text([judge(article().claim("forward-cost"))], [article()], width=84))

# %% [markdown]
# The article gives no number for "far below". The file puts one in its place, a tenth, and it
# stands there for all to see. Whoever means something else by the words changes it, and judges
# again:

# %% exact
start = text.index('[[claim]]\nid = "forward-cost"')
table = text[start : text.index("[[claim]]", start + 1)]
for bound in ("10 %", "1 %", "150 %"):
    file = text.replace(table, table.replace('below = "10 %"', f'below = "{bound}"'))
    print(f"less than {bound} more: {judge(parse(file).claim('forward-cost')).verdict}")

# %% [markdown]
# ## The papers as well
#
# > 论文和软件库中印出的数字同样可以检验，不一致常常来自没有写明的计数规则。
#
# What papers and libraries print about LoRA stands in files of the same form, and the same judge
# judges it. A number that does not come out need not be a slip: it may follow a counting rule that
# the source leaves unsaid (`by-rule`, and the rule has a name), or the source may contradict
# itself or its own code (`conflict`).

# %% exact
printed = [judge(claim) for source in literature() for claim in source.claims]
by_verdict = Counter(one.verdict for one in printed)
print(f"{len(printed)} claims of {len(literature())} sources:")
for verdict in VERDICTS:
    if by_verdict[verdict]:
        print(f"  {verdict:<12} {by_verdict[verdict]:>3}")
how = Counter(one.agreement for one in printed if one.verdict == "confirmed" and one.agreement)
print("confirmed numbers:", ", ".join(f"{n} {name}" for name, n in sorted(how.items())))

# %% [markdown]
# [The literature](../docs/literature.md) lists them all, and notebook
# [12](12-count-what-it-costs.ipynb) looks for a rule behind a number.

# %% [markdown]
# ## Your own lecture
#
# > 把自己讲义里的矩阵和数字写成 TOML 文件，程序就会逐条检验。
#
# Write down your matrices, what you print, and which quantity each number is meant to be. Nothing
# in the file is executed. One of these three is wrong:

# %% exact
slides = parse("""
[lecture]
title = "LoRA in five minutes"

[matrices]
A = "1 2 0 / 0 1 3"
B = "1 0 / 2 1"

[[claim]]
id = "update"
text = "the update for alpha = 4"
quantity = "delta-w"
alpha = 4
printed = "2 4 0 / 4 10 6"

[[claim]]
id = "size"
text = "A and B together have 10 numbers, as the weight would"
quantity = "lora-count"
in = 3
out = 2
r = 2
printed = "10"

[[claim]]
id = "norm"
text = "its norm"
quantity = "frobenius-norm"
of = "B A"
printed = "6.71"
""")
judged = [judge(claim) for claim in slides.claims]
print(report.as_text(judged, [slides], width=84, grouped=False))

# %% [markdown]
# The second claim is confirmed, although its sentence ends in a falsehood: a weight of 2 x 3 has
# 6 numbers, fewer than A and B. **A program judges the number, not the sentence around it.** That
# is why a report has what was recomputed, and from what, beside what is said.

# %% [markdown]
# A file with a fault is no verdict. All faults are told together, with their lines:

# %% exact
try:
    parse('[lecture]\ntitle = "x"\n[matrices]\nA = "1 2 / 3"\n[[claim]]\nid = "a"\n')
except LoraRefError as error:
    print(error)

# %% [markdown]
# ## Exercises
#
# > 练习：写出判断打印值与计算值是否一致的函数。
#
# ### `agrees`: whether a printed number is the computed one

# %% exact
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
# - [Add a source](../docs/add-a-source.md) has the vocabulary and two files to start from. The
#   article and the papers are files of the same form.
# - Print no more digits than you stand for, and say where a number comes from. Who prints 0.5
#   promises less than who prints 0.50.

# %% [markdown]
# ## Further reading
#
# > 延伸阅读：全部论断的清单，以及可重复研究的文献。
#
# - [All claims of the article](../docs/article.md) with their verdicts, written by the program.
#   [The literature](../docs/literature.md): the same for published numbers.
# - D. E. Knuth, "Literate Programming", The Computer Journal 27, 1984: text and program in one
#   source.
# - J. F. Claerbout, M. Karrenbach, "Electronic documents give reproducible research a new
#   meaning", SEG Technical Program Expanded Abstracts, 1992.
# - Back to the beginning: [02 · Find the rank of an update](02-find-the-rank.ipynb).

# %% [markdown]
# # 06 · Scale the update
#
# You raise the rank of a LoRA that trains well. Does your learning rate still fit? Or you copy
# somebody's learning rate together with another alpha, and it diverges. Five things set how far an
# update moves: alpha, r, the size of the first A, and the learning rates of A and B. They are not
# five separate knobs.
#
# **You will** change the rank under three scalings and measure what stays the same, exchange one
# number for another one without changing a single bit of a training run, and look for the best
# learning rate of LoRA beside that of full training.
#
# **You will learn** what alpha/r and alpha/sqrt(r) keep, in which sense alpha is a learning rate,
# what LoRA+ changes, and how the best learning rates of LoRA and of full training compare.
#
# **You need** notebook [05](05-start-from-zero.ipynb), an hour, and half an hour for the exercises;
# the end of the second section is a good place for a break. You need not know Adam: it is written
# down below.

# %%
import numpy as np

from lora_ref.exercises import check, show
from lora_ref.figures import FirstStep, kept_by_rank, loss_by_rate
from lora_ref.layers import LoRALinear
from lora_ref.training import AdamW, Loss, Network, train

# %% [markdown]
# ## The same alpha at another rank
#
# The task is that of notebook 05 with a wider layer: rows x, and targets that W0 plus a shift of
# rank 4 has made, with a little noise. A is drawn between minus and plus `bound`, and B is zero. L
# is half the squared error of a row, averaged over the rows, and G its gradient with respect to the
# whole weight.

# %%
in_features, out_features, n, shift_rank, noise = 96, 32, 64, 4, 0.1
bound = in_features**-0.5


def draw_task(seed):
    draws = np.random.default_rng(seed)
    W0 = bound * draws.standard_normal((out_features, in_features))
    shift = draws.standard_normal((out_features, shift_rank)) / shift_rank**0.5
    shift = bound * shift @ draws.standard_normal((shift_rank, in_features))
    x = draws.standard_normal((n, in_features))
    return W0, x, x @ (W0 + shift).T + noise * draws.standard_normal((n, out_features))


def loss_and_G(update, task):
    W0, x, target = task
    left = x @ (W0 + update).T - target
    return np.sum(left**2) / (2 * len(x)), left.T @ x / len(x)


def draw_start(r, seed):
    A = np.random.default_rng(100 + seed).uniform(-bound, bound, (r, in_features))
    return A, np.zeros((out_features, r))


# %% [markdown]
# From B = 0 a first step moves B alone, against its gradient s G Aᵀ. **Adam** keeps, for every
# entry, a running mean of the gradient and one of its square, and steps by the first over the root
# of the second. Both means start at 0 and are therefore too small at first. After t steps the first
# has only `1 - 0.9**t` of its full size and the second `1 - 0.999**t`, and Adam divides by that.
# After that, at the first step they are g and g², so the step is g/|g|, the sign of g: every entry
# of B moves by exactly the learning rate.
#
# Let the rank grow with the same alpha. Either alpha is not divided at all, or by sqrt(r) as in
# rsLoRA (Kalajdzievski, 2023), or by r as in LoRA. We measure how large the update is, and how far
# it lowers the loss to first order: multiply G and the update entry by entry, add up, and change
# the sign. Both are averaged over twenty tasks.
#
# **Predict.** Under alpha/r, does Adam's first step at r = 32 lower the loss less far than at
# r = 2, just as far, or further? And is its update as large?

# %% depends on the seed
alpha, small, ranks, seeds = 16, 1e-4, (2, 8, 32), 20
rules = {"alpha alone": 0, "alpha / sqrt(r)": 1 / 2, "alpha / r": 1}


def first_step(r, s, rule, seed):
    A, B = draw_start(r, seed)
    _, G = loss_and_G(s * B @ A, draw_task(seed))
    grad_B = s * G @ A.T
    update = s * (-small * rule(grad_B)) @ A
    return np.linalg.norm(grad_B), -np.sum(G * update), np.linalg.norm(update)


def over_ranks(power, rule):
    return [
        np.mean([first_step(r, alpha / r**power, rule, seed) for seed in range(seeds)], axis=0)
        for r in ranks
    ]


adam_first = {name: np.array(over_ranks(power, np.sign)) for name, power in rules.items()}
print(f"r = {ranks}: times what it is at the first of them")
print("Adam               fall of the loss         size of the update")
for name, found in adam_first.items():
    _, fall, size = (found / found[0]).T
    print(f"{name:<16}", *(f"{v:7.2f}" for v in fall), "  ", *(f"{v:7.2f}" for v in size))

# %% to 1e-6
kept_by_rank(ranks, {name: FirstStep(*found.T[1:]) for name, found in adam_first.items()})

# %% [markdown]
# Under alpha/r the fall of the loss stays. Under alpha/sqrt(r) the size of the update stays. Why
# are these two different things? B A is a sum of r terms. Row k of A is A_k, and with the learning
# rate η term k of the update is
#
# $$
# -s \, \eta \, \mathrm{sign}(G A_k^\top) \, A_k, \quad
# \text{which lowers the loss, to first order, by} \quad s \, \eta \sum |G A_k^\top|
# $$
#
# (The sum is over the outputs.) An absolute value is never below 0, so every term lowers the loss,
# and r terms of about the same size lower it about r times as far: the fall grows as s r. With s =
# alpha/r it stays. The sizes do not add up like this. Term k is a column times the row A_k. The
# product of two such terms (entry by entry, added up) contains the factor A_j · A_k, which is
# nearly 0 where in_features is large. So, as long as r is far below in_features, the terms are
# nearly perpendicular, and the sum of r perpendicular arrows of the same length is only sqrt(r)
# times as long: the size grows as s sqrt(r). With s = alpha/sqrt(r) it stays.
#
# So neither divisor is *the* right one: it depends on what you want to keep. Kalajdzievski asks
# that what the adapter puts out and the gradients that come back neither grow nor vanish with r,
# over the whole training with plain gradient descent, and gets sqrt(r). The paper of LoRA wants to
# save tuning again after a change of r.
#
# Now gradient descent, where the step of B is the gradient itself.
#
# **Predict.** The gradient of B contains the scaling, and so does the update. Which of these does
# each divisor keep: the norm of the gradient, the fall of the loss, the size of the update?

# %% depends on the seed
print(f"r = {ranks}: times what it is at the first of them")
print("descent            norm of grad_B      fall of the loss    size of the update")
for name, power in {**rules, "alpha / r^(1/4)": 1 / 4}.items():
    found = np.array(over_ranks(power, lambda grad: grad))
    columns = (" ".join(f"{v:5.2f}" for v in column) for column in (found / found[0]).T)
    print(f"{name:<16}  ", "   ".join(columns))

# %% [markdown]
# You may have read that alpha/r keeps the size of the gradient. It does not: alpha/sqrt(r) does. It
# also keeps the fall, which is the learning rate times the squared norm of the gradient. None of
# the three divisors keeps the size of the update, -η s² G AᵀA. With a fixed s it grows roughly as
# sqrt(r). (AᵀA is again a sum of r nearly perpendicular terms.) So s would have to fall as
# 1/r^(1/4), which is the fourth line.
#
# > **Remember.** With Adam, alpha/r keeps how far the first step lowers the loss, and alpha/sqrt(r)
# > keeps how large the update is.
# >
# > 用 Adam 时，alpha/r 保持第一步损失的降幅，而 alpha/sqrt(r) 保持更新的大小。

# %% [markdown]
# ## After the first step
#
# A first step is not a whole training run. `learn` is one: it begins with A and B, gives each its
# own learning rate, and returns the update s B A at the end. Its `rule` is `adam` or `descent`;
# `memory` holds Adam's two running means. The next section needs the last three arguments.


# %%
def adam(grad, memory, step, eps):
    m, v = memory
    m, v = 0.9 * m + 0.1 * grad, 0.999 * v + 0.001 * grad**2
    move = (m / (1 - 0.9**step)) / (np.sqrt(v / (1 - 0.999**step)) + eps)
    return move, (m, v)


def descent(grad, memory, step, eps):
    return grad, memory


def learn(
    task, A, B, s, lr_A, lr_B, rule, steps, eps=(1e-30, 1e-30), decay=(0, 0), max_norm=np.inf
):
    factors, rates, memory = [A, B], (lr_A, lr_B), [(0, 0), (0, 0)]
    for step in range(1, steps + 1):
        A, B = factors
        _, G = loss_and_G(s * B @ A, task)
        grads = [s * B.T @ G, s * G @ A.T]
        clip = min(1, max_norm / np.hypot(*map(np.linalg.norm, grads)))
        for i in (0, 1):
            move, memory[i] = rule(clip * grads[i], memory[i], step, eps[i])
            factors[i] = factors[i] - rates[i] * (move + decay[i] * factors[i])
    return s * factors[1] @ factors[0]


# %% [markdown]
# It does what the package's [`AdamW`](../lora_ref/training/optimizers.py) does to the package's
# layer:

# %%
task, (A, B), lr = draw_task(seed=0), draw_start(r=4, seed=0), 0.01
update = learn(task, A, B, alpha / len(A), lr, lr, adam, steps=20)

W0, x, target = task
half = Loss(
    lambda y, target: (np.sum((y - target) ** 2) / (2 * len(y)), (y - target) / len(y)),
    lambda grad_y: grad_y,  # the backward pass: the line above has the gradient already
)
network, _ = train(
    Network({"layer": LoRALinear(W0, A, B, alpha)}), x, target, loss=half, steps=20, batch=len(x),
    optimizer=AdamW(lr, epsilon=1e-30, weight_decay=0), rng=np.random.default_rng(0),
)  # fmt: skip
print("the same as the package's:", np.allclose(update, network["layer"].delta_w))

# %% [markdown]
# Now train for thirty steps at r = 8 and at r = 32, with eleven learning rates, each 1.26 times the
# one before, on eight tasks. (The shift has rank 4, so both ranks can hold it.) The three scalings
# are equal at r = 8, and averages are geometric means.
#
# **Predict.** You keep the learning rate that was best at r = 8. Under which scaling does it fit
# r = 32 worst? Is it too large there, or too small?


# %% depends on the seed
def losses_by_rate(train_with, grid, tasks):
    found = []
    for seed in range(tasks):
        here = draw_task(seed)
        with np.errstate(all="ignore"):  # a rate that is too large diverges
            found.append([loss_and_G(train_with(here, lr, seed), here)[0] for lr in grid])
    return np.nan_to_num(found, nan=np.inf, posinf=np.inf)


def lora_with(r, s, rule, steps):
    return lambda here, lr, seed: learn(here, *draw_start(r, seed), s, lr, lr, rule, steps)


def average(values):
    return np.exp(np.mean(np.log(values), axis=0))


low, high, tasks, grid = 8, 32, 8, 2.0 ** (np.arange(-20, -9) / 3)
at_low = losses_by_rate(lora_with(low, alpha / low, adam, steps=30), grid, tasks)
best, curves = at_low.argmin(axis=1), {f"r = {low}": at_low}
print(f"r = {low}: best rate {average(grid[best]):.3f}, loss {average(at_low.min(axis=1)):.2f}")
print(f"r = {high}             best rate, over the old one   loss at the old rate   least loss")
for name, power in rules.items():
    s_high = alpha / low * (low / high) ** power
    found = losses_by_rate(lora_with(high, s_high, adam, steps=30), grid, tasks)
    change, at_old = grid[found.argmin(axis=1)] / grid[best], found[np.arange(tasks), best]
    said = f"{average(change):.2f} ({change.min():.2f} to {change.max():.2f})"
    print(f"{name:<18} {said:<29} {average(at_old):.2f} {average(found.min(axis=1)):>22.2f}")
    curves[f"r = {high}, {name}"] = found

# %% depends on the seed
lines = {name: dict(zip(grid, average(found), strict=True)) for name, found in curves.items()}
old = min(lines[f"r = {low}"], key=lines[f"r = {low}"].get)
loss_by_rate(lines, kept=old, title="A larger rank at the old learning rate (dotted)")

# %% [markdown]
# With alpha alone the old rate is too large: the larger rank ends no better with it than the
# smaller one did. Under the other two the best rate changes on average by less than one step of the
# grid (down under alpha/sqrt(r), up under alpha/r), and both lose little at the old one: this
# search cannot rank them. Try other ranks and numbers of steps. With the best rate of its own each
# scaling ends at nearly the same loss. (In the table every task has an old rate of its own, the one
# that was best for it at r = 8. The picture has one rate for all of them, and so other numbers.)
#
# > **Remember.** With either divisor the old learning rate is a good place to begin after a change
# > of r, and without one it is too large; then tune again.
# >
# > 改变秩以后，用任一种除数时原来的学习率都是好的起点，不除则过大；然后再重新调。

# %% [markdown]
# ## Two numbers are free
#
# The function knows only the product s B A. Start from p times the A and q times the B, for any p
# and q above 0, and divide alpha by p q. The update is the same as before. Is the training the same
# too?
#
# **Predict.** Adam trains. With which learning rates for the new A and the new B does it stay the
# same training, step by step?
#
# <details><summary>Answer</summary>
#
# The new A is p times as large, so it has to move p times as far. Its gradient is another one: s
# has become s/(p q) and B has become q B, so the gradient is 1/p of what it was. But Adam divides
# by the size of the gradient, and its step stays as long as it was. So the learning rate of A is
# multiplied by p. In the same way that of B is multiplied by q:
#
# $$
# \alpha \to \frac{\alpha}{p q}, \quad A \to p A, \quad B \to q B, \quad
# \eta_A \to p \, \eta_A, \quad \eta_B \to q \, \eta_B
# $$
#
# </details>
#
# If p and q are powers of two, a float multiplied by them only changes its exponent. Then not even
# the rounding differs:

# %% depends on the seed
rate, count = 0.01, 40
s = alpha / len(A)


def verdict(one, other):
    if np.array_equal(one, other):
        return "bit for bit the same"
    off = np.linalg.norm(one - other) / np.linalg.norm(other)
    return "the same up to rounding" if off < 1e-9 else f"{off:.1%} off"


def twin(p, q, by_A, by_B, **more):
    return learn(task, p * A, q * B, s / (p * q), by_A * rate, by_B * rate, adam, count, **more)


p, q = 4, 1 / 2
plain = twin(1, 1, 1, 1)
print("alpha, lr_A and lr_B are adapted     ", verdict(twin(p, q, p, q), plain))
print("p and q of the rates are exchanged   ", verdict(twin(p, q, q, p), plain))
print("the rates are left as they were      ", verdict(twin(p, q, 1, 1), plain))
print("p = 3 and q = 0.7 instead            ", verdict(twin(3, 0.7, 3, 0.7), plain))

# %% [markdown]
# The second and the third line show that the test can fail: with other rates the update at the end
# is half to three quarters of its length away.
#
# Real training runs have three more numbers that know about sizes. Adam's epsilon is added to the
# size of a gradient. Weight decay pulls A and B towards zero. Clipping shortens both gradients if
# the norm of the two taken together is above a limit.
#
# **Predict.** Which of the three can be made up for, and how?

# %% depends on the seed
eps, decay, limit = 1e-3, 0.1, 0.5
extras = {
    "epsilon as it was": ({"eps": (eps, eps)}, {"eps": (eps, eps)}),
    "epsilon over p and over q": ({"eps": (eps / p, eps / q)}, {"eps": (eps, eps)}),
    "decay as it was": ({"decay": (decay, decay)}, {"decay": (decay, decay)}),
    "decay over p and over q": ({"decay": (decay / p, decay / q)}, {"decay": (decay, decay)}),
    "clipping, limit as it was": ({"max_norm": limit}, {"max_norm": limit}),
}
for name, (new, old) in extras.items():
    print(f"{name:<30}", verdict(twin(p, q, p, q, **new), twin(1, 1, 1, 1, **old)))
clipped = twin(p, p, p, p, max_norm=limit / p), twin(1, 1, 1, 1, max_norm=limit)
print("clipping, q = p, limit over p ", verdict(*clipped))

# %% [markdown]
# The gradient of A is 1/p of what it was, so its epsilon has to be 1/p as well. (The usual 1e-8
# matters only where gradients are about as small as that.) The decay is multiplied by a learning
# rate that has grown by p, so it has to shrink by p. The norm of both gradients together mixes two
# that have changed by different factors, and nothing makes up for that, unless p and q are equal:
# then divide the limit by p.
#
# Call the standard deviation of the entries at the start the *start size* of A and of B. Alpha, two
# start sizes and two learning rates are five numbers. You may choose p and q as you like, so you
# may fix two of the five, such as the two start sizes (but not A's start size together with A's
# rate, which p moves together), and three are left that matter. If B starts at 0 it
# has no start size. Of the four numbers that remain, two matter: fix the start size of A and alpha,
# and tune the two rates.
#
# > **Remember.** With Adam, alpha, two start sizes and two learning rates are five numbers, and
# > only three of them are left to tune: p and q are yours to choose.
# >
# > 用 Adam 时，alpha、两个初始标准差和两个学习率这五个数只有三个自由度：p 与 q 可以任取。

# %% [markdown]
# ## Is alpha a learning rate?
#
# You often read that alpha is just another learning rate. LoRA's paper says, more carefully, that
# with Adam tuning alpha is roughly the same as tuning the learning rate, if the start is scaled
# along. What does alpha do if the start is left alone, as everybody leaves it?
#
# **Predict.** You multiply alpha by 4. Which learning rates do you have to change to get the old
# training back: both, only that of A, or only that of B?

# %% depends on the seed
c = 4


def other_alpha(times, by_A, by_B):
    return learn(task, A, B, times * s, by_A * rate, by_B * rate, adam, count)


print("4 alpha                     ", verdict(other_alpha(c, 1, 1), plain))
print("4 alpha, both rates over 4  ", verdict(other_alpha(c, 1 / c, 1 / c), plain))
print("4 alpha, lr_A over 4        ", verdict(other_alpha(c, 1 / c, 1), plain))
print("4 alpha, lr_B over 4        ", verdict(other_alpha(c, 1, 1 / c), plain))

# %% [markdown]
# Put p = 1 and q = 1/4 into the rule above. A stays, and B = 0 stays too, because q times zero is
# zero. So alpha is a learning rate, but that of B alone. To divide both rates by 4, as the advice
# "alpha is a learning rate" says, ends further off here than to change nothing: A now moves four
# times too slowly.
#
# **LoRA+** (Hayou et al., 2024) gives B a larger learning rate than A, for example 16 times as
# large.
#
# **Predict.** How could you get the training of LoRA+ from plain LoRA, with one learning rate for
# both?

# %% depends on the seed
ratio = 16
plus = other_alpha(1, 1, ratio)
print(f"LoRA+ with a ratio of {ratio}, and plain LoRA with {ratio} alpha:")
print(verdict(other_alpha(ratio, 1, 1), plus))

# %% [markdown]
# From B = 0, with Adam, without decay and clipping, and with a negligible epsilon, the ratio of
# LoRA+ is nothing but a larger alpha. Both say the same: B may move faster than A. Hayou et al. ask
# how much faster, and argue that the best ratio grows with the width of the layer.
#
# ### The same in PEFT
#
# Not run here; `model` is your own. `use_rslora` divides alpha by sqrt(r), and the last statement
# makes the optimiser of LoRA+. Both speed up B: together, here, as 4 times 16 times the alpha
# would.
#
# ```python
# import torch
# from peft import LoraConfig, get_peft_model
# from peft.optimizers import create_loraplus_optimizer
#
# config = LoraConfig(r=16, lora_alpha=16, use_rslora=True, target_modules=["q_proj", "v_proj"])
# model = get_peft_model(model, config)
# optimizer = create_loraplus_optimizer(
#     model, optimizer_cls=torch.optim.AdamW, lr=1e-4, loraplus_lr_ratio=16
# )
# ```
#
# > **Remember.** From B = 0 with Adam, without clipping or weight decay and with a negligible
# > epsilon, c times the alpha is c times the learning rate of B, and nothing else.
# >
# > B 从零开始、用 Adam 且无裁剪、无权重衰减、epsilon 可忽略时，alpha 乘以 c 等于 B 的学习率乘以 c。

# %% [markdown]
# ## And with gradient descent?
#
# The step of plain gradient descent is as long as the gradient.
#
# **Predict.** The gradient of p A is 1/p of what it was, and p A has to move p times as far. By
# what has the learning rate of A to be multiplied?

# %% depends on the seed
slow = 0.01


def descent_twin(p, q, by_A, by_B):
    return learn(task, p * A, q * B, s / (p * q), by_A * slow, by_B * slow, descent, count)


once = descent_twin(1, 1, 1, 1)
print("rates times p and q      ", verdict(descent_twin(p, q, p, q), once))
print("rates times p^2 and q^2  ", verdict(descent_twin(p, q, p**2, q**2), once))
print("4 alpha, lr_B over 4     ", verdict(descent_twin(1, 1 / c, 1, 1 / c), once))
print("4 alpha, lr_B over 16    ", verdict(descent_twin(1, 1 / c, 1, 1 / c**2), once))

# %% [markdown]
# By p², and for B by q². So alpha weighs more with gradient descent than with Adam: c times the
# alpha is c² times the learning rate of B.
#
# > **Remember.** Gradient descent needs p² and q² where Adam needs p and q, because its steps
# > shrink with the gradients.
# >
# > 梯度下降需要 p 与 q 的平方，因为它的步长随梯度一起缩小。

# %% [markdown]
# ## Which learning rate, beside full training
#
# "LoRA needs about ten times the learning rate of full fine-tuning": you may have read such a rule.
# Here both are looked for on three draws of the task, with rates of which each is 1.4 times the one
# before.
#
# **Predict.** You find the best learning rate of LoRA with Adam, for alpha = r. By about what
# factor does it fall with alpha = 16 r?


# %% depends on the seed
def best_rates(train_with, grid):
    return grid[losses_by_rate(train_with, grid, few).argmin(axis=1)]


def full_with(rule, steps):
    def train_whole(here, lr, seed):
        update, memory = np.zeros_like(here[0]), (0, 0)
        for step in range(1, steps + 1):
            _, G = loss_and_G(update, here)
            move, memory = rule(G, memory, step, 1e-30)
            update = update - lr * move
        return update

    return train_whole


few, short, strong = 3, 20, 16
for rule, lowest, highest in ((adam, -7, -1), (descent, -9, 1)):
    grid = 2.0 ** np.arange(lowest, highest, 0.5)
    whole, found = best_rates(full_with(rule, short), grid), []
    print(f"{rule.__name__}: the best rate of full training is {np.round(whole, 3)} (three tasks)")
    for r, s_now in ((4, 1), (4, strong), (16, 1)):
        found.append(best_rates(lora_with(r, s_now, rule, short), grid))
        said = f"{np.round(found[-1] / whole, 2)} times that"
        print(f"  LoRA with r = {r}, alpha = {s_now * r}: {said}")
    print(f"  {strong} times the alpha, a rate over {np.round(found[0] / found[1], 1)}")

# %% [markdown]
# On this small task the best rate of LoRA is above that of full training in some lines, a little
# below it with Adam and far below it with descent in others. It depends on alpha, because alpha is
# hidden in the pace of B; on the optimiser; and somewhat on the rank. Yet 16 times the alpha does
# not make the best rate a sixteenth with Adam, nor a 256th with gradient descent, but about the
# root of that (the last line of each): one rate serves A and B, alpha speeds up B alone, and the
# best rate is a compromise. A factor such as ten is a report about certain models
# with a certain alpha. It is a place to begin a search.
#
# > **Remember.** How the best learning rate of LoRA compares with that of full training depends on
# > alpha, the optimiser and the task, so look for it.
# >
# > LoRA 的最佳学习率是全量训练的几倍，取决于 alpha、优化器和任务，所以要自己去找。

# %% [markdown]
# ## Exercises
#
# Replace the three dots, run the cell, and read what it says. `print(hint("scaling", 1))` gives a
# first hint, after `from lora_ref.exercises import hint`.
#
# ### `scaling`: two divisors

# %% exact
print(show("scaling"))


# %%
def scaling(alpha, r, rank_stabilized): ...


check("scaling", scaling)

# %% [markdown]
# ### `compensating-rates`: the same training from larger factors

# %% exact
print(show("compensating-rates"))


# %%
def compensating_rates(alpha, lr_A, lr_B, p, q, optimizer): ...


check("compensating-rates", compensating_rates)

# %% [markdown]
# ### `another-start`: somebody's training, in plain LoRA

# %% exact
print(show("another-start"))


# %%
def another_start(alpha, r, rank_stabilized, size, lr_A, lr_B, new_size): ...


check("another-start", another_start)

# %% [markdown]
# ### To think about
#
# 1. When would r times as many rows of A not give r times the fall of the loss? Think of rows of
#    which only a few meet G.
# 2. Gradient descent with momentum: does it follow the rule of Adam or that of gradient descent?
#    Change `descent` and see.

# %% [markdown]
# ## In practice
#
# - Whoever changes alpha, the divisor or the start size of A has changed a learning rate. Compare
#   two settings only after each has been tuned.
# - Write down the multiplier in front of B A, and not alpha alone: programs differ in what they
#   divide by ([notation](../docs/notation.md)). An adapter that was trained with alpha/sqrt(r) and
#   is loaded with alpha/r is too weak by sqrt(r), and the other way round too strong by as much; no
#   error says so ([question 14](../docs/questions.md)).

# %% [markdown]
# ## Further reading
#
# - E. Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", 2021, arXiv 2106.09685,
#   section 4.1.
# - D. Kalajdzievski, "A Rank Stabilization Scaling Factor for Fine-Tuning with LoRA", 2023, arXiv
#   2312.03732.
# - S. Hayou, N. Ghosh, B. Yu, "LoRA+: Efficient Low Rank Adaptation of Large Models", 2024, arXiv
#   2402.12354.
# - D. Kingma, J. Ba, "Adam: A Method for Stochastic Optimization", 2014, arXiv 1412.6980.
# - [Derivations](../docs/derivations.md), "The first step": mean and size, with the constants.
# - Next: [07 · Train a low-rank update](07-train-a-low-rank-update.ipynb).

"""Exercises of notebook 07: a step of training, and the best update of a linear task."""

from collections.abc import Callable

import numpy as np

from lora_ref.checks import Array
from lora_ref.errors import LoraRefError
from lora_ref.exercises.comparison import as_array, type_name
from lora_ref.exercises.exercise import LOOPS, Answer, Arguments, Exercise, WrongAnswer
from lora_ref.exercises.random_inputs import layer_arguments, sizes
from lora_ref.exercises.scalings import BASIC, wrong_scalings
from lora_ref.lowrank import best_update, truncate


def _step(
    grad_y: Array, x: Array, A: Array, B: Array, alpha: float, lr: float
) -> tuple[Array, Array]:
    r = len(A)
    new_A, new_B = A.copy(), B.copy()
    for i in range(len(x)):
        for o in range(len(B)):
            for k in range(r):
                for j in range(A.shape[1]):
                    scaled = lr * alpha / r * grad_y[i, o]
                    new_A[k, j] -= scaled * B[o, k] * x[i, j]
                    new_B[o, k] -= scaled * A[k, j] * x[i, j]
    return new_A, new_B


def _A_first(grad_y: Array, x: Array, A: Array, B: Array, *others: float) -> tuple[Array, Array]:
    new_A, _ = _step(grad_y, x, A, B, *others)
    return new_A, _step(grad_y, x, new_A, B, *others)[1]


def _B_first(grad_y: Array, x: Array, A: Array, B: Array, *others: float) -> tuple[Array, Array]:
    _, new_B = _step(grad_y, x, A, B, *others)
    return _step(grad_y, x, A, new_B, *others)[0], new_B


def _unscaled(
    grad_y: Array, x: Array, A: Array, B: Array, alpha: float, lr: float
) -> tuple[Array, Array]:
    return _step(grad_y, x, A, B, float(len(A)), lr)


def _gradients(
    grad_y: Array, x: Array, A: Array, B: Array, alpha: float, lr: float
) -> tuple[Array, Array]:
    s = alpha / len(A)
    return s * (grad_y @ B).T @ x, s * grad_y.T @ (x @ A.T)


def _changes(
    grad_y: Array, x: Array, A: Array, B: Array, alpha: float, lr: float
) -> tuple[Array, Array]:
    new_A, new_B = _step(grad_y, x, A, B, alpha, lr)
    return new_A - A, new_B - B


def _steps_along(
    change: Callable[[Array], Array],
    grad_y: Array, x: Array, A: Array, B: Array, alpha: float, lr: float,
) -> tuple[Array, Array]:  # fmt: skip
    grad_A, grad_B = _gradients(grad_y, x, A, B, alpha, lr)
    return A - lr * change(grad_A), B - lr * change(grad_B)


STEP = Exercise(
    "07",
    "one step of gradient descent",
    "Rows x (n, in_features) have gone through x W0^T + (alpha/r) (x A^T) B^T, and grad_y\n"
    "(n, out_features) came back. Return A and B after one step of plain gradient descent with\n"
    "learning rate lr, as `return A, B`: new arrays, both moved by the gradients at the old A, B.",
    _step,
    layer_arguments("grad_y", "x", "A", "B", "alpha", "lr"),
    {
        "A-moved-first": WrongAnswer(
            "B is moved by a gradient at the new A. Compute both gradients before either moves.",
            _A_first,
        ),
        "B-moved-first": WrongAnswer(
            "A is moved by a gradient at the new B. Compute both gradients before either moves.",
            _B_first,
        ),
        "not-moved": WrongAnswer(
            "A and B are returned unchanged.", lambda grad_y, x, A, B, alpha, lr: (A, B)
        ),
        "lr-forgotten": WrongAnswer(
            "the gradients are subtracted whole; lr is missing.",
            lambda grad_y, x, A, B, alpha, lr: _step(grad_y, x, A, B, alpha, 1.0),
        ),
        **wrong_scalings(_step, "in the gradients", *BASIC),
        "scaling-on-A-alone": WrongAnswer(
            "alpha/r is missing in the gradient of B; both gradients have it.",
            lambda *arguments: (_step(*arguments)[0], _unscaled(*arguments)[1]),
        ),
        "scaling-on-B-alone": WrongAnswer(
            "alpha/r is missing in the gradient of A; both gradients have it.",
            lambda *arguments: (_unscaled(*arguments)[0], _step(*arguments)[1]),
        ),
        "moves-returned": WrongAnswer(
            "these are the changes, -lr times the gradients; expected A and B after them.",
            _changes,
        ),
        "uphill": WrongAnswer(
            "both factors go uphill: a step is against the gradient.",
            lambda grad_y, x, A, B, alpha, lr: _step(grad_y, x, A, B, alpha, -lr),
        ),
        "A-stands-still": WrongAnswer(
            "only B moves.",
            lambda grad_y, x, A, B, alpha, lr: (A, _step(grad_y, x, A, B, alpha, lr)[1]),
        ),
        "B-stands-still": WrongAnswer(
            "only A moves.",
            lambda grad_y, x, A, B, alpha, lr: (_step(grad_y, x, A, B, alpha, lr)[0], B),
        ),
        "gradients-returned": WrongAnswer(
            "these are the gradients; expected A and B after the step.", _gradients
        ),
        "mean-over-rows": WrongAnswer(
            "the gradients are divided by the number of rows. grad_y has that factor already, if "
            "the loss is a mean.",
            lambda grad_y, x, A, B, alpha, lr: _step(grad_y / len(x), x, A, B, alpha, lr),
        ),
        "order": WrongAnswer(
            "this returns B, A; expected A, B.", lambda *arguments: _step(*arguments)[::-1]
        ),
        "A-uphill": WrongAnswer(
            "A goes uphill, and B does not: a step is against the gradient.",
            lambda g, x, A, B, alpha, lr: (
                _step(g, x, A, B, alpha, -lr)[0],
                _step(g, x, A, B, alpha, lr)[1],
            ),
        ),
        "B-uphill": WrongAnswer(
            "B goes uphill, and A does not: a step is against the gradient.",
            lambda g, x, A, B, alpha, lr: (
                _step(g, x, A, B, alpha, lr)[0],
                _step(g, x, A, B, alpha, -lr)[1],
            ),
        ),
        "sign-of-the-gradient": WrongAnswer(
            "every entry moves by lr: only the sign of the gradient is used, as in a first step of "
            "Adam.",
            lambda *arguments: _steps_along(np.sign, *arguments),
        ),
        "gradients-normed": WrongAnswer(
            "the gradients are divided by their norms, so that the length of a step is lr.",
            lambda *arguments: _steps_along(lambda grad: grad / np.linalg.norm(grad), *arguments),
        ),
    },
    batched=True,
    values=("A", "B"),
    question=(
        "two trainings start from B = 0. One computes both gradients at the old A and B. The other "
        "moves A first, and B by a gradient at the new A. At which step do the two results first "
        "differ?"
    ),
    hints=(
        "Notebook 04 has both gradients, here without a mask. Does the gradient of A contain A?",
        "Neither gradient may see what the step has changed: compute both before you subtract.",
        "Four lines: the scaling, the gradient of A, that of B, and a return of two differences. A "
        "new array comes from A - ..., not from A -= ...",
    ),
    folded=True,
    without=LOOPS,
)


def _draw_rows(rng: np.random.Generator, n: int, in_features: int) -> Array:
    """Return more rows than inputs; inputs are not equally loud, some go together, none is 0."""
    mixed = np.eye(in_features) + 0.3 * rng.standard_normal((in_features, in_features))
    loudness = rng.permutation(np.geomspace(3, 1 / 3, in_features))
    x: Array = 0.2 + rng.standard_normal((18 + n, in_features)) @ mixed * loudness
    return x


def _whitening(x: Array) -> Array:
    n, in_features = x.shape
    S = np.zeros((in_features, in_features))
    for i in range(n):
        for j in range(in_features):
            for other in range(in_features):
                S[j, other] += x[i, j] * x[i, other] / n
    C = np.zeros_like(S)
    for j in range(in_features):  # row by row, each entry from those before it
        for other in range(j + 1):
            rest = S[j, other]
            for before in range(other):
                rest -= C[j, before] * C[other, before]
            C[j, other] = rest**0.5 if j == other else rest / C[other, other]
    return C


def _draw_whitening(rng: np.random.Generator, n: int) -> Arguments:
    return {"x": _draw_rows(rng, n, sizes(rng)[1])}


def _square(C: object) -> Array:
    """Return C C^T: every square C with the right one is a right answer."""
    if type(C) is not np.ndarray or C.ndim != 2 or C.shape[0] != C.shape[1]:
        shape = f" of shape {C.shape}" if isinstance(C, np.ndarray) else ""
        raise LoraRefError(f"it returns {type_name(C)}{shape}, expected a square matrix")
    if C.dtype.kind != "f":
        raise LoraRefError(f"C has dtype {C.dtype}, expected floating-point numbers")
    if not np.isfinite(C).all():
        raise LoraRefError(
            "C has entries that are no numbers. Is it the root of something negative? That of a "
            "matrix is not the root of its entries"
        )
    square: Array = C @ C.T
    return square


def _root(S: Array, power: float = 0.5) -> Array:
    values, V = np.linalg.eigh(S)
    root: Array = V * values**power @ V.T
    return root


def _svd(x: Array) -> tuple[Array, Array, Array]:
    U, sigma, Vh = np.linalg.svd(x, full_matrices=False)
    return U, sigma, Vh


def _mean_square(x: Array) -> Array:
    return x.T @ x / len(x)


WHITENING = Exercise(
    "07",
    "how loud the inputs are in every direction",
    "The rows of x (n, in_features) are inputs, n above in_features. Return a square matrix C\n"
    "(in_features, in_features) for which norm(x @ M.T)**2 / n = norm(M @ C)**2, whatever the\n"
    "update M (out_features, in_features) is. Several are right; numpy.linalg is welcome.",
    _whitening,
    _draw_whitening,
    {
        "root-forgotten": WrongAnswer(
            "this is C C^T, the mean of the squares and products of the inputs. Its root is asked "
            "for.",
            _mean_square,
        ),
        "sum-for-mean": WrongAnswer(
            "the squares are added up over the rows; n is missing.",
            lambda x: _root(x.T @ x),
        ),
        "n-not-in-the-root": WrongAnswer(
            "the root is divided by n, so that C C^T is divided by its square.",
            lambda x: _root(x.T @ x) / len(x),
        ),
        "inverse": WrongAnswer(
            "this is the inverse of C. It makes the rows white, x @ inverse; an update M is "
            "multiplied by C.",
            lambda x: _root(_mean_square(x), -0.5),
        ),
        "wrong-side": WrongAnswer(
            "this is C^T, right only if it stood on the other side. Which side of M does C stand "
            "on?",
            lambda x: np.linalg.cholesky(_mean_square(x)).T,
        ),
        "wrong-side-of-the-SVD": WrongAnswer(
            "the singular values of x multiply the rows of Vh, so that C^T C is right. Which side "
            "of M does C stand on?",
            lambda x: np.diag(_svd(x)[1] / len(x) ** 0.5) @ _svd(x)[2],
        ),
        "wrong-side-of-the-QR": WrongAnswer(
            "the triangle of a QR decomposition has the right square on its other side, C^T C. "
            "Which side of M does C stand on?",
            lambda x: np.linalg.qr(x)[1] / len(x) ** 0.5,
        ),
        "spreads": WrongAnswer(
            "each input counts alone here, and by its standard deviation, without its mean. The "
            "loss sees the mean, and which inputs are loud together.",
            lambda x: np.diag(x.std(axis=0)),
        ),
        "values-forgotten": WrongAnswer(
            "the directions are there, and not how loud the inputs are in them: C C^T is the "
            "identity.",
            lambda x: _svd(x)[2].T,
        ),
        "centred": WrongAnswer(
            "the mean of the rows is subtracted. The loss does not do that: a constant input costs "
            "too.",
            lambda x: _root(np.cov(x.T, bias=True)),
        ),
        "centred-n-less-1": WrongAnswer(
            "this is the root of the covariance as statistics estimates it: the mean is "
            "subtracted, and n - 1 stands for n. The loss does neither.",
            lambda x: _root(np.cov(x.T)),
        ),
        "one-by-one": WrongAnswer(
            "each input counts alone here; that some inputs are loud together is missing.",
            lambda x: np.diag(np.sqrt(np.mean(x**2, axis=0))),
        ),
        "inverse-of-a-triangle": WrongAnswer(
            "this is the inverse of C. It makes the rows white; an update M is multiplied by C.",
            lambda x: np.linalg.inv(np.linalg.cholesky(_mean_square(x))),
        ),
        "root-of-the-entries": WrongAnswer(
            "the root is taken of each entry. A root of the matrix is meant: a C whose product "
            "with its transpose is the matrix.",
            lambda x: np.sqrt(np.abs(_mean_square(x))),
        ),
        "eigenvalues-alone": WrongAnswer(
            "the eigenvalues are there, and their directions are not. An eigenvector is a column "
            "of V, and each column is as long as it is loud.",
            lambda x: np.diag(np.sqrt(np.linalg.eigvalsh(_mean_square(x)))),
        ),
        "eigenvectors-transposed": WrongAnswer(
            "V is transposed here: its columns are the eigenvectors.",
            lambda x: np.sqrt((found := np.linalg.eigh(_mean_square(x)))[0]) * found[1].T,
        ),
        "rows-by-rows": WrongAnswer(
            "x @ x.T has an entry for each pair of rows. M meets the inputs: which product has one "
            "for each pair of inputs?",
            lambda x: np.linalg.cholesky(x @ x.T / len(x)),
        ),
    },
    canonical=_square,
    canonical_name="C C^T",
    batch_sizes=(3, 1, 4, 2, 5, 6),
    tolerance=1e-8,
    question=(
        "one input is a hundred times as loud as another. An update is wrong by the same amount in "
        "both. Which of the two errors does the loss see?"
    ),
    hints=(
        "Write norm(x @ M.T)**2 as the trace of a product, and look at what stands between M and "
        "its transpose.",
        "What stands there is symmetric, and its eigenvalues are not negative. Such a matrix is "
        "some C times its own transpose.",
        "Two lines: the matrix that stands between, divided by n, and a root of it: by eigenvalues "
        "(numpy.linalg.eigh) or by Cholesky (numpy.linalg.cholesky).",
    ),
    folded=True,
)


def _best_update(x: Array, y: Array, W0: Array, r: int) -> Array:
    left = y - x @ W0.T
    fit = np.linalg.pinv(x)  # fit @ h is the a for which x @ a is nearest to h
    update = np.zeros_like(W0)
    for _ in range(r):  # one term of rank 1 after another, the strongest first
        b = left[np.argmax(np.linalg.norm(left, axis=1))]
        for _ in range(200):
            a = fit @ (left @ b) / (b @ b)  # the best a for this b
            h = x @ a
            b = left.T @ h / (h @ h)  # the best b for this a
        for o in range(len(b)):
            for j in range(len(a)):
                update[o, j] += b[o] * a[j]
        left = left - np.outer(h, b)
    return update


def _draw_best_update(rng: np.random.Generator, n: int) -> Arguments:
    """Draw a task whose directions, as x sees them, are far apart; a part no update reaches."""
    out_features, in_features, r = sizes(rng)
    x = _draw_rows(rng, n, in_features)
    W0 = rng.standard_normal((out_features, in_features))
    small = min(out_features, in_features)
    inside, outside = np.split(np.linalg.qr(np.hstack([x, rng.standard_normal((len(x), 4))]))[0],
                               [in_features], axis=1)  # fmt: skip
    U = inside @ np.linalg.qr(rng.standard_normal((in_features, small)))[0]
    V = np.linalg.qr(rng.standard_normal((out_features, small)))[0]
    task = U * (6 * 0.55 ** np.arange(small)) @ V.T
    noise = outside @ rng.standard_normal((4, out_features)) / 5
    return {"x": x, "y": x @ W0.T + task + noise, "W0": W0, "r": r}


def _full(x: Array, y: Array, W0: Array) -> Array:
    update: Array = np.linalg.lstsq(x, y - x @ W0.T, rcond=None)[0].T
    return update


def _triangle(x: Array) -> Array:
    return np.linalg.cholesky(_mean_square(x))


def _directions(M: Array, r: int) -> Array:
    U, _, Vh = _svd(M)
    directions: Array = U[:, :r] @ Vh[:r]
    return directions


def _whitened(change: Answer) -> Answer:
    """Return the answer that cuts the full update times a matrix, made from x, and divides again.

    The loss is measured as it should be where that matrix is the root of the mean square of x.
    """

    def answer(x: Array, y: Array, W0: Array, r: int) -> Array:
        C = change(x)
        return truncate(_full(x, y, W0) @ C, r) @ np.linalg.inv(C)

    return answer


def _onto_what_is_left(x: Array, y: Array, W0: Array, r: int) -> Array:
    _, _, Vh = _svd(y - x @ W0.T)
    update: Array = Vh[:r].T @ Vh[:r] @ _full(x, y, W0)
    return update


def _product_or_update(answer: object) -> object:
    """Return B A of an answer A, B, and any other answer as it is."""
    if not isinstance(answer, tuple | list):
        return answer
    factors = [as_array(one) for one in answer]
    if len(factors) != 2 or not all(type(one) is np.ndarray and one.ndim == 2 for one in factors):
        raise LoraRefError(
            f"it returns {type_name(answer)}, expected one matrix, or two: return A, B"
        )
    A, B = factors
    if B.shape[1] != A.shape[0]:
        raise LoraRefError(
            f"A has shape {A.shape} and B {B.shape}, expected (r, in_features) and "
            "(out_features, r)"
        )
    return B @ A


BEST_UPDATE = Exercise(
    "07",
    "the best update of rank r",
    "A layer with the frozen W0 (out_features, in_features) should give y (n, out_features) for\n"
    "the rows x (n, in_features), n above in_features. Return the update M of rank at most r,\n"
    "shaped like W0, for which norm(x @ (W0 + M).T - y) is least; or its factors, as\n"
    "`return A, B`. numpy.linalg is welcome.",
    _best_update,
    _draw_best_update,
    {
        "cut": WrongAnswer(
            "this is the full update, cut to rank r. No matrix of rank r is nearer to it, but the "
            "loss does not measure that distance: it weighs an error by the inputs.",
            lambda x, y, W0, r: truncate(_full(x, y, W0), r),
        ),
        "full": WrongAnswer(
            "this is the full update; its rank is above r.",
            lambda x, y, W0, r: _full(x, y, W0),
        ),
        "W0-left-out": WrongAnswer(
            "this is the best weight of rank r, as if W0 were zero. W0 has done a part already: "
            "what is left?",
            lambda x, y, W0, r: _product_or_update(best_update(x, y, np.zeros_like(W0), r)),
        ),
        "weight-returned": WrongAnswer(
            "this is W0 plus the update; the update alone is asked for.",
            lambda x, y, W0, r: W0 + _product_or_update(best_update(x, y, W0, r)),
        ),
        "weight-cut": WrongAnswer(
            "the full weight W0 + M is cut to rank r here, and W0 subtracted. It is the update "
            "that has rank r.",
            lambda x, y, W0, r: truncate(W0 + _full(x, y, W0), r) - W0,
        ),
        "still-whitened": WrongAnswer(
            "the cut is made in the right place, of M @ C, and that is what you return. M is asked "
            "for.",
            lambda x, y, W0, r: truncate(_full(x, y, W0) @ _root(_mean_square(x)), r),
        ),
        "whitened-twice": WrongAnswer(
            "the cut of M @ C is multiplied by C once more; C has to be undone.",
            lambda x, y, W0, r: (
                truncate(_full(x, y, W0) @ _root(_mean_square(x)), r) @ _root(_mean_square(x))
            ),
        ),
        "inverse-first": WrongAnswer(
            "the full update is multiplied by the inverse of C before the cut, and by C after it. "
            "Loud inputs count least in that way.",
            _whitened(lambda x: _root(_mean_square(x), -0.5)),
        ),
        "squared-weights": WrongAnswer(
            "the update is multiplied by C C^T before the cut, not by C: its root is missing.",
            _whitened(_mean_square),
        ),
        "one-by-one": WrongAnswer(
            "each input is weighed alone, by its own loudness. Inputs that are loud together count "
            "together.",
            _whitened(lambda x: np.diag(np.sqrt(np.mean(x**2, axis=0)))),
        ),
        "centred": WrongAnswer(
            "the weights come from the covariance, in which the mean of the rows is subtracted. "
            "The loss does not do that.",
            _whitened(lambda x: _root(np.cov(x.T))),
        ),
        "wrong-side": WrongAnswer(
            "the update is multiplied by C^T, where C is a Cholesky factor: it matters on which "
            "side of M it stands.",
            _whitened(lambda x: np.linalg.cholesky(_mean_square(x)).T),
        ),
        "noise-included": WrongAnswer(
            "the directions are those of y - x @ W0.T, with the part that no update reaches. Take "
            "those of what the full update gives.",
            _onto_what_is_left,
        ),
        "one-too-few": WrongAnswer(
            "this is the best update of rank r - 1.",
            lambda x, y, W0, r: _product_or_update(best_update(x, y, W0, r - 1)),
        ),
        "one-too-many": WrongAnswer(
            "this is the best update of rank r + 1.",
            lambda x, y, W0, r: _product_or_update(best_update(x, y, W0, r + 1)),
        ),
        "still-whitened-by-a-triangle": WrongAnswer(
            "the cut is made in the right place, of M @ C, and that is what you return. M is asked "
            "for.",
            lambda x, y, W0, r: truncate(_full(x, y, W0) @ _triangle(x), r),
        ),
        "inverse-first-by-a-triangle": WrongAnswer(
            "the full update is multiplied by the inverse of C before the cut, and by C after it. "
            "Loud inputs count least in that way.",
            _whitened(lambda x: np.linalg.inv(_triangle(x))),
        ),
        "cut-before-C": WrongAnswer(
            "the full update is cut before C comes in; the cut has to see C.",
            lambda x, y, W0, r: truncate(_full(x, y, W0), r) @ _triangle(x),
        ),
        "loudest-of-x": WrongAnswer(
            "only the r loudest directions of x are used; what y needs may lie elsewhere.",
            lambda x, y, W0, r: (
                np.linalg.lstsq(x @ _svd(x)[2][:r].T, y - x @ W0.T, rcond=None)[0].T
                @ _svd(x)[2][:r]
            ),
        ),
        "W0-subtracted-late": WrongAnswer(
            "this is the best weight of rank r, less W0: the rank of that is above r.",
            lambda x, y, W0, r: _product_or_update(best_update(x, y, np.zeros_like(W0), r)) - W0,
        ),
        "values-forgotten": WrongAnswer(
            "the directions are right, and the singular values between them are missing.",
            lambda x, y, W0, r: (
                _directions(_full(x, y, W0) @ _triangle(x), r) @ np.linalg.inv(_triangle(x))
            ),
        ),
    },
    canonical=_product_or_update,
    canonical_name="the update",
    batch_sizes=(3, 1, 4, 2, 5, 6),
    tolerance=1e-7,
    question=(
        "let r be the smaller side of W0, so that it forbids nothing. Which update is the best "
        "then, and does it depend on how loud the inputs are?"
    ),
    hints=(
        "What W0 leaves over is y - x @ W0.T. Least squares fits it with a full update F. The rest "
        "of the work is to give up as little as possible.",
        "The loss above that of F is what the inputs see of M - F. Which product with the C of the "
        "exercise whitening makes of it an ordinary norm? What has to be near to what, then?",
        "Four lines: F, C, a truncated SVD of one product, and one more product that undoes C. Or "
        "without C: an SVD of x, and one of what is left over as the columns of U see it.",
    ),
)


def _other_rows(x: Array, others: Array, F: Array, r: int) -> tuple[float, float]:
    def extra_loss(M: Array) -> float:
        total = 0.0
        for i in range(len(x)):
            for o in range(len(F)):
                miss = 0.0
                for j in range(x.shape[1]):
                    miss += (M[o, j] - F[o, j]) * x[i, j]
                total += miss * miss / (len(x) * len(F))
        return total

    def strongest_terms(rows: Array) -> Array:  # of F, as these rows see it
        M = np.zeros_like(F)
        for _ in range(r):
            left = F - M
            a = left[np.argmax(np.linalg.norm(left, axis=1))]
            for _ in range(200):
                h = rows @ a
                b = left @ (h @ rows) / (h @ h)  # the best b for this a
                a = b @ left / (b @ b)  # the best a for this b
            M = M + np.outer(b, a)
        return M

    return extra_loss(strongest_terms(x)), extra_loss(strongest_terms(others))


def _draw_other_rows(rng: np.random.Generator, n: int) -> Arguments:
    """Draw an update with directions far apart as x sees it, and as the other rows do."""
    while True:
        arguments = _draw_best_update(rng, n)
        x, r = arguments["x"], arguments["r"]
        F = _full(x, arguments["y"], arguments["W0"])
        others = _draw_rows(rng, n + 5, x.shape[1])
        seen = np.linalg.svd(others @ F.T, compute_uv=False)
        if np.all(seen[1 : r + 1] < 0.93 * seen[:r]):  # the specification iterates
            return {"x": x, "others": others, "F": F, "r": r}


def _extra(x: Array, F: Array, M: Array) -> float:
    return float(np.mean((x @ (M - F).T) ** 2))


def _best(x: Array, F: Array, r: int) -> Array:
    A, B = best_update(x, x @ F.T, np.zeros_like(F), r)
    return B @ A


def _distance(F: Array, M: Array) -> float:
    return float(np.sum((M - F) ** 2))


def _two_updates(
    make: Callable[[Array, Array, int], Array],
    judge: Callable[[Array, Array, Array], float] = _extra,
) -> Answer:
    """Return the answer that makes an update from each of the two sets of rows, and judges both.

    Both are judged with x.
    """

    def answer(x: Array, others: Array, F: Array, r: int) -> tuple[float, float]:
        return judge(x, F, make(x, F, r)), judge(x, F, make(others, F, r))

    return answer


def _with_cut_of(change: Callable[[Array], Array]) -> Answer:
    """Return the answer whose updates are F times a matrix, cut, and divided by it again."""
    return _two_updates(lambda rows, F, r: truncate(F @ (C := change(rows)), r) @ np.linalg.inv(C))


def _undone_with_x(C: Callable[[Array], Array]) -> Answer:
    """Return the answer whose second update meets the C of the others, and the inverse of x's."""

    def answer(x: Array, others: Array, F: Array, r: int) -> tuple[float, float]:
        mixed = truncate(F @ C(others), r) @ np.linalg.inv(C(x))
        return _extra(x, F, _best(x, F, r)), _extra(x, F, mixed)

    return answer


OTHER_ROWS = Exercise(
    "07",
    "trained, and cut with the rows of another text",
    "F (out_features, in_features) is the full update of least squares for the rows x\n"
    "(n, in_features), and others (m, in_features) are rows from elsewhere. An update M has the\n"
    "loss of F on x plus the extra loss numpy.mean((x @ (M - F).T)**2). Take two\n"
    "updates of rank r: that with the least extra loss on x, which training finds, and that with\n"
    "the least extra loss on others, which is F cut after whitening with these. Return the extra\n"
    "losses of both on x, as `return own, other`. numpy.linalg is welcome.",
    _other_rows,
    _draw_other_rows,
    {
        "judged-by-the-others": WrongAnswer(
            "the second update is judged on the rows that whitened it. Both have to serve x.",
            lambda x, others, F, r: (
                _extra(x, F, _best(x, F, r)),
                _extra(others, F, _best(others, F, r)),
            ),
        ),
        "all-rows-together": WrongAnswer(
            "the second update is whitened with the rows of both sets. Only the others are meant.",
            lambda x, others, F, r: (
                _extra(x, F, _best(x, F, r)),
                _extra(x, F, _best(np.vstack([x, others]), F, r)),
            ),
        ),
        "undone-with-x": WrongAnswer(
            "the second update is multiplied by the C of the others before the cut, and by the "
            "inverse of the C of x after it. The inverse has to undo what was done.",
            _undone_with_x(_triangle),
        ),
        "undone-with-x-by-the-SVD": WrongAnswer(
            "the second update is multiplied by the C of the others before the cut, and by the "
            "inverse of the C of x after it. The inverse has to undo what was done.",
            _undone_with_x(lambda rows: _svd(rows)[2].T * _svd(rows)[1] / len(rows) ** 0.5),
        ),
        "not-whitened": WrongAnswer(
            "the second is the loss of F cut as it is; others are not used.",
            lambda x, others, F, r: (
                _extra(x, F, _best(x, F, r)),
                _extra(x, F, truncate(F, r)),
            ),
        ),
        "cut-twice": WrongAnswer(
            "both are the loss of F cut as it is, without rows. That is the nearest to F, and not "
            "what is asked for.",
            _two_updates(lambda rows, F, r: truncate(F, r)),
        ),
        "own-twice": WrongAnswer(
            "both updates are whitened with x.",
            lambda x, others, F, r: (_extra(x, F, _best(x, F, r)),) * 2,
        ),
        "other-twice": WrongAnswer(
            "both updates are whitened with the others.",
            lambda x, others, F, r: (_extra(x, F, _best(others, F, r)),) * 2,
        ),
        "distances": WrongAnswer(
            "these are squared distances from F, without x.",
            _two_updates(_best, lambda x, F, M: _distance(F, M)),
        ),
        "mean-distances": WrongAnswer(
            "x is missing where the updates are judged: these are mean squares of M - F.",
            _two_updates(_best, lambda x, F, M: _distance(F, M) / F.size),
        ),
        "own-without-loss": WrongAnswer(
            "an update of rank r does not reach F: the first loss is not 0.",
            lambda x, others, F, r: (0.0, _extra(x, F, _best(others, F, r))),
        ),
        "gap": WrongAnswer(
            "the second is the difference of the two losses.",
            lambda x, others, F, r: (
                _extra(x, F, _best(x, F, r)),
                _extra(x, F, _best(others, F, r)) - _extra(x, F, _best(x, F, r)),
            ),
        ),
        "loudest-of-the-rows": WrongAnswer(
            "the updates are F on the r loudest directions of the rows; F has no say in them.",
            _two_updates(lambda rows, F, r: F @ _svd(rows)[2][:r].T @ _svd(rows)[2][:r]),
        ),
        "squared-weights": WrongAnswer(
            "F is multiplied by the second moment of the rows before the cuts, and not by a root "
            "of it.",
            _with_cut_of(_mean_square),
        ),
        "wrong-side": WrongAnswer(
            "F is multiplied by C^T, where C is a Cholesky factor: it matters on which side of M "
            "it stands.",
            _with_cut_of(lambda rows: _triangle(rows).T),
        ),
        "still-whitened": WrongAnswer(
            "F @ C is cut, and C is not undone before the losses are measured.",
            _two_updates(lambda rows, F, r: truncate(F @ _root(_mean_square(rows)), r)),
        ),
        "each-input-alone": WrongAnswer(
            "each input is weighed by its own loudness; that some inputs are loud together is "
            "missing, as in the exercise whitening.",
            _with_cut_of(lambda rows: np.diag(np.sqrt(np.mean(rows**2, axis=0)))),
        ),
        "still-whitened-by-a-triangle": WrongAnswer(
            "F @ C is cut, and C is not undone before the losses are measured.",
            _two_updates(lambda rows, F, r: truncate(F @ _triangle(rows), r)),
        ),
        "centred": WrongAnswer(
            "the mean of the rows is taken off, as by numpy.cov. The loss sees the rows as they "
            "are, and so should C.",
            _with_cut_of(lambda rows: _root(np.cov(rows.T))),
        ),
        "order": WrongAnswer(
            "this returns other, own; expected own, other.",
            lambda x, others, F, r: (
                _extra(x, F, _best(others, F, r)),
                _extra(x, F, _best(x, F, r)),
            ),
        ),
        "summed": WrongAnswer(
            "the squares are added up; the loss is their mean, over rows and outputs.",
            _two_updates(_best, lambda x, F, M: len(x) * len(F) * _extra(x, F, M)),
        ),
        "mean-over-rows-alone": WrongAnswer(
            "this is the mean over the rows; the outputs are added up. The loss is the mean over "
            "both.",
            _two_updates(_best, lambda x, F, M: len(F) * _extra(x, F, M)),
        ),
        "roots": WrongAnswer(
            "these are the roots of the losses.",
            _two_updates(_best, lambda x, F, M: _extra(x, F, M) ** 0.5),
        ),
        "norms": WrongAnswer(
            "these are norms; the loss is the mean of the squares.",
            _two_updates(_best, lambda x, F, M: float(np.linalg.norm(x @ (M - F).T))),
        ),
        "what-they-give": WrongAnswer(
            "these are the mean squares of what the updates give; M - F is meant, what they miss.",
            _two_updates(_best, lambda x, F, M: _extra(x, 0 * F, M)),
        ),
    },
    batch_sizes=(3, 1, 4, 2, 5, 6),
    tolerance=1e-7,
    values=("own", "other"),
    question=(
        "which of the two numbers can never be the larger? For which others are they equal, though "
        "no row of x is among them? And for which others is the second update just F, cut without "
        "whitening?"
    ),
    hints=(
        "Make the two updates first, and judge them afterwards. Which rows does each update need, "
        "and which rows does the judge need?",
        "For some rows, the best update of rank r is that of best-update, with x @ F.T for y and "
        "zeros for W0.",
        "Or without a C: what F gives for the rows, rows @ F.T, has strongest directions. What of "
        "F reaches the first r of them?",
    ),
)

ALL = (STEP, WHITENING, BEST_UPDATE, OTHER_ROWS)

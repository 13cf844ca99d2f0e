"""What notebook 03 answers to its open questions holds for its numbers."""

import re

import build
import numpy as np

W0 = np.array(
    [[0.8, 0.2, 0.3, 0.7], [0.4, 0.9, 0.1, 0.6], [0.3, 0.5, 0.7, 0.2], [0.6, 0.1, 0.8, 0.4]]
)
A = np.array([[0.1, 0.2, 0.3, 0.4], [0.5, 0.6, 0.7, 0.8]])
B = np.array([[0.1, 0.2], [0.3, 0.4], [0.5, 0.6], [0.7, 0.8]])


def cells():
    (path,) = build.SOURCES.glob("03-*.py")
    return [cell.text for cell in build.cells_of(path)]


def answered(name):
    (text,) = [cell for cell in cells() if "<summary>Answers</summary>" in cell]
    (value,) = re.findall(rf"`{name} = np.array\((.+?)\)`", text)
    return np.array(eval(value))


def test_these_are_the_numbers_of_the_notebook():
    names = {"np": np}
    (cell,) = [cell for cell in cells() if cell.startswith("W0 = ")]
    exec(cell.partition("alpha")[0], names)
    for name, ours in (("W0", W0), ("A", A), ("B", B)):
        np.testing.assert_array_equal(names[name], ours)


def test_other_factors_have_the_same_product_and_no_number_in_common():
    M = answered("M")
    other_B, other_A = B @ np.linalg.inv(M), M @ A
    np.testing.assert_allclose(other_B @ other_A, B @ A, atol=1e-12)
    assert np.all(np.abs(other_A - A) > 0.01)
    assert np.all(np.abs(other_B - B) > 0.01)


def test_the_update_does_not_see_the_answer_and_w0_does():
    x = answered("x")
    assert np.any(x)
    np.testing.assert_allclose(A @ x, 0, atol=1e-12)
    assert A.shape[1] - np.linalg.matrix_rank(A) == 2
    assert np.linalg.matrix_rank(W0) == 4


def test_the_inner_product_of_two_outer_products_is_what_the_notebook_writes():
    text = " ".join("\n".join(cells()).split())
    (long, short) = re.search(r"It is (pu .+?), and that is (\(.+?\) \(.+?\))\.", text).groups()
    values = dict(zip("pquvPQUV", np.random.default_rng(0).standard_normal(8), strict=True))

    def total(letters):
        terms = letters.replace(" ", "").split("+")
        return sum(np.prod([values[letter] for letter in term]) for term in terms)

    p, q, u, v, other_p, other_q, other_u, other_v = values.values()
    inner = np.vdot(np.outer([p, q], [u, v]), np.outer([other_p, other_q], [other_u, other_v]))
    np.testing.assert_allclose(total(long), inner)
    one, other = re.findall(r"\((.+?)\)", short)
    np.testing.assert_allclose(total(one) * total(other), inner)

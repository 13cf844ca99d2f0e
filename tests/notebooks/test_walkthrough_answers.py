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


def areas(B, A):
    """Return what the first two columns of B span, and the first two rows of A: an area each."""
    return [np.sqrt(np.linalg.det(pair @ pair.T)) for pair in (B.T[:2], A[:2])]


def test_the_two_largest_singular_values_have_the_product_of_the_two_areas():
    draws = np.random.default_rng(0)
    for d_out, d_in in ((4, 4), (7, 5), (2, 9)):
        pair = draws.standard_normal((d_out, 2)), draws.standard_normal((2, d_in))
        largest = np.linalg.svd(pair[0] @ pair[1])[1][:2]
        np.testing.assert_allclose(np.prod(largest), np.prod(areas(*pair)))
    assert np.linalg.matrix_rank(np.ones((4, 2)) @ np.eye(2, 4)) == 1


def test_the_sines_are_what_the_notebook_says_and_so_is_nearly_1():
    text = " ".join("\n".join(cells()).split())
    said = re.search(r"Both sines are small here, ([\d.]+) and ([\d.]+), and the first", text)
    lengths = [np.prod(np.linalg.norm(pair, axis=1)) for pair in (B.T, A)]
    sines = np.divide(areas(B, A), lengths)
    assert [f"{one:.3f}" for one in sines] == list(said.groups())
    first, second = np.linalg.svd(B @ A)[1][:2]
    assert second < 0.01 * first


def test_matrix_rank_counts_above_what_the_notebook_says():
    assert "the largest singular value x the larger side x 2⁻⁵²" in " ".join(
        "\n".join(cells()).split()
    )
    for rows, columns in ((4, 4), (3, 7)):
        for factor, rank in ((0.9, 1), (1.1, 2)):
            matrix = np.zeros((rows, columns))
            matrix[0, 0], matrix[1, 1] = 2, factor * 2 * max(rows, columns) * 2.0**-52
            assert np.linalg.matrix_rank(matrix) == rank


def test_the_cells_up_to_the_merge_follow_at_rank_1(capsys):
    (path,) = build.SOURCES.glob("03-*.py")
    names = {}
    for cell in build.cells_of(path):
        if cell.text.startswith("## Six lines"):
            break
        if cell.kind == "code":
            exec(cell.text, names)
        if cell.text.startswith("W0 = "):
            names["A"], names["B"] = names["A"][:1], names["B"][:, :1]
    said = capsys.readouterr().out
    assert "A (1, 4), B (4, 1), r = 1" in said
    assert "merge is the same: True" in said
    assert "False" not in said

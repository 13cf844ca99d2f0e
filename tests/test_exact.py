"""Matrices of fractions: nothing is rounded, and shapes that do not fit raise."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import seeds

from lora_ref.errors import ShapeError
from lora_ref.exact import added, floats, fractions_of, product, rank_and_determinant, root


@given(seeds, st.integers(1, 5), st.integers(1, 5), st.booleans())
@settings(max_examples=15, deadline=None)
def test_rank_and_determinant_are_those_of_the_matrix(seed, rows, columns, dependent):
    rng = np.random.default_rng(seed)
    whole = rng.integers(-3, 4, (rows, columns))
    if dependent and rows > 1:
        whole[-1] = whole[0] * 2
    fractions = np.array([[Fraction(int(v), 7) for v in row] for row in whole], dtype=object)
    rank, determinant = rank_and_determinant(fractions)
    assert rank == np.linalg.matrix_rank(whole.astype(float))
    if rows == columns:
        wanted = np.linalg.det(whole / 7.0)
        assert float(determinant) == pytest.approx(wanted, abs=1e-9)


def test_a_swap_of_rows_turns_the_sign_of_the_determinant():
    swap = fractions_of((("0", "1"), ("1", "0")))
    assert rank_and_determinant(swap) == (2, -1)


def test_a_rank_is_not_lost_where_floating_point_loses_it():
    near = fractions_of((("1", "1"), ("1", "1.00000000000000000001")))
    assert np.linalg.matrix_rank(floats(near)) == 1
    assert rank_and_determinant(near) == (2, Fraction(1, 10**20))


@given(st.integers(0, 10**12), st.integers(1, 10**12))
def test_a_root_squared_is_the_number(top, bottom):
    square = Fraction(top, bottom)
    found = root(square)
    assert 0 <= square - found**2 < Fraction(1, 10**50) * (1 + square)
    assert root(square**2) == square


def test_a_product_and_a_sum_of_shapes_that_do_not_fit_are_refused():
    wide, tall = fractions_of((("1", "2"),)), fractions_of((("3",), ("4",)))
    assert product(wide, tall, wide).tolist() == [[11, 22]]
    with pytest.raises(ShapeError, match="2 columns meet 1 rows"):
        product(wide, wide)
    with pytest.raises(ShapeError, match=r"no sum of shapes \(1, 2\) and \(2, 1\)"):
        added(wide, tall)  # NumPy would broadcast
    assert added(wide, wide).tolist() == [[2, 4]]

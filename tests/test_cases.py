"""Cases gathered in one test fail as if each were a test of its own, and all are named."""

import numpy as np
import pytest
from cases import each


def failing(test, **fixtures):
    with pytest.raises(BaseExceptionGroup) as caught:
        test(**fixtures)
    return caught.value


def test_every_case_is_run_and_every_failure_is_named_with_its_error():
    ran = []

    @each("n", [1, 2, 3, 4])
    def of_even_numbers(n):
        ran.append(n)
        if n == 1:
            pytest.skip("one is left out")
        if n == 3:
            with pytest.raises(ValueError, match="3"):
                int("3")
        assert n % 2 == 0, f"{n} is odd"

    found = failing(of_even_numbers)
    assert ran == [1, 2, 3, 4]
    assert "2 of 4 cases fail: 1; 3" in str(found)
    assert [str(e)[:13] for e in found.exceptions] == ["one is left o", "DID NOT RAISE"]
    assert [e.__notes__ for e in found.exceptions] == [["in case 1"], ["in case 3"]]


def test_cases_of_cases_are_all_run():
    ran = []

    @each("n", [1, 2])
    @each(("a", "b"), [(3, 4), (5, 6)])
    def never(a, b, n):
        ran.append((n, a, b))
        pytest.fail("never")

    assert len(failing(never).exceptions) == 2
    assert ran == [(1, 3, 4), (1, 5, 6), (2, 3, 4), (2, 5, 6)]


@each("n", [1, 2])
def test_each_case_draws_what_the_first_draws(n, rng):
    assert rng.random() == np.random.default_rng(20210617).random()


def test_a_test_without_cases_is_refused():
    with pytest.raises(AssertionError, match="over no case"):
        each("n", [])

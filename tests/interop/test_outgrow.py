"""The page on outgrowing NumPy: its commands run, and what they compare is rounding."""

import re

import outgrow_page
import pytest


@pytest.fixture(scope="module")
def page():
    return outgrow_page.as_page()


def test_outputs_gradients_and_a_distributed_step_differ_by_rounding(page):
    apart = re.findall(r"(?:apart|theirs) by ([\d.e+-]+)", page)
    assert len(apart) == 5
    assert max(map(float, apart)) < 1e-10


def test_the_loss_of_a_step_is_the_same_on_two_processes_and_on_one(page):
    *losses, further = re.findall(r"(?:loss here|step 1 of 1: loss) ([\d.]+)", page)
    assert len(losses) == 3
    assert len(set(losses)) == 1
    assert float(further) < float(losses[0])


def test_training_goes_on(page):
    first, last = re.findall(r"step (?:1|30) of 30: loss ([\d.]+)", page)
    assert float(last) < float(first) - 0.2

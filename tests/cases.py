"""One test over many cases: what pytest spends on a test is more than most cases cost."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest


def over(cases: Mapping[str, Any]) -> Callable[[Callable[[Any], None]], Callable[[], None]]:
    """Return a decorator that runs a test on every case, and then fails with each that failed.

    A test of its own for each case would cost a millisecond of pytest's, several times the case.
    """

    def decorate(test: Callable[[Any], None]) -> Callable[[], None]:
        def on_every_case() -> None:
            failed: dict[str, BaseException] = {}
            for name, case in cases.items():
                try:
                    test(case)
                except (Exception, pytest.fail.Exception) as error:
                    error.add_note(f"in case {name}")
                    failed[name] = error
            if failed:
                said = f"{len(failed)} of {len(cases)} cases fail: {', '.join(failed)}"
                raise BaseExceptionGroup(said, [*failed.values()])

        on_every_case.__doc__ = test.__doc__
        assert cases, "a test over no case would pass"
        return on_every_case

    return decorate

"""Every stored notebook opens and runs in a Jupyter kernel, and gives there what is stored.

`test_notebooks.py` runs the cells without Jupyter; these tests need the extra ``notebooks`` and are
run by ``make test-notebooks``.
"""

import build
import pytest

pytestmark = pytest.mark.jupyter


def told(outputs):
    """Return what outputs say, the pieces of a stream put together."""
    said = []
    for one in outputs:
        if one["output_type"] == "stream" and one["name"] == "stdout":
            if said and said[-1][0] == "stream":
                said[-1] = ("stream", said[-1][1] + one["text"])
            else:
                said.append(("stream", one["text"]))
        elif one["output_type"] != "stream":
            said.append((one["output_type"], one["data"]["text/plain"]))
    return said


@pytest.mark.filterwarnings("ignore")  # of Jupyter's own packages, about themselves
@pytest.mark.parametrize("source", build.sources(), ids=lambda path: path.stem)
def test_a_kernel_gives_what_is_stored(source):
    import nbformat
    from nbclient import NotebookClient

    stored = nbformat.read(build.built(source), as_version=4)
    nbformat.validate(stored)
    fresh = nbformat.from_dict({**stored, "cells": [{**cell} for cell in stored.cells]})
    NotebookClient(
        fresh,
        timeout=120,
        kernel_name="python3",
        resources={"metadata": {"path": str(build.HERE)}},
        record_timing=False,
    ).execute()
    for old, new in zip(stored.cells, fresh.cells, strict=True):
        before, now = told(old.get("outputs", [])), told(new.get("outputs", []))
        assert [kind for kind, _ in before] == [kind for kind, _ in now], old.source
        for (_, a), (_, b) in zip(before, now, strict=True):
            wrong = build.disagreement(a, b, build.mark_of(old.metadata.get("tags", ())))
            assert wrong is None, f"{old.source}\n{wrong}"
        kinds = {kind for one in new.get("outputs", []) for kind in one.get("data", {})}
        assert kinds == {kind for one in old.get("outputs", []) for kind in one.get("data", {})}

"""The golden files by the full validator of JSON Schema, and the page's code in JavaScript."""

import json
import re
import shutil
import subprocess

import golden
import pytest
from golden_cases import FILES

SCHEMA = json.loads((golden.FOLDER / "schema.json").read_text(encoding="utf-8"))


def test_the_files_keep_to_the_schema():
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    validator = jsonschema.Draft202012Validator(SCHEMA)
    for name in FILES:
        file = json.loads((golden.FOLDER / f"{name}.json").read_text(encoding="utf-8"))
        assert list(validator.iter_errors(file)) == []
        del file["cases"][-1]["catches"]
        assert list(validator.iter_errors(file))


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
def test_the_javascript_of_the_page_passes():
    page = (golden.FOLDER / "README.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```js\n(.*?)```", page, re.DOTALL)
    assert run(code) == ("lora y true\n", "")
    assert run(code.replace("alpha / A.length", "alpha")) == ("lora y false\n", "")


def run(code):
    """Return what node prints."""
    root, how = golden.FOLDER.parents[1], {"capture_output": True, "text": True, "timeout": 60}
    ran = subprocess.run(["node", "-e", code], cwd=root, **how)
    return ran.stdout, ran.stderr

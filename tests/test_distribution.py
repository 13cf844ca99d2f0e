"""What leaves this folder: the licences of what is in it, and a source that can be tested."""

import tomllib
from pathlib import Path

import lora_ref

ROOT = Path(lora_ref.__file__).parent.parent


def test_the_licence_names_each_file_of_data_that_others_made() -> None:
    licence = (ROOT / "LICENSE").read_text(encoding="utf-8")
    data = [path.relative_to(ROOT).as_posix() for path in ROOT.glob("lora_ref/**/*.npz")]
    assert data
    assert [name for name in data if name not in licence] == []
    source = (ROOT / "lora_ref/study/SOURCE.md").read_text(encoding="utf-8")
    doi = "doi.org/10.24432/C50P49"
    assert doi in licence
    assert doi in source


def test_a_source_distribution_has_every_folder_that_the_tests_read() -> None:
    lines = (ROOT / "MANIFEST.in").read_text(encoding="utf-8").splitlines()
    grafted = {line.removeprefix("graft ") for line in lines if line.startswith("graft ")}
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    pytest_reads = settings["tool"]["pytest"]
    paths = [*pytest_reads["testpaths"], *pytest_reads["pythonpath"], "docs"]
    assert grafted >= {path.split("/")[0] for path in paths} - {"lora_ref", "."}

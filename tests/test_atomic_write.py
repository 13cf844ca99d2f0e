"""A file is written whole or not at all."""

from pathlib import Path

import pytest

from lora_ref.atomic_write import write_whole
from lora_ref.errors import LoraRefError


@pytest.mark.parametrize(
    ("content", "found"), [("秩 r\n", "秩 r\n".encode()), (b"\x89PNG", b"\x89PNG")]
)
def test_a_new_content_takes_the_place_of_the_old_one(
    tmp_path: Path, content: str | bytes, found: bytes
) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"a longer old content")
    write_whole(path, content)
    assert path.read_bytes() == found
    assert list(tmp_path.iterdir()) == [path]


def test_where_nothing_can_be_written_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(LoraRefError, match="a cannot be written: "):
        write_whole(tmp_path / "none" / "a", "x")


def test_a_folder_is_not_replaced_and_no_draft_stays(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(LoraRefError, match="cannot be written"):
        write_whole(tmp_path / "a", "x")
    assert [p.name for p in tmp_path.iterdir()] == ["a"]

"""Links to lines of code."""

from __future__ import annotations

from pathlib import Path

import pytest

from tocsin_cli.code_links import with_lines

CODE = """
TABLE: dict[str, int] = {}


class Door:
    def open(self) -> None: ...


async def main() -> None: ...
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "a-b").mkdir()
    (tmp_path / "a-b" / "door.py").write_text(CODE)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "line"), [("TABLE", 2), ("Door", 5), ("Door.open", 6), ("main", 9)]
)
def test_a_link_leads_to_the_line_at_which_what_it_names_begins(
    root: Path, name: str, line: int
) -> None:
    text = f'[it](a-b/door.py#L1 "{name}") and [this](a-b/door.py#L1)'
    wanted = f'[it](a-b/door.py#L{line} "{name}") and [this](a-b/door.py#L1)'
    assert with_lines(text, root) == wanted
    assert with_lines(wanted, root) == wanted


def test_a_link_to_what_is_not_there_any_more_is_an_error(root: Path) -> None:
    with pytest.raises(LookupError, match=r"a-b/door\.py does not define close"):
        with_lines('[it](a-b/door.py#L1 "close")', root)

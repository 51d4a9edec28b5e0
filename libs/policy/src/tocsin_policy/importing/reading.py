"""A Markdown runbook as sections that hold tables, lists and code."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from markdown_it import MarkdownIt
from markdown_it.token import Token

_MARKS = re.compile(r"[*_`]+|[^\x00-\u2fff]")
_LINK = re.compile(r"\[([^\]]+)\]\([^)]*\)")


@dataclass(slots=True)
class Section:
    """What stands between a heading, or a bold line that acts as one, and the next.

    Attributes:
        above: Titles of the headings it stands under, outermost first.
        items: Lines of its lists, in order, inner ones too; `lines` are its paragraphs.
        tables: Rows of cells; the first row is the head.
        code: Its code blocks.
    """

    title: str
    depth: int
    above: tuple[str, ...] = ()
    items: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    tables: list[list[list[str]]] = field(default_factory=list)
    code: list[str] = field(default_factory=list)


def plain(text: str) -> str:
    """A line without marks, links and pictures."""
    return " ".join(_MARKS.sub("", _LINK.sub(r"\1", text)).split()).strip(" :")


def sections(text: str) -> list[Section]:
    """The sections of a runbook in order; what stands before the first heading has no title."""
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    return list(_sections(tokens))


def _sections(tokens: Sequence[Token]) -> Iterator[Section]:
    current = Section("", 0)
    titles: list[tuple[int, str]] = []
    in_list = 0
    for index, token in enumerate(tokens):
        match token.type:
            case "heading_open":
                yield current
                depth = int(token.tag[1:])
                titles = [one for one in titles if one[0] < depth]
                current = Section(
                    plain(tokens[index + 1].content), depth, tuple(name for _, name in titles)
                )
                titles.append((depth, current.title))
            case "bullet_list_open" | "ordered_list_open":
                in_list += 1
            case "bullet_list_close" | "ordered_list_close":
                in_list -= 1
            case "fence" | "code_block":
                current.code.append(token.content.strip())
            case "table_open":
                current.tables.append([])
            case "tr_open":
                current.tables[-1].append([])
            case "inline" if tokens[index - 1].type in {"th_open", "td_open"}:
                current.tables[-1][-1].append(plain(token.content))
            case "inline" if tokens[index - 1].type == "heading_open":
                pass
            case "inline":
                bold = re.fullmatch(r"\*\*([^*]+)\*\*:?", token.content.strip())
                if bold is not None and not in_list:
                    yield current
                    above = tuple(name for _, name in titles)
                    current = Section(plain(bold[1]), 7, above)
                else:
                    lines = [plain(line) for line in token.content.split("\n")]
                    (current.items if in_list else current.lines).extend(filter(None, lines))
    yield current

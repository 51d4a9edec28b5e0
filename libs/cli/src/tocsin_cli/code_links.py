"""Links to lines of code that stay true: a link names what it shows, and the line is found."""

from __future__ import annotations

import ast
import re
from functools import lru_cache
from pathlib import Path

_LINK = re.compile(r'\]\((?P<file>[\w./-]+\.py)#L\d+ "(?P<name>[\w.]+)"\)')


def with_lines(text: str, root: Path) -> str:
    """The text with the lines at which what its links name begins today.

    A link is written `[words](path/to/file.py#L1 "Class.method")`.

    Raises:
        LookupError: The file does not define it.
    """

    def today(link: re.Match[str]) -> str:
        file, name = link["file"], link["name"]
        line = _defined(root / file).get(name)
        if line is None:
            raise LookupError(f"{file} does not define {name}")
        return f']({file}#L{line} "{name}")'

    return _LINK.sub(today, text)


@lru_cache(maxsize=64)
def _defined(file: Path) -> dict[str, int]:
    found: dict[str, int] = {}
    _look(ast.parse(file.read_text(encoding="utf-8")).body, "", found)
    return found


def _look(body: list[ast.stmt], within: str, found: dict[str, int]) -> None:
    for one in body:
        match one:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                found[within + one.name] = one.lineno
            case ast.ClassDef():
                found[within + one.name] = one.lineno
                _look(one.body, f"{within}{one.name}.", found)
            case ast.AnnAssign(target=ast.Name(id=name)):
                found[within + name] = one.lineno

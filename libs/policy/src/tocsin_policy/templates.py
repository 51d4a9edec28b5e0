"""Templates: Jinja2 in an immutable sandbox, bounded in what it may build.

The sandbox alone is no limit on resources: `*`, `**`, `%` and the filters that pad or repeat can
build a gigabyte from a line, so they are not there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from jinja2 import StrictUndefined, Template, TemplateError, meta, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

MOST_TEXT = 20_000
"""Characters of a rendered text."""

MOST_LOOPS = 1_000
"""Turns of a template's loops together."""

_KEPT_FILTERS = frozenset(
    {
        "default",
        "d",
        "first",
        "join",
        "last",
        "length",
        "lower",
        "replace",
        "title",
        "trim",
        "upper",
    }
)
_REFUSED = (nodes.Mul, nodes.Pow, nodes.Mod, nodes.CallBlock, nodes.Macro, nodes.Include)


class TemplateFailed(ValueError):
    """A template does not compile or does not render."""


class _Environment(ImmutableSandboxedEnvironment):
    intercepted_binops = frozenset({"*", "**", "%", "+"})

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:  # noqa: ANN401, ARG002 - jinja's signature
        if operator == "+" and isinstance(left, int) and isinstance(right, int):
            return left + right
        raise TemplateFailed(f"templates have no operator {operator!r}; use ~ to join texts")


def _environment() -> _Environment:
    environment = _Environment(undefined=StrictUndefined, autoescape=False)
    for name in set(environment.filters) - _KEPT_FILTERS:
        del environment.filters[name]
    environment.globals.clear()
    return environment


_ENVIRONMENT = _environment()


@lru_cache(maxsize=2_000)
def _compiled(text: str) -> Template:
    try:
        tree = _ENVIRONMENT.parse(text)
        refused = next(tree.find_all(_REFUSED), None)
        if refused is not None:
            what = type(refused).__name__.lower()
            raise TemplateFailed(f"line {refused.lineno}: {what} is not for templates")
        return _ENVIRONMENT.from_string(text)
    except TemplateError as error:
        raise TemplateFailed(str(error)) from error


def check_text(text: str, variables: frozenset[str]) -> None:
    """Raise `TemplateFailed` if a template does not compile or uses an undeclared variable."""
    _compiled(text)
    unknown = meta.find_undeclared_variables(_ENVIRONMENT.parse(text)) - variables
    if unknown:
        raise TemplateFailed(f"unknown variable {min(unknown)!r}")


def render_text(text: str, variables: Mapping[str, Any]) -> str:
    """The text, cut to `MOST_TEXT`.

    Raises:
        TemplateFailed: It does not compile, or uses what is not there.
    """
    built: list[str] = []
    size = 0
    try:
        for chunk in _compiled(text).generate(**variables):
            built.append(chunk)
            size += len(chunk)
            if size > MOST_TEXT or len(built) > 10 * MOST_LOOPS:
                break
    except TemplateError as error:
        raise TemplateFailed(str(error)) from error
    return "".join(built)[:MOST_TEXT]


VARIABLES: Mapping[str, frozenset[str]] = {
    name: frozenset(
        {
            "incident",
            "system",
            "severity",
            "title",
            "service",
            "rule",
            "reason",
            "opened_at",
            "status",
            "level",
            "target",
            "also_told",
            "next_level",
            "alerts",
            "firing",
            "by",
            "text",
            "about",
            "status_page",
            "duration",
            "drill",
        }
    )
    for name in ("page", "acknowledged", "resolved", "update", "reminder", "approval")
}
"""Templates the system renders, and what each may use. Others are kept for people."""


@dataclass(frozen=True, slots=True)
class Rendered:
    """A message as people read it."""

    subject: str
    body: str

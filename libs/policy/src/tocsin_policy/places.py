"""Where a parameter's value may stand in a call, and how it is quoted there.

A value is always a value, whether an alert brought it or an answer that is to be put back: a
segment of a path, a string of JSON, a label's value in PromQL, a bound parameter of SQL, a literal
part of a glob, one argument of a program. A place where it could be more is refused when the policy
is loaded; a value that would be more is refused when it comes.
What was put in is never looked at again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

PLACEHOLDER = re.compile(r"\$\{([a-z][a-z0-9_]*)\}")
"""A parameter's place in a call's text: `${region}`."""

_STRING = re.compile(
    r"""(=~|!~|!=|=)?(\s*)("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|`[^`]*`)""", re.DOTALL
)
_META = re.compile(r"([\\.+*?()|\[\]{}^$])")
"""What RE2 reads as more than itself."""
_WORD = re.compile(r"[\w.:/@+, -]*", re.ASCII)
_REF = re.compile(r"[A-Za-z0-9_][\w./-]*", re.ASCII)
_LABEL = re.compile(r"[\w.-]*", re.ASCII)
_CODE = frozenset({"--command", "--eval", "--exec", "--execute", "--expression"})
"""Options whose argument is a program, whoever takes them."""
_INTERPRETERS = frozenset(
    {"awk", "bash", "dash", "env", "eval", "fish", "find", "ksh", "node", "perl", "php", "ruby"}
    | {"mysql", "psql", "sqlite3"}
    | {"sed", "sh", "ssh", "su", "sudo", "xargs", "zsh", "python", "python3"}
)
"""Programs whose arguments are programs."""
_READ_ELSEWHERE = ("@", "-", "file://", "fileb://")
"""What an argument begins with that is an option, or the name of something to read."""
_SHORTHAND = frozenset(",={}[]\"'")
"""What has a meaning inside an argument such as `Name=a,Value=b`."""

Values = Mapping[str, Any]
"""What goes into places, by name: text, or whatever JSON holds."""

Fields = dict[str, Any]


def placed(runner: str, fields: Fields, values: Values) -> Fields:
    """The fields of a call with these values in their places.

    Args:
        runner: Which one runs it, as in `PlaybookStep.calls`.
        fields: The call as JSON.

    Raises:
        ValueError: A place, or a value in its place, that could be more than a value.
    """
    return _PLACED[runner](fields, values)


def structure(runner: str, fields: Fields) -> None:
    """Nothing, if every place in a call can take a value.

    Raises:
        ValueError: The place that cannot, and why.
    """
    names = PLACEHOLDER.findall(json.dumps(fields))
    if names:
        placed(runner, fields, dict.fromkeys(names, "x"))


def _http(fields: Fields, values: Values) -> Fields:
    done = {"path": _each(fields.get("path", "/"), values, _segment)}
    if PLACEHOLDER.search(fields.get("body") or ""):
        done["body"] = _json(fields["body"], values)
    if fields.get("expect_body_contains") is not None:
        done["expect_body_contains"] = _each(fields["expect_body_contains"], values, str)
    return _nowhere_else(fields | done, fields, done)


def _command(fields: Fields, values: Values) -> Fields:
    args = list(fields.get("args", ()))
    held = [bool(PLACEHOLDER.search(arg)) for arg in args]
    for index, arg in enumerate(args):
        before = (fields.get("program", ""), *args[:index])
        reads_code = [one for one in before if one.rpartition("/")[2] in _INTERPRETERS]
        if held[index] and (reads_code or before[-1] in _CODE):
            reader = reads_code[0] if reads_code else before[-1]
            raise ValueError(
                f"{reader} reads its arguments as code; no parameter goes into {arg!r}"
            )
    done = {
        "args": [
            _argument(arg, values) if has else arg for arg, has in zip(args, held, strict=True)
        ]
    }
    return _nowhere_else(fields | done, fields, done)


def _kubernetes(fields: Fields, values: Values) -> Fields:
    # Names are held against the patterns of the call's own fields once they are whole.
    done: Fields = {
        name: _each(fields[name], values, _checked(_LABEL, "a name has no such characters"))
        for name in ("namespace", "resource", "selector", "container")
        if fields.get(name) is not None
    }
    done["values"] = {
        name: _each(value, values, _checked(_WORD, "more than a plain word"))
        for name, value in fields.get("values", {}).items()
        if not PLACEHOLDER.search(name)
    }
    return _nowhere_else(fields | done, fields, done)


def _github(fields: Fields, values: Values) -> Fields:
    # A workflow may well put an input into a script.
    done: Fields = {
        "inputs": {
            name: _each(value, values, _checked(_WORD, "more than a plain word"))
            for name, value in fields.get("inputs", {}).items()
        },
        "ref": _each(fields.get("ref", "main"), values, _checked(_REF, "no branch or tag")),
    }
    return _nowhere_else(fields | done, fields, done)


def _sql(fields: Fields, values: Values) -> Fields:
    statement = fields["statement"]
    names = list(dict.fromkeys(PLACEHOLDER.findall(statement)))
    if not names:
        return _nowhere_else(fields, fields, {})
    if fields.get("bound") or re.search(r"\$\d", statement):
        raise ValueError("name either parameters or bound values, not both")
    for place in PLACEHOLDER.finditer(statement):
        if statement[: place.start()].count("'") % 2:
            raise ValueError(f"write {place[0]} without quotes; it is bound as a value")
    numbers = {name: number for number, name in enumerate(names, start=1)}
    done: Fields = {
        "statement": PLACEHOLDER.sub(lambda place: f"${numbers[place[1]]}::text", statement),
        "bound": [_bound(values, name) for name in names],
    }
    return _nowhere_else(fields | done, fields, done)


def _bound(values: Values, name: str) -> str:
    value = values.get(name)
    # A server reads a document from its text: `${rows}::jsonb`.
    return json.dumps(value) if isinstance(value, (dict, list)) else _value(values, name)


def _redis(fields: Fields, values: Values) -> Fields:
    done: Fields = {}
    if fields.get("pattern") is not None:
        done["pattern"] = _each(
            fields["pattern"], values, lambda value: re.sub(r"([*?\[\]\\^-])", r"\\\1", value)
        )
    return _nowhere_else(fields | done, fields, done)


def _prometheus(fields: Fields, values: Values) -> Fields:
    query = fields["query"]

    def string(found: re.Match[str]) -> str:
        sign, space, text = found[1], found[2], found[3]
        if not PLACEHOLDER.search(text):
            return found[0]
        if sign is None or text.startswith("`"):
            raise ValueError(
                f'a parameter stands in a label\'s value only, as in a="${{b}}": {text}'
            )
        matches = sign in {"=~", "!~"}

        def quoted(value: str) -> str:
            literal = _META.sub(r"\\\1", value) if matches else value
            escaped = literal.replace("\\", "\\\\").replace("\n", "\\n")
            return (
                escaped.replace('"', '\\"').replace("'", "\\'")
                if text[0] == "'"
                else (escaped.replace('"', '\\"'))
            )

        return f"{sign}{space}{_each(text, values, quoted)}"

    outside = _STRING.sub("", query)
    if (place := PLACEHOLDER.search(outside)) is not None:
        raise ValueError(f'a parameter stands in a label\'s value only, as in a="{place[0]}"')
    done = {"query": _STRING.sub(string, query)}
    return _nowhere_else(fields | done, fields, done)


_PLACED: Mapping[str, Callable[[Fields, Values], Fields]] = {
    "http": _http,
    "command": _command,
    "kubernetes": _kubernetes,
    "github": _github,
    "sql": _sql,
    "redis": _redis,
    "aws": _command,
    "prometheus": _prometheus,
}


def _value(values: Values, name: str) -> str:
    """A value as text; what is no text is as JSON writes it, and only if it is one value."""
    if name not in values:
        raise ValueError(f"no value for {name}")
    value = values[name]
    if isinstance(value, str):
        return value
    if value is None or isinstance(value, (dict, list)):
        raise ValueError(f"{name} is more than one value, or none")
    return json.dumps(value)


def _each(text: str, values: Values, how: Callable[[str], str]) -> str:
    """The text with each place filled, in one pass."""
    return PLACEHOLDER.sub(lambda place: how(_value(values, place[1])), text)


def _segment(value: str) -> str:
    if value in {"", ".", ".."} or "/" in value or "\\" in value:
        raise ValueError(f"{value!r} is no segment of a path")
    return quote(value, safe="")


def _argument(arg: str, values: Values) -> str:
    if arg.lstrip().startswith(("{", "[", '"')):
        return _json(arg, values)

    def put(value: str) -> str:
        if value.startswith(_READ_ELSEWHERE):
            raise ValueError(f"{value!r} is more than an argument")
        if "=" in arg and _SHORTHAND & set(value):
            raise ValueError(f"{value!r} is more than one value of {arg!r}")
        return value

    return _each(arg, values, put)


def _json(text: str, values: Values) -> str:
    try:
        document = json.loads(text)
    except ValueError:
        raise ValueError(
            "text with parameters is JSON, and they stand inside its strings"
        ) from None
    return json.dumps(_strings(document, values), ensure_ascii=False)


def _strings(part: Any, values: Values) -> Any:  # noqa: ANN401 - whatever JSON holds
    if isinstance(part, str):
        # A place that is all of a string takes a value as it is: a number stays one.
        whole = PLACEHOLDER.fullmatch(part)
        if whole is not None and not isinstance(values.get(whole[1], ""), str):
            return values[whole[1]]
        return _each(part, values, str)
    if isinstance(part, list):
        return [_strings(one, values) for one in part]
    if isinstance(part, dict):
        if any(PLACEHOLDER.search(name) for name in part):
            raise ValueError("a parameter is a value of JSON, never a name")
        return {name: _strings(one, values) for name, one in part.items()}
    return part


def _checked(allowed: re.Pattern[str], why: str) -> Callable[[str], str]:
    def check(value: str) -> str:
        if allowed.fullmatch(value) is None:
            raise ValueError(f"{value!r}: {why}")
        return value

    return check


def _nowhere_else(whole: Fields, fields: Fields, done: Fields) -> Fields:
    """The whole call, if the fields nobody filled have no place in them."""
    for name, value in fields.items():
        left = value if name not in done else _names(value)
        if (place := PLACEHOLDER.search(json.dumps(left))) is not None:
            raise ValueError(f"no parameter goes into {name}: {place[0]}")
    return whole


def _names(value: object) -> list[str]:
    return list(value) if isinstance(value, dict) else []

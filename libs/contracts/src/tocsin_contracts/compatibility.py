"""Whether a fact's schema can replace a released one.

Records are for ever: whoever reads a type must be able to read every record ever written of it,
and readers of the released version must be able to read what is written now. So inside a version
a field may be added if it is optional, and nothing else may change; a changed meaning is a new
type. Released schemas stand in `libs/contracts/released/`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Schema = Mapping[str, Any]

_KEPT = ("const", "enum", "pattern", "format", "minLength", "maxLength", "minItems", "maxItems")
_KEPT_NUMBERS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
_MOST_DEPTH = 20


def breaks(released: Schema, current: Schema) -> tuple[str, ...]:
    """Every way in which `current` breaks with `released`, each naming its field."""
    return tuple(_compare(released, current, released, current, "", 0))


def _resolve(schema: Schema, root: Schema) -> Schema:
    while "$ref" in schema:
        schema = root.get("$defs", {})[schema["$ref"].rpartition("/")[2]]
    return schema


def _compare(
    old: Schema, new: Schema, old_root: Schema, new_root: Schema, path: str, depth: int
) -> Iterator[str]:
    if depth > _MOST_DEPTH:
        return
    old, new = _resolve(old, old_root), _resolve(new, new_root)
    where = path or "data"
    if old.get("type") != new.get("type"):
        yield f"{where}: type changed from {old.get('type')} to {new.get('type')}"
        return
    for keyword in (*_KEPT, *_KEPT_NUMBERS):
        if old.get(keyword) != new.get(keyword):
            yield (f"{where}: {keyword} changed from {old.get(keyword)!r} to {new.get(keyword)!r}")
    yield from _compare_fields(old, new, old_root, new_root, path, depth)
    for keyword in ("items", "additionalProperties"):
        a, b = old.get(keyword), new.get(keyword)
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            yield from _compare(a, b, old_root, new_root, f"{path}[]", depth + 1)
        elif a != b:
            yield f"{where}: {keyword} changed"
    for keyword in ("anyOf", "oneOf", "prefixItems"):
        a, b = old.get(keyword, []), new.get(keyword, [])
        if len(a) != len(b):
            yield f"{where}: {keyword} has {len(b)} choices, had {len(a)}"
            continue
        for one, other in zip(a, b, strict=True):
            yield from _compare(one, other, old_root, new_root, path, depth + 1)


def _compare_fields(
    old: Schema, new: Schema, old_root: Schema, new_root: Schema, path: str, depth: int
) -> Iterator[str]:
    fields, now = old.get("properties", {}), new.get("properties", {})
    for name, field in fields.items():
        inner = f"{path}.{name}".lstrip(".")
        if name not in now:
            yield f"{inner}: removed"
        else:
            yield from _compare(field, now[name], old_root, new_root, inner, depth + 1)
    required = set(new.get("required", ())) - set(old.get("required", ()))
    for name in sorted(required):
        yield f"{path}.{name}: is required now".lstrip(".")
    dropped = set(old.get("required", ())) - set(new.get("required", ()))
    for name in sorted(dropped & set(now)):
        yield f"{path}.{name}: may be absent now".lstrip(".")

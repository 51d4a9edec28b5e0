"""Single fields of an object: read, set, put back, and shown as a difference.

A field's path is a JSON pointer in which an element of a list is found by its name:
`/spec/template/spec/containers/name=api/env/name=LEVEL`.
"""

from __future__ import annotations

import copy
import difflib
import hashlib
import json
import re
from collections.abc import Mapping

import yaml

from remediation.adapters.kubernetes.kinds import Document, Value

_BY_NAME = "name="
_NOISE = ("managedFields", "resourceVersion", "generation", "creationTimestamp", "selfLink")
_WRITTEN_BY_CONTROLLERS = ("deployment.kubernetes.io/revision",)
_NOT_FOR_PEOPLE = ("kubectl.kubernetes.io/last-applied-configuration", *_WRITTEN_BY_CONTROLLERS)
_SECRET = re.compile(r"secret|token|passw|credential|private|api_?key|dsn", re.IGNORECASE)
_HIDDEN = "(hidden)"
_MOST_DIFF_LINES = 400


def pointer(*parts: str) -> str:
    """The path of these parts.

    >>> pointer("metadata", "annotations", "example.org/weight")
    '/metadata/annotations/example.org~1weight'
    """
    return "".join("/" + part.replace("~", "~0").replace("/", "~1") for part in parts)


def _parts(path: str) -> list[str]:
    return [part.replace("~1", "/").replace("~0", "~") for part in path.split("/")[1:]]


def value_at(document: Document, path: str) -> Value:
    """What stands there; `None` where nothing does."""
    held: Value = document
    for part in _parts(path):
        held = _step(held, part)
        if held is None:
            return None
    return held


def with_values(document: Document, values: Mapping[str, Value]) -> Document:
    """A copy in which these fields hold these values; `None` removes one."""
    changed = copy.deepcopy(document)
    for path, value in values.items():
        _put(changed, _parts(path), value)
    return changed


def _step(held: Value, part: str) -> Value:
    if isinstance(held, list):
        name = part.removeprefix(_BY_NAME)
        return next((item for item in held if item.get("name") == name), None)
    return held.get(part) if isinstance(held, dict) else None


def _put(held: Value, parts: list[str], value: Value) -> None:
    *through, last = parts
    for part, following in zip(through, parts[1:], strict=True):
        inner = _step(held, part)
        if inner is None:
            if value is None:
                return
            inner = [] if following.startswith(_BY_NAME) else {}
            held[part] = inner
        held = inner
    if isinstance(held, list):
        name = last.removeprefix(_BY_NAME)
        at = next((i for i, item in enumerate(held) if item.get("name") == name), len(held))
        held[at : at + 1] = [] if value is None else [value]
    elif value is None:
        held.pop(last, None)
    else:
        held[last] = value


def merge_patch(before: Document, after: Document) -> Document:
    """The JSON merge patch (RFC 7386) that turns one into the other; a list is replaced whole.

    >>> merge_patch({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "d": 3}})
    {'a': {'c': None, 'd': 3}}
    """
    patch: Document = {name: None for name in before if name not in after}
    for name, value in after.items():
        held = before.get(name)
        if isinstance(value, dict) and isinstance(held, dict):
            inner = merge_patch(held, value)
            if inner:
                patch[name] = inner
        elif name not in before or held != value:
            patch[name] = value
    return patch


def quiet(document: Document) -> Document:
    """What somebody asked for: without status, versions and what controllers write."""
    kept = {name: value for name, value in document.items() if name != "status"}
    metadata = {n: v for n, v in document.get("metadata", {}).items() if n not in _NOISE}
    annotations = metadata.pop("annotations", None) or {}
    said = {n: v for n, v in annotations.items() if n not in _WRITTEN_BY_CONTROLLERS}
    kept["metadata"] = {**metadata, **({"annotations": said} if said else {})}
    return kept


def fingerprint(*documents: Document) -> str:
    """Differs once any of them is another object, or was asked to be different."""
    texts = sorted(json.dumps(quiet(document), sort_keys=True) for document in documents)
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:32]


def difference(before: Document, after: Document, name: str) -> str:
    """A unified diff as YAML, for people; values that may be secrets are hidden."""
    lines = difflib.unified_diff(
        _shown(before), _shown(after), f"{name} (now)", f"{name} (then)", lineterm="", n=3
    )
    shown = list(lines)
    if len(shown) > _MOST_DIFF_LINES:
        shown = [*shown[:_MOST_DIFF_LINES], f"… {len(shown) - _MOST_DIFF_LINES} lines more"]
    return "\n".join(shown)


def looks_secret(name: str) -> bool:
    """Whether a variable or key of this name may hold what belongs in no log."""
    return _SECRET.search(name) is not None


def _shown(document: Document) -> list[str]:
    if not document:
        return []
    kept = quiet(document)
    metadata = dict(kept["metadata"])
    metadata.pop("uid", None)
    annotations = metadata.get("annotations", {})
    metadata["annotations"] = {n: v for n, v in annotations.items() if n not in _NOT_FOR_PEOPLE}
    if not metadata["annotations"]:
        del metadata["annotations"]
    text = yaml.safe_dump(_veiled({**kept, "metadata": metadata}), sort_keys=False, width=120)
    return text.splitlines()


def _veiled(value: Value) -> Value:
    if isinstance(value, list):
        return [_veiled(item) for item in value]
    if not isinstance(value, dict):
        return value
    if "value" in value and looks_secret(str(value.get("name", ""))):
        return {**value, "value": _HIDDEN}
    return {
        name: _HIDDEN if isinstance(held, str) and looks_secret(name) else _veiled(held)
        for name, held in value.items()
    }

"""Prometheus' label fingerprint: every source's alerts have the identity Alertmanager uses."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

_OFFSET = 0xCBF29CE484222325
_PRIME = 0x100000001B3
_MASK = 0xFFFFFFFFFFFFFFFF
_SEPARATOR = b"\xff"
_MOST_REMEMBERED = 20_000
"""Sets of labels whose fingerprint is remembered: what fires is said again and again."""


def fingerprint(labels: Mapping[str, str]) -> str:
    """16 hex digits: FNV-1a 64 over `name 0xFF value 0xFF`, labels sorted by name.

    Labels with an empty value do not count: to Prometheus they are absent. Source:
    prometheus/common `model.LabelSet.Fingerprint`.

    >>> fingerprint({})
    'cbf29ce484222325'
    >>> fingerprint({"a": "1", "b": ""}) == fingerprint({"a": "1"})
    True
    """
    return _hashed(tuple(sorted(labels.items())))


@lru_cache(maxsize=_MOST_REMEMBERED)
def _hashed(labels: tuple[tuple[str, str], ...]) -> str:
    value = _OFFSET
    for pair in labels:
        if not pair[1]:
            continue
        for part in pair:
            for byte in part.encode() + _SEPARATOR:
                value = ((value ^ byte) * _PRIME) & _MASK
    return f"{value:016x}"

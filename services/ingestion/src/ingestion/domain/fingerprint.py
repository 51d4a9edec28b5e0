"""Prometheus' label fingerprint: every source's alerts have the identity Alertmanager uses."""

from __future__ import annotations

from collections.abc import Mapping

_OFFSET = 0xCBF29CE484222325
_PRIME = 0x100000001B3
_MASK = 0xFFFFFFFFFFFFFFFF
_SEPARATOR = b"\xff"


def fingerprint(labels: Mapping[str, str]) -> str:
    """16 hex digits: FNV-1a 64 over `name 0xFF value 0xFF`, labels sorted by name.

    Labels with an empty value do not count: to Prometheus they are absent. Source:
    prometheus/common `model.LabelSet.Fingerprint`.

    >>> fingerprint({})
    'cbf29ce484222325'
    >>> fingerprint({"a": "1", "b": ""}) == fingerprint({"a": "1"})
    True
    """
    value = _OFFSET
    for name in sorted(labels):
        if not labels[name]:
            continue
        for part in (name, labels[name]):
            for byte in part.encode() + _SEPARATOR:
                value = ((value ^ byte) * _PRIME) & _MASK
    return f"{value:016x}"

"""How large alerts are in a record, told cheaply."""

from __future__ import annotations

from tocsin_contracts.incidents import Alert

_BESIDE = 300
"""Characters an alert takes in a record beside its labels and annotations."""


def weight(alert: Alert) -> int:
    """Characters that an alert takes at least in a record.

    A character takes up to six bytes there, where it is escaped.
    """
    labels, annotations = alert.labels, alert.annotations
    return (
        _BESIDE
        + sum(map(len, labels))
        + sum(map(len, labels.values()))
        + sum(map(len, annotations))
        + sum(map(len, annotations.values()))
        + len(alert.generator_url)
    )

"""The audit: nothing accepted is unaccounted for, and whoever had to be paged was."""

from tocsin_replay.auditing.accounting import audit
from tocsin_replay.auditing.findings import (
    GRACE,
    LATENESS,
    MOST_NAMED,
    Audited,
    Finding,
    FindingKind,
    InFlight,
    audit_table,
)

__all__ = [
    "GRACE",
    "LATENESS",
    "MOST_NAMED",
    "Audited",
    "Finding",
    "FindingKind",
    "InFlight",
    "audit",
    "audit_table",
]

"""Reading it back: an incident's facts, timeline and report, from the log alone."""

from tocsin_replay.reading import (
    Recorded,
    Step,
    partition_of,
    read_all,
    read_incident,
    read_policy,
    state_of,
    states_of,
    steps,
)
from tocsin_replay.reporting import (
    Paged,
    Report,
    render_report,
    render_table,
    report,
    report_markdown,
    timeline_markdown,
    timeline_table,
)
from tocsin_replay.targets import ResponseTarget, response_targets
from tocsin_replay.telling import Entry, timeline

__all__ = [
    "Entry",
    "Paged",
    "Recorded",
    "Report",
    "ResponseTarget",
    "Step",
    "partition_of",
    "read_all",
    "read_incident",
    "read_policy",
    "render_report",
    "render_table",
    "report",
    "report_markdown",
    "response_targets",
    "state_of",
    "states_of",
    "steps",
    "timeline",
    "timeline_markdown",
    "timeline_table",
]

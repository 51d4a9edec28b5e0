"""Reading it back: an incident's facts, timeline and report, from the log alone."""

from tocsin_replay.reading import (
    Recorded,
    Step,
    partition_of,
    read_all,
    read_incident,
    state_of,
    states_of,
    steps,
)
from tocsin_replay.reporting import (
    Report,
    render_report,
    report,
    timeline_markdown,
    timeline_table,
)
from tocsin_replay.telling import Entry, timeline

__all__ = [
    "Entry",
    "Recorded",
    "Report",
    "Step",
    "partition_of",
    "read_all",
    "read_incident",
    "render_report",
    "report",
    "state_of",
    "states_of",
    "steps",
    "timeline",
    "timeline_markdown",
    "timeline_table",
]

"""Reading it back: an incident as it was, its story and its report, from the log alone."""

from tocsin_replay.archiving import (
    Archived,
    ArchiveReader,
    BadArchive,
    archive,
    read_manifest,
    verify_archive,
)
from tocsin_replay.asking import (
    Answered,
    Refused,
    ask,
)
from tocsin_replay.auditing import (
    Audited,
    Finding,
    FindingKind,
    audit,
    audit_table,
)
from tocsin_replay.bundling import (
    BadBundle,
    Bundle,
    Key,
    bundle_lines,
    drift,
    open_bundle,
    read_bundle,
    verify,
)
from tocsin_replay.comparing import (
    Comparison,
    broken,
    comparison_markdown,
    comparison_table,
    supposition_markdown,
    what_if,
)
from tocsin_replay.gathering import (
    Gathered,
    gather,
    gather_all,
)
from tocsin_replay.hashing import (
    Link,
    chain,
    chain_of,
    first_difference,
    state_hash,
)
from tocsin_replay.held import (
    HeldLog,
)
from tocsin_replay.history import (
    History,
    read_history,
)
from tocsin_replay.measuring import (
    Measures,
    measures,
    measures_picture,
    measures_table,
    spread,
    summaries,
)
from tocsin_replay.moments import (
    Cited,
    Moment,
    differences,
    moment_after,
    moment_at,
)
from tocsin_replay.picturing import (
    picture,
)
from tocsin_replay.postmortem import (
    SECTIONS,
    as_html,
    postmortem,
    postmortem_html,
)
from tocsin_replay.reading import (
    Progress,
    Recorded,
    Step,
    Version,
    each_fact,
    in_force,
    known_at,
    partition_of,
    promised,
    read_all,
    read_incident,
    read_policies,
    read_policy,
    state_of,
    states_of,
    steps,
)
from tocsin_replay.rederiving import (
    Difference,
    KnownFields,
    Rederived,
    rederive,
)
from tocsin_replay.reporting import (
    Paged,
    Report,
    briefly,
    render_report,
    render_table,
    report,
    report_markdown,
    timeline_markdown,
    timeline_table,
)
from tocsin_replay.simulating import (
    Lived,
    Simulation,
)
from tocsin_replay.summing import (
    Summary,
    summarise,
)
from tocsin_replay.supposing import (
    Supposed,
    suppose,
)
from tocsin_replay.targets import (
    ResponseTarget,
    response_targets,
)
from tocsin_replay.telling import (
    Entry,
    timeline,
)
from tocsin_replay.whole import (
    states_at,
    system_hash,
)

__all__ = [
    "SECTIONS",
    "Answered",
    "ArchiveReader",
    "Archived",
    "Audited",
    "BadArchive",
    "BadBundle",
    "Bundle",
    "Cited",
    "Comparison",
    "Difference",
    "Entry",
    "Finding",
    "FindingKind",
    "Gathered",
    "HeldLog",
    "History",
    "Key",
    "KnownFields",
    "Link",
    "Lived",
    "Measures",
    "Moment",
    "Paged",
    "Progress",
    "Recorded",
    "Rederived",
    "Refused",
    "Report",
    "ResponseTarget",
    "Simulation",
    "Step",
    "Summary",
    "Supposed",
    "Version",
    "archive",
    "as_html",
    "ask",
    "audit",
    "audit_table",
    "briefly",
    "broken",
    "bundle_lines",
    "chain",
    "chain_of",
    "comparison_markdown",
    "comparison_table",
    "differences",
    "drift",
    "each_fact",
    "first_difference",
    "gather",
    "gather_all",
    "in_force",
    "known_at",
    "measures",
    "measures_picture",
    "measures_table",
    "moment_after",
    "moment_at",
    "open_bundle",
    "partition_of",
    "picture",
    "postmortem",
    "postmortem_html",
    "promised",
    "read_all",
    "read_bundle",
    "read_history",
    "read_incident",
    "read_manifest",
    "read_policies",
    "read_policy",
    "rederive",
    "render_report",
    "render_table",
    "report",
    "report_markdown",
    "response_targets",
    "spread",
    "state_hash",
    "state_of",
    "states_at",
    "states_of",
    "steps",
    "summaries",
    "summarise",
    "suppose",
    "supposition_markdown",
    "system_hash",
    "timeline",
    "timeline_markdown",
    "timeline_table",
    "verify",
    "verify_archive",
    "what_if",
]

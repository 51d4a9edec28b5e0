"""What a policy promises, tried: scenarios on virtual time, and the runbook's rows they prove."""

from tocsin_replay.scenarios.covering import (
    Covered,
    coverage,
    coverage_markdown,
    location_of,
    uncovered,
)
from tocsin_replay.scenarios.document import Given, Row, Runbook, Scenario, Want
from tocsin_replay.scenarios.judging import Judged, Miss, judge
from tocsin_replay.scenarios.loading import Held, Suite, load_suite, suites_in
from tocsin_replay.scenarios.playing import CannotHappen, Played, play
from tocsin_replay.scenarios.showing import show

__all__ = [
    "CannotHappen",
    "Covered",
    "Given",
    "Held",
    "Judged",
    "Miss",
    "Played",
    "Row",
    "Runbook",
    "Scenario",
    "Suite",
    "Want",
    "coverage",
    "coverage_markdown",
    "judge",
    "load_suite",
    "location_of",
    "play",
    "show",
    "suites_in",
    "uncovered",
]

"""What a policy promises, tried: scenarios on virtual time, and the runbook's rows they prove."""

from tocsin_replay.scenarios.document import Given, Row, Runbook, Scenario, Want
from tocsin_replay.scenarios.judging import Judged, Miss, judge
from tocsin_replay.scenarios.loading import Held, Suite, load_suite, suites_in
from tocsin_replay.scenarios.playing import CannotHappen, Played, play
from tocsin_replay.scenarios.showing import show

__all__ = [
    "CannotHappen",
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
    "judge",
    "load_suite",
    "play",
    "show",
    "suites_in",
]

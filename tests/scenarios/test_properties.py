"""What must hold of any scenario: who is told depends on nothing that does not matter."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tocsin_policy import Policy, scaled
from tocsin_replay.scenarios import Given, Played, Scenario, play
from tocsin_replay.scenarios.document import GivenAlert, Want
from tocsin_testkit.policies import shipped

MPC = shipped("mpc-transformer")
HERE = Path(__file__).parent
WEEK = timedelta(days=7)
SUMMER = datetime(2026, 8, 3, tzinfo=UTC)
"""A Monday; no holiday and no change of the clock in the month that follows."""

few = settings(
    max_examples=8,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
alerts = st.sampled_from(
    [
        {"alertname": "GlobalServiceUnavailable"},
        {"alertname": "RegionDown", "region": "eu-west"},
        {"alertname": "HighErrorRate", "cluster": "europe"},
        {"alertname": "NodeMemory", "severity": "warning", "instance": "n1"},
        {"alertname": "CapacityPlanning", "team": "platform", "severity": "info"},
    ]
).map(lambda labels: {"app": "mpc-transformer", **labels})
answers = st.sampled_from([None, timedelta(minutes=4), timedelta(minutes=31)])


def a_scenario(
    labels: dict[str, str],
    *,
    starts: datetime = SUMMER,
    until: timedelta = timedelta(minutes=65),
    answered: timedelta | None = None,
) -> Scenario:
    """An alert, and perhaps an answer."""
    happenings = [Given(at=timedelta(), alert=GivenAlert(labels=labels))]
    if answered is not None:
        happenings.append(Given(at=answered, acknowledge="alice"))
    return Scenario(name="drawn", starts=starts, until=until, given=tuple(happenings), want=Want())


def told(played: Played, times: float = 1) -> list[tuple[timedelta, str, str, str, int]]:
    """Who was told what, by what, and when since the start, in an order of its own."""
    found = []
    for state in played.states.values():
        for held in state.notifications.values():
            if held.settled_at is None or held.status != "delivered":
                continue
            to = held.target.contact if held.target is not None else ""
            since = played.since_start(held.settled_at) * times
            found.append((since, held.purpose.value, to, held.channel, held.level or 0))
    return sorted(found)


def played(scenario: Scenario, policy: Policy = MPC, *, seed: int = 0, calm: bool = True) -> Played:
    return play(policy, scenario, HERE, seed=seed, calm=calm)


@few
@given(alerts, answers, st.integers(1, 1000))
def test_how_often_we_look_never_changes_who_is_told(
    labels: dict[str, str], answered: timedelta | None, seed: int
) -> None:
    scenario = a_scenario(labels, answered=answered, until=timedelta(minutes=33))
    seldom = told(played(scenario))
    assert seldom
    assert seldom == told(played(scenario, calm=False, seed=seed))


@few
@given(alerts, answers, st.integers(0, 7 * 24 * 60 - 1))
def test_a_week_later_every_page_comes_a_week_later(
    labels: dict[str, str], answered: timedelta | None, minute: int
) -> None:
    starts = SUMMER + timedelta(minutes=minute)
    scenario = a_scenario(labels, answered=answered, starts=starts, until=timedelta(hours=20))
    moved = scenario.model_copy(update={"starts": starts + WEEK})
    assert told(played(scenario)) == told(played(moved))


@few
@given(alerts, st.randoms(use_true_random=False))
def test_the_order_of_labels_changes_nothing(labels: dict[str, str], random: st.DataObject) -> None:
    names = list(labels)
    random.shuffle(names)  # type: ignore[attr-defined]
    one = played(a_scenario(labels, starts=SUMMER + timedelta(hours=15)))
    other = played(
        a_scenario({name: labels[name] for name in names}, starts=SUMMER + timedelta(hours=15))
    )
    assert told(one) == told(other)
    assert [(s.incident, s.severity, s.rule) for s in one.states.values()] == [
        (s.incident, s.severity, s.rule) for s in other.states.values()
    ]


@few
@given(answers, st.sampled_from([2, 10, 60]))
def test_a_scenario_and_its_scaled_copy_agree(answered: timedelta | None, divisor: int) -> None:
    labels = {"app": "mpc-transformer", "alertname": "GlobalServiceUnavailable"}
    whole = a_scenario(labels, answered=answered)
    small = a_scenario(
        labels,
        answered=None if answered is None else answered / divisor,
        until=whole.until / divisor,
    )
    pages = [each for each in told(played(whole)) if each[1] == "page"]
    fast = told(played(small, scaled(MPC, divisor)), divisor)
    assert pages
    assert pages == [each for each in fast if each[1] == "page"]


def test_days_in_which_nothing_happens_cost_nothing() -> None:
    labels = {"app": "mpc-transformer", "alertname": "NodeMemory", "severity": "warning"}
    short = played(a_scenario(labels, until=timedelta(hours=2)))
    long = played(a_scenario(labels, until=timedelta(days=30)))
    # A checkpoint a day is all that still goes on.
    assert long.turns < short.turns + 30 * 10

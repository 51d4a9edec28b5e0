"""An Alertmanager configuration becomes the policy that does the same; what differs is named."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tocsin_cli.__main__ import app
from tocsin_policy import Policy, classify, levels_for, load_policy, read_policy
from tocsin_policy.importing import Draft, import_alertmanager
from tocsin_policy.importing.intervals import Unsayable, opening_hours
from tocsin_policy.opening import Opening

HERE = Path(__file__).parent / "alertmanager"
TREE = (HERE / "tree.yml").read_text()
CONFIGURATIONS = sorted(HERE.glob("*.yml"))


@pytest.fixture(scope="module")
def draft() -> Draft:
    return import_alertmanager(TREE, "shop")


@pytest.fixture(scope="module")
def policy(draft: Draft) -> Policy:
    return read_policy(draft.text)


def told(policy: Policy, **labels: str) -> tuple[str, ...]:
    """The contacts an alert with these labels pages first."""
    severity = classify(policy, {"alertname": "X", **labels}, {}).severity
    levels = levels_for(policy, severity)
    targets = levels[0].targets if levels else ()
    return tuple(target.removeprefix("contact:") for target in targets)


@pytest.mark.parametrize(
    ("labels", "receivers"),
    [
        ({}, ("default",)),
        ({"severity": "info"}, ()),
        ({"severity": "critical"}, ("pager",)),
        ({"service": "foo1"}, ("web",)),
        ({"service": "foo1x"}, ("default",)),
        ({"service": "baz", "severity": "critical", "env": "prod"}, ("web-pager",)),
        ({"service": "baz", "severity": "critical"}, ("web",)),
        ({"team": "audit"}, ("audit",)),
        ({"team": "audit", "severity": "critical"}, ("audit-pager", "pager")),
        ({"team": "audit", "service": "foo2"}, ("audit", "web")),
        ({"service": "database"}, ("database",)),
        ({"service": "database", "severity": "critical"}, ("database", "pager")),
        ({"owner": "ops"}, ("others",)),
        ({"owner": "web-1"}, ("default",)),
    ],
)
def test_each_alert_goes_to_the_receivers_of_its_routes(
    policy: Policy, labels: dict[str, str], receivers: tuple[str, ...]
) -> None:
    assert told(policy, **labels) == receivers


def test_groups_wait_and_repeat_as_they_did(policy: Policy) -> None:
    assert policy.grouping.by == ("alertname", "cluster")
    assert (policy.grouping.wait, policy.grouping.interval) == (
        timedelta(seconds=45),
        timedelta(minutes=3),
    )
    [level] = levels_for(policy, classify(policy, {"alertname": "X"}, {}).severity)
    assert level.repeat_every == timedelta(days=7)
    urgent = {"alertname": "X", "service": "baz", "severity": "critical", "env": "prod"}
    [level] = levels_for(policy, classify(policy, urgent, {}).severity)
    assert level.repeat_every == timedelta(minutes=30)


def test_what_is_critical_ranks_above_what_is_not(policy: Policy) -> None:
    critical = classify(policy, {"alertname": "X", "severity": "critical"}, {}).severity
    usual = classify(policy, {"alertname": "X"}, {}).severity
    assert policy.ranks[critical] < policy.ranks[usual]


def test_inhibition_is_taken_over_in_both_ways_of_writing_it(policy: Policy) -> None:
    rules = policy.inhibition.rules
    assert rules["critical-first"].equal == ("alertname", "cluster")
    assert rules["inhibit-2"].source == ('alertname="ClusterDown"',)
    assert rules["inhibit-2"].target == ('alertname=~"Node.*"',)


def test_time_intervals_become_calendars_and_windows(policy: Policy) -> None:
    assert policy.calendars["office"].hours == "Mo-Fr 09:00-17:00"
    assert policy.calendars["office"].time_zone == "Europe/Rome"
    [*windows] = policy.maintenance.values()
    night, noon = (datetime(2026, 11, 21, hour, tzinfo=UTC) for hour in (23, 12))
    assert windows
    assert all(window.edge(night)[0] and not window.edge(noon)[0] for window in windows)
    labels = {"alertname": "X", "service": "foo1", "severity": "warning"}
    found = policy.severity(classify(policy, labels, {}).severity)
    assert found is not None
    assert (found.hours, found.calendar) == ("business_hours", "office")


def test_nothing_secret_is_taken_over(draft: Draft) -> None:
    assert "secret-of" not in draft.text
    assert draft.text.count("endpoint:") == draft.found["channels"]


@pytest.mark.parametrize(
    "gap",
    [
        "line 3: global.resolve_timeout",
        "line 22: group_by, group_wait and group_interval",
        "line 47: inhibition inhibit-3: it must ask something of source and target",
        "line 59: time interval 'last days' is left out: '-3:-1' counts days from a month's end",
        "line 71: email_configs: a contact has one address",
        "line 79: wechat_configs: no kind of channel reaches it",
        "line 64: channels default-slack: not its own words, in title",
        "line 81: templates: nothing of it is taken over",
    ],
)
def test_what_cannot_be_said_the_same_way_is_named_with_its_line(draft: Draft, gap: str) -> None:
    assert any(one.startswith(gap) for one in draft.gaps), "\n".join(draft.gaps)


@pytest.mark.parametrize("path", CONFIGURATIONS, ids=lambda path: path.stem)
def test_every_draft_loads_and_no_credential_is_in_it(path: Path, tmp_path: Path) -> None:
    out = tmp_path / "policy.yaml"
    arguments = ["policy", "import-alertmanager", str(path), "--system", "shop", "-o", str(out)]
    run = CliRunner().invoke(app, arguments)
    assert run.exit_code == 0, run.output
    assert load_policy(out).system == "shop"
    for secret in ("R0UT1NGKEY", "s3cret", "test-ingest-token", "11111111-2222", "vokey", "xoxb"):
        assert secret not in out.read_text()


@pytest.mark.parametrize(
    "configuration", ["", "[]", "receivers: []", "route: {}", "route: [", "route: 3"]
)
def test_what_is_no_configuration_is_refused(configuration: str) -> None:
    with pytest.raises(ValueError, match="it is no"):
        import_alertmanager(configuration, "shop")


def test_a_tree_that_would_make_too_many_rules_is_refused() -> None:
    routes = "\n".join(
        f'    - {{matchers: [a{number}="1"], receiver: r, continue: true}}' for number in range(14)
    )
    with pytest.raises(ValueError, match="more than 2,000 rules"):
        import_alertmanager(f"route:\n  receiver: r\n  routes:\n{routes}\n", "shop")


@pytest.mark.parametrize(
    ("spec", "hours"),
    [
        ({}, "00:00-24:00"),
        ({"years": ["2026:2028"], "months": ["january:march"]}, "2026-2028 Jan-Mar 00:00-24:00"),
        ({"days_of_month": ["30:31"], "months": ["2:3"]}, "Mar 30-Mar 31 00:00-24:00"),
        ({"weekdays": ["saturday", "0"]}, "Sa,Su 00:00-24:00"),
    ],
)
def test_an_interval_is_said_in_opening_hours(spec: dict[str, list[str]], hours: str) -> None:
    assert opening_hours([spec]) == hours
    assert Opening("UTC", hours, None, ()).is_open(datetime(2026, 3, 31, tzinfo=UTC)) in {
        True,
        False,
    }


@pytest.mark.parametrize(
    "spec",
    [{"days_of_month": ["-1"]}, {"months": ["13"]}, {"weekdays": ["someday"]}, {"years": ["x"]}],
)
def test_an_interval_that_cannot_be_said_is_refused(spec: dict[str, list[str]]) -> None:
    with pytest.raises(Unsayable):
        opening_hours([spec])

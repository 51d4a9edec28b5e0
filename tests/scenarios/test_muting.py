"""Who need not hear of an alert, and when they must after all.

Silences, maintenance windows, inhibition, symptoms of what a service depends on, storms.
"""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

from tocsin_contracts.dispositions import Outcome
from tocsin_contracts.ids import key_of
from tocsin_incident import Status
from tocsin_policy import Policy
from tocsin_simulation.clock import EPOCH
from tocsin_simulation.system import STARTS_WITHIN
from tocsin_testkit.builders import an_alert
from tocsin_testkit.policies import a_policy
from tocsin_testkit.timeline import At, Timeline, at, minutes, page, scenario

DOWN = an_alert("Down", system="shop", severity="critical", service="api")
SLOW = an_alert("Slow", system="shop", severity="critical", service="api")
ALICE, BOB = page("on-call engineer"), page("team lead")


def outcomes(system: Timeline) -> list[tuple[str, str]]:
    return [(str(one.outcome), one.reason) for one in system.dispositions()]


def begun(system: Timeline) -> list[str]:
    """Titles of the incidents that were ever open."""
    return [state.title for state in system.incidents() if state.status is not Status.MUTED]


@scenario()
async def test_a_silenced_alert_pages_nobody_and_is_accounted_for(system: Timeline) -> None:
    system.at(minutes=0).silence('alertname="Down"', duration=minutes(60))
    system.at(minutes=1).push(DOWN)
    system.at(minutes=20).clear(DOWN, began=at(minutes=1))
    await system.run(until=minutes(90))
    assert outcomes(system) == [("silenced", "silenced"), ("cleared", "resolved")]
    assert begun(system) == []
    assert next(one.by for one in system.dispositions()) == "a silence"


@scenario()
async def test_a_silence_that_ends_with_the_alert_firing_pages_then(system: Timeline) -> None:
    system.at(minutes=0).silence('alertname="Down"', duration=minutes(60))
    system.at(minutes=1).push(DOWN)
    system.want(at(minutes=60), ALICE)
    system.want(at(minutes=65), BOB)
    await system.run(until=minutes(66))
    assert begun(system) == ["Down is firing"]


@scenario()
async def test_a_silence_ended_by_hand_pages_at_once(system: Timeline) -> None:
    system.at(minutes=0).silence('alertname="Down"', duration=minutes(600))
    system.at(minutes=1).push(DOWN)
    system.at(minutes=30).unsilence()
    await system.play(until=minutes(31))
    [paged] = [got for got in system.got() if got.purpose == "page"]
    assert timedelta(minutes=30) <= paged.since_start <= timedelta(minutes=30, seconds=2)


@scenario()
async def test_an_alert_under_two_silences_stays_silent_until_both_end(system: Timeline) -> None:
    system.at(minutes=0).silence('alertname="Down"', duration=minutes(30), name="one")
    system.at(minutes=0).silence('service="api"', duration=minutes(50), name="two")
    system.at(minutes=1).push(DOWN)
    system.want(at(minutes=50), ALICE)
    await system.run(until=minutes(52))


@scenario()
async def test_a_silence_over_an_incident_nobody_took_stops_its_escalation(
    system: Timeline,
) -> None:
    system.at(minutes=0).push(DOWN)
    system.at(minutes=2).silence('alertname="Down"', duration=minutes(28))
    system.want(at(minutes=0), ALICE)
    # It fires yet when the silence ends: it is asked for from the first level again.
    system.want(at(minutes=30), ALICE)
    system.want(at(minutes=35), BOB)
    await system.run(until=minutes(36))
    assert len(begun(system)) == 1


@scenario()
async def test_a_silence_over_one_of_two_alerts_leaves_the_incident_as_it_is(
    system: Timeline,
) -> None:
    other = an_alert("Down", system="shop", severity="critical", service="web")
    system.at(minutes=0).push(DOWN, other)
    system.at(minutes=2).silence('service="api"', duration=minutes(60))
    system.want(at(minutes=0), ALICE)
    system.want(at(minutes=5), BOB)
    await system.run(until=minutes(6))


@scenario()
async def test_a_silence_takes_nothing_from_who_works_on_an_incident(system: Timeline) -> None:
    system.at(minutes=0).push(DOWN)
    system.at(minutes=1).acknowledge("alice")
    system.at(minutes=2).silence('alertname="Down"', duration=minutes(5))
    system.want(at(minutes=0), ALICE)
    await system.run(until=minutes(12))
    assert system.status() is Status.ACKNOWLEDGED


@scenario()
async def test_a_silence_that_begins_later_holds_from_then_on(system: Timeline) -> None:
    system.at(minutes=0).silence('alertname="Slow"', duration=minutes(60), starts=at(minutes=10))
    system.at(minutes=1).push(SLOW)
    system.want(at(minutes=1), ALICE)
    system.want(at(minutes=6), BOB)
    await system.run(until=minutes(30))


def with_a_window() -> Policy:
    window = {
        "title": "restart of the api",
        "match": ['service="api"'],
        "on": "Mo-Su 08:30-09:30",
    }
    return a_policy(maintenance={"restart": window})


@scenario(with_a_window)
async def test_a_maintenance_window_mutes_and_pages_when_it_closes(system: Timeline) -> None:
    # The day begins at nine.
    closes = EPOCH.replace(hour=9, minute=30) - EPOCH - STARTS_WITHIN
    system.at(minutes=0).push(SLOW)
    system.want(At(closes), ALICE)
    await system.run(until=minutes(31))
    assert outcomes(system) == [("silenced", "maintenance")]
    assert [one.by for one in system.dispositions()] == ["restart"]


def inhibiting() -> Policy:
    return a_policy(
        inhibition={
            "rules": {
                "site-down": {
                    "source": ['alertname="SiteDown"'],
                    "target": ['alertname!="SiteDown"'],
                    "equal": ["site"],
                }
            }
        }
    )


SITE = an_alert("SiteDown", system="shop", severity="critical", site="eu")
HERE = an_alert("Down", system="shop", severity="critical", site="eu")
ELSEWHERE = an_alert("Down2", system="shop", severity="critical", site="us")


@scenario(inhibiting)
async def test_what_is_inhibited_pages_only_once_its_source_has_cleared(system: Timeline) -> None:
    system.at(minutes=0).push(SITE)
    system.at(minutes=1).acknowledge("alice", of="SiteDown")
    system.at(minutes=2).push(HERE)
    system.at(minutes=15).clear(SITE, began=at(minutes=0))
    system.want(at(minutes=0), ALICE)
    system.want(at(minutes=15), ALICE)
    await system.run(until=minutes(16))
    assert outcomes(system)[1] == ("inhibited", "inhibited")
    assert [one.by for one in system.dispositions()][1] == "site-down"


@scenario(inhibiting)
async def test_what_differs_in_what_must_be_equal_is_not_inhibited(system: Timeline) -> None:
    system.at(minutes=0).push(SITE)
    system.at(minutes=1).push(ELSEWHERE)
    system.want(at(minutes=0), ALICE)
    system.want(at(minutes=1), ALICE)
    await system.run(until=minutes(2))


@scenario(inhibiting)
async def test_a_source_in_the_same_delivery_inhibits_in_whatever_order(system: Timeline) -> None:
    system.at(minutes=0).push(HERE, SITE)
    system.want(at(minutes=0), ALICE)
    await system.run(until=minutes(2))
    assert sorted(outcomes(system)) == [("inhibited", "inhibited"), ("opened", "new_group")]


@scenario(inhibiting)
async def test_what_is_inhibited_later_is_not_escalated(system: Timeline) -> None:
    system.at(minutes=0).push(HERE)
    system.at(minutes=2).push(SITE)
    system.at(minutes=3).acknowledge("alice", of="SiteDown")
    system.want(at(minutes=0), ALICE)
    system.want(at(minutes=2), ALICE)
    await system.run(until=minutes(12))


def depending(**changes: Any) -> Policy:
    return a_policy(
        services={
            "api": {"title": "API", "depends_on": ["database"]},
            "web": {"title": "Web", "depends_on": ["api"]},
            "database": {"title": "Database"},
        },
        inhibition={"along_dependencies": True},
        **changes,
    )


DATABASE = an_alert("DatabaseDown", system="shop", severity="critical", service="database")
WEB = an_alert("WebErrors", system="shop", severity="critical", service="web")


@scenario(depending)
async def test_symptoms_join_the_incident_of_their_cause_and_page_nobody(
    system: Timeline,
) -> None:
    system.at(minutes=0).push(DATABASE)
    system.at(minutes=1).acknowledge("alice", of="DatabaseDown")
    system.at(minutes=2).push(WEB, DOWN)
    system.at(minutes=10).clear(WEB, DOWN, began=at(minutes=2))
    system.at(minutes=11).clear(DATABASE, began=at(minutes=0))
    system.want(at(minutes=0), ALICE)
    await system.run(until=minutes(30))
    assert begun(system) == ["DatabaseDown is firing"]
    assert outcomes(system)[1:3] == [("inhibited", "symptom")] * 2
    cause = system.incident("DatabaseDown")
    assert {one.incident for one in system.dispositions()[1:3]} == {cause.incident}
    assert {held.alert.name for held in cause.alerts.values() if held.guest} == {
        "WebErrors",
        "Down",
    }


@scenario(depending)
async def test_symptoms_page_when_the_cause_clears_before_they_do(system: Timeline) -> None:
    system.at(minutes=0).push(DATABASE)
    system.at(minutes=1).acknowledge("alice", of="DatabaseDown")
    system.at(minutes=2).push(WEB)
    system.at(minutes=11).clear(DATABASE, began=at(minutes=0))
    system.want(at(minutes=0), ALICE)
    system.want(at(minutes=11), ALICE)
    await system.run(until=minutes(12))
    assert begun(system) == ["DatabaseDown is firing", "WebErrors is firing"]


@scenario(depending)
async def test_symptoms_page_when_their_cause_is_resolved_by_hand(system: Timeline) -> None:
    system.at(minutes=0).push(DATABASE)
    system.at(minutes=2).push(WEB)
    system.at(minutes=4).resolve("alice", of="DatabaseDown")
    system.want(at(minutes=0), ALICE)
    system.want(at(minutes=4), ALICE)
    await system.run(until=minutes(5))


@scenario(depending)
async def test_a_mild_cause_keeps_no_page_from_anybody(system: Timeline) -> None:
    mild = an_alert("DatabaseSlow", system="shop", severity="info", service="database")
    system.at(minutes=0).push(mild)
    system.at(minutes=2).push(WEB)
    system.want(at(minutes=2), ALICE)
    await system.run(until=minutes(3))


@scenario(depending)
async def test_a_cause_that_comes_late_takes_over_the_escalation(system: Timeline) -> None:
    system.at(minutes=0).push(WEB)
    system.at(minutes=2).push(DATABASE)
    system.at(minutes=3).acknowledge("alice", of="DatabaseDown")
    system.want(at(minutes=0), ALICE)
    system.want(at(minutes=2), ALICE)
    await system.run(until=minutes(12))


def stormy() -> Policy:
    return a_policy(
        grouping={
            "by": ["alertname"],
            "reopen_within": "30m",
            "auto_resolve_after": "5m",
            "storm": {"alerts": 10, "severity": "minor"},
        }
    )


@scenario(stormy)
async def test_a_storm_is_one_incident_and_what_is_worse_gets_through(system: Timeline) -> None:
    noise = [an_alert(f"Noise{n}", system="shop", severity="info") for n in range(60)]
    system.at(minutes=0).push(*noise[:30])
    system.at(minutes=0, seconds=5).push(*noise[30:], DOWN)
    system.want(at(seconds=5), ALICE)
    await system.run(until=minutes(1))
    titles = begun(system)
    assert titles.count("Storm of alerts from alertmanager") == 1
    assert "Down is firing" in titles
    assert len(titles) == 12
    storm = next(state for state in system.incidents() if state.rule == "storm")
    assert storm.firing == 50


@scenario(stormy)
async def test_after_a_storm_alerts_have_incidents_of_their_own_again(system: Timeline) -> None:
    noise = [an_alert(f"Noise{n}", system="shop", severity="info") for n in range(30)]
    system.at(minutes=0).push(*noise)
    system.at(minutes=3).push(an_alert("Later", system="shop", severity="info"))
    await system.run(until=minutes(4))
    assert "Later is firing" in begun(system)


def correlating() -> Policy:
    return a_policy(
        grouping={
            "by": ["alertname"],
            "reopen_within": "30m",
            "auto_resolve_after": "5m",
            "correlate_within": "10m",
        }
    )


@scenario(correlating)
async def test_two_sources_that_speak_of_one_service_are_one_incident(system: Timeline) -> None:
    async def another_source() -> None:
        labels = {"alertname": "ApiErrors", "system": "shop", "service": "api"}
        await system.system.post(json.dumps([{"labels": labels}]).encode(), source="prometheus")

    system.at(minutes=0).push(DOWN)
    system.at(minutes=3).do("prometheus speaks", another_source)
    system.want(at(minutes=0), ALICE)
    await system.run(until=minutes(4))
    [first, second] = system.dispositions()
    assert (second.outcome, second.reason) == (Outcome.ATTACHED, "same_service")
    assert first.incident == second.incident is not None
    assert key_of(second.incident) == "shop"


def leasing() -> Policy:
    return a_policy(
        grouping={
            "by": ["alertname"],
            "reopen_within": "30m",
            "auto_resolve_after": "5m",
            "leases": {"alertmanager": "20m"},
        }
    )


@scenario(leasing)
async def test_an_alert_nobody_mentions_any_more_ends_with_its_lease(system: Timeline) -> None:
    alert = DOWN.began(EPOCH)
    system.at(minutes=0).push(alert)
    system.at(minutes=1).mitigate("alice")
    system.at(minutes=15).push(alert)
    system.want(at(minutes=0), ALICE)
    await system.run(until=minutes(60))
    state = system.incident()
    [held] = state.alerts.values()
    assert held.cleared_because == "lease_over"
    assert held.cleared_at == system.start + minutes(35)
    assert state.status is Status.RESOLVED


PODS = [
    an_alert("Down", system="shop", severity="critical", service="api", pod=str(number))
    for number in range(12_000)
]
"""More than one fact holds, of one group."""


def push_pods(system: Timeline) -> None:
    for first in range(0, len(PODS), 1_000):
        system.at(minutes=0).push(*(pod.began(EPOCH) for pod in PODS[first : first + 1_000]))


@scenario()
async def test_a_silence_over_twelve_thousand_alerts_mutes_them_and_lets_them_go(
    system: Timeline,
) -> None:
    push_pods(system)
    system.at(minutes=2).silence('alertname="Down"', duration=minutes(28))
    muted: list[int] = []

    async def look() -> None:
        held = system.incident().alerts.values()
        muted.append(sum(one.muting is not None for one in held))

    system.at(minutes=29).do("look", look)
    system.want(at(minutes=0), ALICE)
    system.want(at(minutes=30), ALICE)
    await system.run(until=minutes(31))
    assert muted == [len(PODS)]
    held = system.incident().alerts.values()
    assert [one.muting for one in held] == [None] * len(PODS)


@scenario(leasing)
async def test_twelve_thousand_leases_that_end_at_once_all_clear(system: Timeline) -> None:
    push_pods(system)
    system.at(minutes=1).mitigate("alice")
    system.want(at(minutes=0), ALICE)
    await system.run(until=minutes(60))
    state = system.incident()
    assert len(state.alerts) == len(PODS)
    assert {held.cleared_because for held in state.alerts.values()} == {"lease_over"}


@scenario(depending)
async def test_a_symptom_whose_cause_clears_goes_to_what_caused_that(system: Timeline) -> None:
    api = an_alert("ApiDown", system="shop", severity="critical", service="api")
    system.at(minutes=0).push(api)
    system.at(minutes=1).acknowledge("alice", of="ApiDown")
    system.at(minutes=2).push(WEB)
    system.at(minutes=3).push(DATABASE)
    system.at(minutes=4).acknowledge("alice", of="DatabaseDown")
    system.at(minutes=11).clear(api, began=at(minutes=0))
    system.want(at(minutes=0), ALICE)
    system.want(at(minutes=3), ALICE)
    await system.run(until=minutes(20))
    assert begun(system) == ["ApiDown is firing", "DatabaseDown is firing"]
    cause = system.incident("DatabaseDown")
    guests = [held for held in cause.alerts.values() if held.guest]
    assert [(one.alert.name, one.muting and one.muting.because) for one in guests] == [
        ("WebErrors", "symptom")
    ]

"""What an incident's own channel and ticket are called."""

from __future__ import annotations

from notifier.domain.wording import names_of
from tocsin_testkit.builders import an_incident
from tocsin_testkit.policies import a_policy


def test_a_policy_names_them() -> None:
    naming = {"channel": "inc-{{ severity }}-{{ opened_date }}", "ticket": "{{ title }}!"}
    names = names_of(an_incident(severity="critical"), a_policy(naming=naming))
    assert names == ("inc-critical-2026-03-02", "GlobalServiceUnavailable!")


def test_a_name_that_fails_on_this_incident_gives_way_to_the_default() -> None:
    naming = {"channel": "inc-{{ title < 1 }}", "ticket": "{{ components[0].name.first }}"}
    channel, ticket = names_of(an_incident(severity="critical"), a_policy(naming=naming))
    assert channel == "incident-2026-03-02-0900"
    assert isinstance(ticket, str)

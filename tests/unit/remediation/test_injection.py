"""Nothing an alert says reaches a runner but as a value that the policy bounds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from remediation.domain.duty import proposed_step
from remediation.domain.filling import Refused, allowed, fill, filled
from tocsin_contracts.incidents import Alert
from tocsin_incident import IncidentState
from tocsin_incident.state import HeldAlert
from tocsin_policy import Parameter, PlaybookStep, load_policy
from tocsin_policy.places import PLACEHOLDER
from tocsin_simulation.clock import EPOCH
from tocsin_testkit.builders import an_incident

ROOT = Path(__file__).resolve().parents[3]

INJECTIONS = {
    "shell": ("; rm -rf /", "$(id)", "`id`", "| nc evil 1", "a && b", "a\nb", "web-1 > /etc/x"),
    "option": ("--kubeconfig=/tmp/x", "-o=yaml", "+x", "web-1 --all"),
    "yaml": ("a: b\n- c", "!!python/object/apply:os.system", "&a [*a]", "web-1: {x: y}"),
    "json path": ("{.items[*]}", "$..*", "[?(@.x)]", "web-1}{.data"),
    "url": (
        "http://evil.example/",
        "//evil.example",
        "a@evil.example/",
        "..%2f..%2fadmin",
        "../../admin",
        "web-1?admin=1",
        "web-1#x",
        "web-1\\@evil",
    ),
    "promql": ('"} or up{a="', "1) or vector(1", 'web-1",job=~".*'),
    "sql": ("'; DROP TABLE jobs;--", "1 OR 1=1", "1--", "1/**/", "x' || 'y"),
    "template": ("{{ 7*7 }}", "{% raw %}", "${pod}", "%(name)s", "{0}", "${jndi:ldap://x}"),
    "text": ("", " ", "\x00", "\uff57\uff45\uff42-1", "web-1\u202e", "web-1\r\nX: y", "a" * 5000),
}
"""What people try, by what it is to reach."""

EVERY = [text for texts in INJECTIONS.values() for text in texts]


def shipped_steps() -> Iterator[tuple[str, PlaybookStep]]:
    for file in sorted((ROOT / "deploy" / "policies").glob("*/policy.yaml")):
        policy = load_policy(file)
        for playbook in policy.playbooks.values():
            for step in playbook.steps:
                yield f"{policy.system}/{playbook.id}/{step.id}", step


STEPS = dict(shipped_steps())
FILLED = {name: step for name, step in STEPS.items() if step.parameters}


def saying(text: str, *labels: str) -> IncidentState:
    """An incident of which everything that comes from outside says this."""
    named = dict.fromkeys(
        (*labels, "alertname", "service", "instance", "pod", "namespace", "cluster"), text
    )
    alert = Alert(
        fingerprint="0" * 16,
        starts_at=EPOCH,
        name=text,
        labels=named,
        annotations=dict.fromkeys(("summary", "description", "runbook_url", *labels), text),
        generator_url=text,
        source=text,
    )
    return an_incident().model_copy(
        update={
            "title": text or "-",
            "service": text,
            "group_key": text,
            "components": (text,),
            "alerts": {"one": HeldAlert(alert=alert)},
        }
    )


def reaching(state: IncidentState, step: PlaybookStep) -> list[dict[str, Any]]:
    """Every call of the step that a runner would get for this incident: its own, look and undo."""
    proposed = proposed_step(state, step)
    whole = filled(step, proposed.parameters)
    machine = proposed.runner != "manual"
    calls = [
        call
        for part in (whole, whole.verify, whole.undo)
        if part is not None
        for _, call in part.calls()
    ]
    documents = [call.model_dump(mode="json") for call in calls]
    # What is not filled is never called: a person does the step, and nobody looks.
    return [one for one in documents if machine or not PLACEHOLDER.search(str(one))]


@pytest.mark.parametrize("name", STEPS)
def test_what_an_alert_says_changes_no_call_of_any_shipped_step(name: str) -> None:
    step = STEPS[name]
    labels = [parameter.label for parameter in step.parameters.values()]
    nothing = reaching(an_incident().model_copy(update={"alerts": {}}), step)
    for text in EVERY:
        assert reaching(saying(text, *labels), step) == nothing, text


@pytest.mark.parametrize("name", FILLED)
@settings(deadline=None)
@given(text=st.text(max_size=300))
def test_only_a_plain_value_that_the_step_bounds_stands_in_a_call(name: str, text: str) -> None:
    step = FILLED[name]
    found = fill(step, [{parameter.label: text for parameter in step.parameters.values()}])
    if isinstance(found, Refused):
        return
    for parameter, value in found.values.items():
        held = step.parameters[parameter]
        assert value == held.default or allowed(held, value)


@pytest.mark.parametrize("pattern", [".*", "[\\s\\S]*", ".+", "[^x]*"])
@pytest.mark.parametrize("text", EVERY)
def test_a_pattern_that_lets_everything_through_lets_no_injection_through(
    pattern: str, text: str
) -> None:
    assert not allowed(Parameter(label="x", pattern=pattern), text)


@pytest.mark.parametrize("text", ["web-1", "shop_db", "10.0.0.7", "node:9100", "v1+2"])
def test_what_things_are_called_is_let_through(text: str) -> None:
    assert allowed(Parameter(label="x", pattern=".*"), text)

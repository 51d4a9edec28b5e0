"""A postmortem is filled from the log in the policy's own template, and cannot be abused by it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import pytest

from tocsin_contracts import incidents as facts
from tocsin_contracts.event import Fact
from tocsin_policy import Policy, PolicyRefused, Template
from tocsin_replay import Recorded, as_html, postmortem, postmortem_html
from tocsin_replay.postmortem import SECTIONS
from tocsin_runtime.records import Position
from tocsin_simulation.clock import EPOCH
from tocsin_testkit.builders import a_person, an_alert, an_event, an_opening
from tocsin_testkit.policies import a_policy


def _made(*happened: tuple[int, Fact]) -> Sequence[Recorded]:
    return [
        Recorded(an_event(fact, at=EPOCH + timedelta(seconds=at)), Position("i", 0, n), EPOCH)
        for n, (at, fact) in enumerate(happened)
    ]


RECORDED = _made(
    (0, an_opening(severity="critical", alerts=(an_alert("Down"),))),
    (60, facts.Acknowledged(by=a_person())),
    (90, facts.NoteAdded(by=a_person(), text="looked at it\n- Follow-up: test the backup\nso")),
    (600, facts.Resolved(by=a_person("bob"), text="rebooted")),
)


SEVERITIES = [
    {
        "name": "critical",
        "definition": "customers notice",
        "review": {"due_within": "2d", "template": "postmortem"},
    },
    {"name": "minor", "definition": "nobody notices"},
]


def _with(name: str, body: str) -> Policy:
    templates = {"postmortem": {"subject": "Postmortem", "body": "{{ timeline }}"}}
    templates[name] = {"subject": "A template", "body": body}
    return a_policy("mpc-transformer", severities=SEVERITIES, templates=templates)


def _policy(template: str) -> Policy:
    """A policy with this review template, past the loader, which would refuse most of them."""
    written = Template.model_construct(subject="Postmortem", body=template)
    policy = _with("postmortem", "to be replaced")
    return policy.model_copy(update={"templates": {"postmortem": written}})


def _own(policy: Policy) -> str:
    """What the policy's own template was filled to, without what it left out."""
    return postmortem(RECORDED, policy).partition("## What the log knows besides")[0].rstrip()


def test_a_policy_may_name_parts_for_people_in_its_review_and_nowhere_else() -> None:
    body = "{{ timeline }} {{ what_our_lawyers_say }}"
    assert _with("postmortem", body).templates["postmortem"].body == body
    with pytest.raises(PolicyRefused, match="unknown variable 'timeline'"):
        _with("opened", body)
    with pytest.raises(PolicyRefused, match="may not use a call"):
        _with("postmortem", "{{ title.upper() }}")


def test_the_policys_own_template_is_filled() -> None:
    policy = _policy("# {{ title }}\n\nTook {{ duration }}, {{ resolved_by }}.\n")
    assert _own(policy) == "# GlobalServiceUnavailable\n\nTook 10 min, Bob."


def test_a_placeholder_the_log_has_no_answer_to_is_for_people() -> None:
    policy = _policy("{{ what_our_lawyers_say }} {{ five_whys.first }}")
    assert _own(policy) == (
        "✎ _For people to write: what our lawyers say._ ✎ _For people to write: five whys first._"
    )


def test_a_table_in_the_middle_of_a_line_goes_below_it() -> None:
    written = _own(_policy("- **Impact**: {{ impact }}\nand {{ title }}\n"))
    assert written.startswith("- **Impact**: \n\n|  |  |\n|---|---|\n")
    assert written.endswith("and GlobalServiceUnavailable")


def test_action_items_below_the_head_of_a_table_are_its_rows() -> None:
    template = "| Action | Owner | Due |\n|---|---|---|\n{{ action_items }}\n"
    assert _own(_policy(template)).splitlines() == [
        "| Action | Owner | Due |",
        "|---|---|---|",
        "| test the backup (Alice, noted 09:01:30) | ✎ | ✎ |",
    ]


def test_what_a_template_does_not_ask_for_is_there_all_the_same() -> None:
    written = postmortem(RECORDED, _policy("# {{ title }}\n\n{{ timeline }}\n"))
    _, _, besides = written.partition("## What the log knows besides")
    for part in ("Times against targets", "Severity, and why", "Contributing alerts", "Notes"):
        assert f"### {part}" in besides
    assert "### Timeline" not in besides
    assert "### Remediation" not in besides, "there was none, and nobody asked"


def test_the_times_stand_beside_what_was_promised_and_aimed_at() -> None:
    severities = [
        {"name": "critical", "definition": "customers notice", "response_target": "30s"},
        {"name": "minor", "definition": "nobody notices"},
    ]
    success = {"time_to_detect": "5m", "time_to_resolve": {"critical": "15m"}}
    policy = a_policy("mpc-transformer", severities=severities, success=success)
    written = postmortem(RECORDED, policy)
    assert "| Acknowledge | opening to the first answer | 1 min | 30 s | **missed** |" in written
    assert "| Resolve | opening to the last resolution | 10 min | 15 min | met |" in written
    assert "| Mitigate | opening to mitigation | 10 min | - | none set |" in written


@pytest.mark.parametrize(("hours", "verdict"), [(1, "in time"), (24 * 7, "**late**")])
def test_a_review_is_in_time_or_late(hours: int, verdict: str) -> None:
    published = facts.Reviewed(by=a_person(), url="https://wiki.example/1")
    recorded = [*RECORDED, *_made((600 + hours * 3600, published))]
    written = postmortem(recorded, _policy("{{ policy }}"))
    assert f", {verdict}." in written


def test_every_section_can_be_asked_for() -> None:
    template = "\n\n".join(f"{{{{ {name} }}}}" for name in SECTIONS)
    assert "✎" not in postmortem(RECORDED, _policy(template))


@pytest.mark.parametrize(
    "template",
    [
        "{{ title * 1000000000 }}",
        "{{ title.__class__.__mro__ }}",
        "{{ title.upper() }}",
        "{% include '/etc/passwd' %}",
        "{{ unclosed",
        "{{ title | nonsense }}",
        "{{ title | center(10000000) }}",
    ],
)
def test_a_template_that_computes_calls_or_is_broken_costs_nobody_the_document(
    template: str,
) -> None:
    written = postmortem(RECORDED, _policy(template))
    assert "root:" not in written
    assert len(written) < 20_000
    assert "## Root cause" in written or "For people" in written


def test_action_items_come_from_notes() -> None:
    assert "- [ ] test the backup (Alice, noted 09:01:30)" in postmortem(RECORDED, a_policy())


def test_without_the_policy_there_is_a_postmortem_all_the_same() -> None:
    written = postmortem(RECORDED, None)
    assert "alice answered after 1 min" in written
    assert "does not hold the policy" in written


def test_what_alerts_and_people_write_is_shown_and_does_nothing() -> None:
    evil = "<img src=x onerror=alert(1)> | **bold** [x](javascript:alert(1)) `y`"
    recorded = _made(
        (0, an_opening(severity="critical", alerts=(an_alert("Down", pod=evil),))),
        (9, facts.Resolved(by=a_person(), text=evil)),
    )
    page = postmortem_html(recorded, None)
    assert "<img" not in page
    assert "href=" not in page
    assert "&lt;img src=x" in page
    for line in postmortem(recorded, None).splitlines():
        if line.startswith("| Down"):
            assert line.count(" | ") == 5


def test_html_inside_of_markdown_is_not_used() -> None:
    assert "<script>" not in as_html("<script>alert(1)</script>", "a page")


def test_there_is_no_postmortem_of_an_incident_nobody_opened() -> None:
    with pytest.raises(LookupError):
        postmortem((), None)


def test_the_same_log_gives_the_same_bytes() -> None:
    assert postmortem_html(RECORDED, a_policy()) == postmortem_html(RECORDED, a_policy())

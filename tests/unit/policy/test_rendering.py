"""A page goes out whatever its template meets."""

from __future__ import annotations

import pytest

from tocsin_policy.templates import render, template_faults
from tocsin_testkit.policies import a_policy

VALUES = {"severity": "critical", "title": "Down", "alerts": []}


@pytest.mark.parametrize(
    "text",
    [
        "{{ alerts[0].labels.pod }}",
        "{{ (alerts|first).labels.pod }}",
        "{{ title.nothing.at.all }}",
        "{{ level < 3 }}",
        "{{ level|length }}",
        "{% for one in level %}{{ one }}{% endfor %}",
    ],
)
def test_a_template_that_passes_validation_never_keeps_a_page_back(text: str) -> None:
    assert template_faults(text) == ()
    policy = a_policy(templates={"page": {"subject": "{{ title }}", "body": text}})
    message = render(policy, "page", VALUES | {"level": 1})
    assert "Down" in message.subject


def test_a_template_that_fails_gives_way_to_the_default() -> None:
    policy = a_policy(templates={"page": {"subject": "x", "body": "{{ level|length }}"}})
    assert render(policy, "page", VALUES | {"level": 1}).subject == "[critical] Down"

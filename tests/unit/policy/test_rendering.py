"""A page goes out whatever its template meets."""

from __future__ import annotations

import pytest

from tocsin_policy.templates import render, render_line, template_faults
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


def test_a_value_that_is_found_out_is_found_out_only_where_a_template_speaks_of_it() -> None:
    def found_out() -> str:
        raise AssertionError("nobody asked")

    variables = {"ticket": found_out, "channel": lambda: "inc-shop"}
    assert render_line("in {{ channel }}", variables) == "in inc-shop"
    with pytest.raises(AssertionError, match="nobody asked"):
        render_line("{% if ticket %}{{ ticket }}{% endif %}", variables)

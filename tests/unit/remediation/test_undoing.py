"""What was there before is put back as a value, whatever it is, or the step is a person's."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remediation.domain.describing import taken_back
from remediation.domain.plan import Planned, Ran, evidence
from remediation.domain.undoing import NotKnown, kept_of, remembering, undo_of, values_of
from tocsin_policy import AnyCall, Before, PlaybookStep

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)

UNDOS: dict[str, dict[str, Any]] = {
    "path": {"http": {"method": "PUT", "endpoint": "gateway", "path": "/limit/${was}/x"}},
    "body": {
        "http": {
            "method": "PUT",
            "endpoint": "gateway",
            "path": "/limit",
            "body": '{"limit": "${was}"}',
        }
    },
    "argument": {"command": {"program": "set-limit", "args": ["--to", "${was}"]}},
    "sql": {"sql": {"endpoint": "db", "statement": "UPDATE a SET b = ${was}", "writes": True}},
    "input": {
        "github": {"repository": "a/b", "workflow": "back.yml", "inputs": {"version": "${was}"}}
    },
}


LOOK = {"http": {"endpoint": "gateway", "path": "/limit"}}


def a_step(undo: dict[str, Any], **changes: Any) -> PlaybookStep:
    return PlaybookStep.model_validate(
        {
            "id": "limit",
            "title": "Limit",
            "runner": "http",
            "http": {"method": "POST", "endpoint": "gateway", "path": "/limit"},
            "risk": "disruptive",
            "approval": "one",
            "timeout": "10s",
            "before": {"http": {"endpoint": "gateway", "path": "/limit"}, "values": {"was": "/w"}},
            "undo": undo,
            **changes,
        }
    )


def back(place: str, value: object) -> AnyCall | NotKnown:
    found = undo_of(a_step(UNDOS[place]), {}, {"was": json.dumps(value)})
    return found if isinstance(found, NotKnown) else found.calls()[0][1]


@given(JSON)
def test_a_value_of_json_is_put_back_as_it_was(value: object) -> None:
    call = back("body", value)
    assert not isinstance(call, NotKnown)
    assert json.loads(str(call.body)) == {"limit": value}  # type: ignore[union-attr]


@given(JSON)
def test_what_goes_into_a_path_is_one_segment_or_nothing(value: object) -> None:
    call = back("path", value)
    if isinstance(call, NotKnown):
        return
    _, limit, segment, rest = call.path.split("/")  # type: ignore[union-attr]
    assert (limit, rest) == ("limit", "x")
    assert unquote(segment) == (value if isinstance(value, str) else json.dumps(value))
    assert "?" not in segment
    assert "#" not in segment


@given(JSON)
def test_what_goes_to_a_program_is_one_argument_and_no_option(value: object) -> None:
    call = back("argument", value)
    if isinstance(call, NotKnown):
        return
    assert call.args[0] == "--to"  # type: ignore[union-attr]
    (argument,) = call.args[1:]  # type: ignore[union-attr]
    assert not argument.startswith(("-", "@"))


@given(JSON)
def test_what_goes_into_sql_is_bound(value: object) -> None:
    call = back("sql", value)
    if isinstance(call, NotKnown):
        assert value is None
        return
    assert call.statement == "UPDATE a SET b = $1::text"  # type: ignore[union-attr]
    assert call.bound == (value if isinstance(value, str) else json.dumps(value),)  # type: ignore[union-attr]


@pytest.mark.parametrize("value", ["$(id)", "a;b", "`x`", "${was}", {"a": 1}, None])
def test_a_workflow_gets_a_plain_word_or_nothing(value: object) -> None:
    assert isinstance(back("input", value), NotKnown)


def test_what_was_put_in_is_not_looked_at_again() -> None:
    both = {
        "http": {
            "method": "PUT",
            "endpoint": "gateway",
            "path": "/limit",
            "body": '{"a": "${was}", "b": "${other}"}',
        }
    }
    step = a_step(both, before={**LOOK, "values": {"was": "/w", "other": "/o"}})
    found = undo_of(step, {}, {"was": '"${other}"', "other": '"secret"'})
    assert not isinstance(found, NotKnown)
    assert found.http is not None
    assert json.loads(found.http.body or "") == {"a": "${other}", "b": "secret"}


@pytest.mark.parametrize(
    ("pointer", "answer", "value"),
    [
        ("", "plain text\n", '"plain text"'),
        ("", "[1, 2]", "[1, 2]"),
        ("/a/0/b~1c~0d", '{"a": [{"b/c~d": null}]}', "null"),
        ("/", '{"": 5}', "5"),
    ],
)
def test_a_pointer_leads_into_an_answer(pointer: str, answer: str, value: str) -> None:
    before = Before.model_validate({**LOOK, "values": {"was": pointer}})
    assert values_of(before, answer) == {"was": value}


@pytest.mark.parametrize(
    ("pointer", "answer"),
    [
        ("/a", "{}"),
        ("/a", "text"),
        ("/0", "[]"),
        ("/-1", "[1]"),
        ("/a/b", '{"a": "b"}'),
        ("/a", ""),
    ],
)
def test_a_pointer_that_leads_nowhere_is_said_so(pointer: str, answer: str) -> None:
    before = Before.model_validate({**LOOK, "values": {"was": pointer}})
    found = values_of(before, answer)
    assert isinstance(found, NotKnown)
    assert found.reason == "before_not_found"


def test_another_value_before_is_another_plan() -> None:
    planned = Planned(targets=("a",), state="as it is", fingerprint="f")
    one, other = remembering(planned, {"was": "1"}), remembering(planned, {"was": "2"})
    assert len({planned.fingerprint, one.fingerprint, other.fingerprint}) == 3
    assert one.fingerprint == remembering(planned, {"was": "1"}).fingerprint
    assert one.state == "as it is\nbefore: was is 1"


def ended(reason: str, *, good: bool = False, changed: str = "", **told: int) -> Ran:
    """A run that ended."""
    shown = evidence("", timedelta(), **told)
    return Ran(good, reason, shown, {"uid": changed} if changed else {})


@pytest.mark.parametrize(
    ("ran", "kept"),
    [
        (ended("as_expected", good=True), {"was": "1"}),
        (ended("exit_code", exit_code=3), {"was": "1"}),
        (ended("unexpected_status", http_status=500), {"was": "1"}),
        (ended("unreachable"), {}),
        (ended("changed", good=True, changed="7"), {"uid": "7"}),
    ],
)
def test_what_began_may_have_changed_something_and_what_never_began_did_not(
    ran: Ran, kept: dict[str, str]
) -> None:
    assert kept_of(ran, {"was": "1"}) == kept


def test_the_catalogue_says_what_takes_a_step_back() -> None:
    step = a_step(UNDOS["path"])
    assert (
        taken_back(step) == "PUT gateway/limit/${was}/x, with what GET gateway/limit showed before"
    )
    for_good = step.model_copy(update={"undo": None, "before": None, "irreversible": True})
    assert taken_back(for_good) == "nothing: irreversible"

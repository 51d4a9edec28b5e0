"""Whatever an incident brings, it is a value where it stands, and changes nothing else."""

from __future__ import annotations

import ast
import json
import re
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tocsin_policy.matchers import compile_pattern
from tocsin_policy.places import placed, structure

INJECTIONS = (
    "; rm -rf / #",
    "$(id)",
    "`id`",
    "| cat /etc/passwd",
    "--all",
    "-oProxyCommand=id",
    "@/etc/passwd",
    "file:///etc/passwd",
    "../../admin",
    "..",
    "a/b",
    "a%2f..%2fb",
    "x?admin=1#y",
    "x@evil.example",
    '","role":"admin","x":"',
    '"}, {"a": "',
    "' OR '1'='1",
    "1; DROP TABLE users; --",
    '"} or vector(1) or {a="',
    ".*",
    "a|b",
    "*",
    "[a-z]*",
    "a\\",
    "${other}",
    "{{ 7 * 7 }}",
    "{%raw%}",
    "$.items[*]",
    "a: b\n- c",
    "!!python/object:os.system",
    "\x00",
    "\u202e",
    "a,b=c",
    "",
)
VALUES = st.sampled_from(INJECTIONS) | st.text(max_size=40)


def put(runner: str, fields: dict[str, Any], value: str) -> dict[str, Any] | None:
    """The call with the value in place of `${v}`; `None` if the value is refused."""
    try:
        return placed(runner, fields, {"v": value, "other": "must never show"})
    except ValueError:
        return None


@given(VALUES)
def test_in_a_path_it_is_one_segment_or_one_value_of_the_query(value: str) -> None:
    done = put("http", {"endpoint": "a", "path": "/r/${v}/health?x=${v}&y=1"}, value)
    if done is None:
        assert value in {"", ".", ".."} or "/" in value or "\\" in value or not is_text(value)
        return
    path, _, query = done["path"].partition("?")
    assert [unquote(part) for part in path.split("/")] == ["", "r", value, "health"]
    assert [unquote(part) for part in query.split("&")] == [f"x={value}", "y=1"]
    assert "#" not in done["path"]


@given(VALUES)
def test_in_a_body_it_is_a_string_of_json(value: str) -> None:
    body = '{"region": "${v}", "deep": [{"text": "to ${v}!"}], "n": 1}'
    done = put("http", {"endpoint": "a", "path": "/", "body": body}, value)
    assert done is not None
    wanted = {"region": value, "deep": [{"text": f"to {value}!"}], "n": 1}
    assert json.loads(done["body"]) == wanted


@given(VALUES)
def test_in_sql_it_is_bound_and_the_statement_does_not_know_it(value: str) -> None:
    statement = "UPDATE r SET up = false WHERE region = ${v} AND id < 5 OR name = ${v}"
    done = put("sql", {"endpoint": "a", "statement": statement}, value)
    assert done is not None
    wanted = "UPDATE r SET up = false WHERE region = $1::text AND id < 5 OR name = $1::text"
    assert (done["statement"], done["bound"]) == (wanted, [value])


@given(VALUES)
def test_in_promql_it_is_the_value_of_one_label(value: str) -> None:
    done = put("prometheus", {"query": 'sum(up{region="${v}",job="a"}) > 0'}, value)
    assert done is not None
    found = re.fullmatch(
        r'sum\(up\{region=("(?:[^"\\\n]|\\.)*"),job="a"\}\) > 0', done["query"], re.DOTALL
    )
    assert found is not None
    assert ast.literal_eval(found[1].replace("\r", "\\r").replace("\0", "\\x00")) == value


@given(VALUES.filter(lambda value: is_text(value) and "\n" not in value))
def test_in_a_regular_expression_of_promql_it_matches_itself_only(value: str) -> None:
    done = put("prometheus", {"query": "up{pod=~'api-${v}'}"}, value)
    assert done is not None
    found = re.fullmatch(r"up\{pod=~('(?:[^'\\\n]|\\.)*')\}", done["query"], re.DOTALL)
    assert found is not None
    pattern = ast.literal_eval(found[1].replace("\r", "\\r").replace("\0", "\\x00"))
    compiled = compile_pattern(pattern)
    assert compiled.fits(f"api-{value}")
    assert not compiled.fits(f"api-{value}x")


@given(VALUES)
def test_in_a_glob_it_matches_itself_only(value: str) -> None:
    done = put("redis", {"endpoint": "a", "pattern": "session:${v}*"}, value)
    assert done is not None
    literal = done["pattern"].removeprefix("session:").removesuffix("*")
    assert re.sub(r"\\(.)", r"\1", literal, flags=re.DOTALL) == value
    assert not re.search(r"(?<!\\)(\\\\)*[*?\[\]]", literal)


@given(VALUES)
def test_among_arguments_it_is_one_argument_and_no_option(value: str) -> None:
    args = ["describe", "pod", "${v}", "--namespace", "default"]
    done = put("command", {"program": "kubectl", "args": args}, value)
    if done is None:
        assert value.startswith(("-", "@", "file://", "fileb://"))
        return
    assert done["args"] == ["describe", "pod", value, "--namespace", "default"]


@given(VALUES)
def test_inside_an_argument_it_adds_no_second_value(value: str) -> None:
    args = [
        "rds",
        "modify-db-parameter-group",
        "--parameters",
        "ParameterName=a,ParameterValue=${v}",
    ]
    done = put("aws", {"args": args}, value)
    if done is not None:
        assert done["args"][3] == f"ParameterName=a,ParameterValue={value}"
        assert not set(",={}[]\"'") & set(value)


@given(VALUES)
def test_in_an_argument_of_json_it_is_a_string(value: str) -> None:
    args = ["route53", "change-resource-record-sets", "--change-batch", '{"Changes": ["${v}"]}']
    done = put("aws", {"args": args}, value)
    assert done is not None
    assert json.loads(done["args"][3]) == {"Changes": [value]}


@given(VALUES)
def test_in_an_input_of_a_workflow_it_is_a_plain_word(value: str) -> None:
    done = put(
        "github", {"repository": "a/b", "workflow": "c.yml", "inputs": {"region": "${v}"}}, value
    )
    if done is not None:
        assert done["inputs"] == {"region": value}
        assert not set("$`;|&<>\"'(){}\\\n\0*") & set(value)


@given(VALUES)
def test_in_a_kubernetes_call_it_is_part_of_a_name(value: str) -> None:
    fields = {
        "action": "set_env",
        "resource": "deployment/${v}",
        "selector": "app=${v}",
        "values": {"REGION": "${v}"},
    }
    done = put("kubernetes", fields, value)
    if done is not None:
        assert re.fullmatch(r"[A-Za-z0-9_.-]*", value)
        assert done["resource"] == f"deployment/{value}"


@pytest.mark.parametrize(
    ("runner", "fields"),
    [
        ("http", {"endpoint": "${v}", "path": "/"}),
        ("http", {"endpoint": "a", "path": "/", "body": '{"n": ${v}}'}),
        ("http", {"endpoint": "a", "path": "/", "body": '{"${v}": 1}'}),
        ("http", {"endpoint": "a", "path": "/", "body": "text=${v}"}),
        ("sql", {"endpoint": "a", "statement": "SELECT '${v}'"}),
        ("sql", {"endpoint": "a", "statement": "SELECT $1, ${v}"}),
        ("sql", {"endpoint": "a", "statement": "SELECT ${v}", "count": "SELECT ${v}"}),
        ("prometheus", {"query": "up > ${v}"}),
        ("prometheus", {"query": 'label_replace(up, "a", "${v}", "", "")'}),
        ("prometheus", {"query": "up{a=`${v}`}"}),
        ("command", {"program": "sh", "args": ["-c", "restart ${v}"]}),
        ("command", {"program": "kubectl", "args": ["exec", "p", "--", "/bin/sh", "-c", "${v}"]}),
        ("command", {"program": "${v}", "args": []}),
        ("aws", {"args": ["s3", "ls"], "profile": "${v}"}),
        ("kubernetes", {"action": "set_env", "values": {"${v}": "x"}}),
        ("github", {"repository": "a/b", "workflow": "c.yml", "inputs": {"${v}": "x"}}),
    ],
)
def test_a_place_where_it_could_be_more_is_refused_whatever_the_value(
    runner: str, fields: dict[str, Any]
) -> None:
    with pytest.raises(ValueError, match=r"parameter|value"):
        structure(runner, fields)


def is_text(value: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in value)

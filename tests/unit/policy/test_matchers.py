"""Matchers mean what Alertmanager's tool says they mean."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tocsin_policy import MatcherError, matches, parse_matchers

ORACLE = json.loads((Path(__file__).parent / "matchers_by_amtool.json").read_text())


@pytest.mark.parametrize("case", ORACLE["cases"], ids=lambda case: repr(case["matcher"]))
def test_a_matcher_is_read_as_amtool_reads_it(case: dict[str, Any]) -> None:
    if case["refused"]:
        with pytest.raises(MatcherError):
            parse_matchers(case["matcher"])
        return

    matchers = parse_matchers(case["matcher"])

    assert [matches(matchers, labels) for labels in ORACLE["labels"]] == case["fits"]


@pytest.mark.parametrize("case", ORACLE["cases"], ids=lambda case: repr(case["matcher"]))
def test_a_matcher_written_out_is_read_as_itself(case: dict[str, Any]) -> None:
    if not case["refused"]:
        for matcher in parse_matchers(case["matcher"]):
            assert parse_matchers(str(matcher)) == (matcher,)


@pytest.mark.parametrize(
    ("text", "column"), [('a="b"c"', 5), ('x="y",!', 7), ('a=~"("', 4), ("  b", 3)]
)
def test_a_refusal_names_the_column(text: str, column: int) -> None:
    with pytest.raises(MatcherError) as refused:
        parse_matchers(text)

    assert refused.value.column == column

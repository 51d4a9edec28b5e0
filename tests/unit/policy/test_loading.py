"""A policy is taken whole or refused with the place and the fix."""

from __future__ import annotations

from pathlib import Path

import jsonschema_rs
import pytest
from ruamel.yaml import YAML

from tocsin_policy import (
    Policy,
    PolicyRefused,
    json_schema,
    load_policy,
    parse_policy,
    policy_document,
    policy_hash,
    read_policy,
)

HERE = Path(__file__).parent
BROKEN = sorted((HERE / "broken").glob("*.yaml"))


def the_shop() -> Policy:
    return load_policy(HERE / "shop.yaml")


@pytest.mark.parametrize("file", BROKEN, ids=lambda file: file.stem)
def test_a_broken_policy_is_refused_with_its_place_and_the_fix(file: Path) -> None:
    with pytest.raises(PolicyRefused) as refused:
        read_policy(file.read_text(), file.name)

    assert f"{refused.value}\n" == file.with_suffix(".txt").read_text()


def test_every_problem_is_told_at_once_in_the_order_of_the_file() -> None:
    text = (HERE / "shop.yaml").read_text()
    text = text.replace("contact:alice", "contact:bob").replace("playbook: restart", "playbook: x")

    with pytest.raises(PolicyRefused) as refused:
        read_policy(text)

    assert [problem.line for problem in refused.value.problems] == [15, 28]


def test_a_document_brings_back_the_policy_it_was_made_from() -> None:
    assert parse_policy(policy_document(the_shop())) == the_shop()


def test_a_document_with_a_dead_reference_is_refused_too() -> None:
    document = policy_document(the_shop())
    document["classification"]["default"] = "P7"

    with pytest.raises(PolicyRefused, match=r"classification\.default: unknown severity 'P7'"):
        parse_policy(document)


def test_comments_and_order_of_keys_do_not_change_the_hash_but_content_does() -> None:
    text = (HERE / "shop.yaml").read_text()
    owner = "owner: Shop team\n"
    moved = text.replace(owner, "") + "# at the end\n" + owner

    assert policy_hash(read_policy(moved)) == policy_hash(the_shop())
    assert policy_hash(read_policy(text.replace("30m", "31m"))) != policy_hash(the_shop())


def test_the_schema_for_editors_takes_what_the_loader_takes() -> None:
    schema = jsonschema_rs.validator_for(json_schema())
    document = YAML(typ="safe", pure=True).load((HERE / "shop.yaml").read_text())
    document["schedules"]["primary"]["layers"][0]["start"] = "2026-01-05"

    schema.validate(document)
    assert not schema.is_valid({**document, "ownr": "x"})


def test_aliases_that_multiply_are_refused() -> None:
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 8)
    )

    with pytest.raises(PolicyRefused, match="more than 100000 values"):
        read_policy(bomb)


@pytest.mark.parametrize("text", ["[" * 5_000, "{a: " * 3_000])
def test_a_document_nested_too_deeply_is_refused(text: str) -> None:
    with pytest.raises(PolicyRefused, match="nested too deeply"):
        read_policy(text)


def test_a_file_that_is_no_utf_8_is_refused_at_its_byte(tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_bytes("version: 1\nowner: Zoë\n".encode("latin-1"))
    with pytest.raises(PolicyRefused) as refused:
        load_policy(file)
    [problem] = refused.value.problems
    assert (problem.line, problem.column) == (2, 10)
    assert problem.message == "no UTF-8: byte 0xeb; save the file as UTF-8"


MEANS = ["mail", {"channel": "text", "after": "2m"}]


def test_a_means_with_a_wait_comes_back_from_a_document_and_the_schema_knows_both_ways() -> None:
    document = policy_document(the_shop())
    document["channels"]["mail"] = {"kind": "email", "endpoint": "mail"}
    document["channels"]["text"] = {"kind": "sms", "endpoint": "text"}
    document["contacts"]["alice"]["channels"] = MEANS
    policy = parse_policy(document)

    assert policy.contacts["alice"].channel_names == ("mail", "text")
    assert policy_document(policy)["contacts"]["alice"]["channels"] == MEANS
    assert parse_policy(policy_document(policy)) == policy
    schema = jsonschema_rs.validator_for(json_schema())
    schema.validate(document)
    document["contacts"]["alice"]["channels"] = [{"channel": "text", "aftr": "2m"}]
    assert not schema.is_valid(document)


def test_a_policy_that_was_in_force_stays_so_though_a_means_of_it_has_no_address() -> None:
    document = policy_document(the_shop())
    document["channels"]["mail"] = {"kind": "email", "endpoint": "mail"}
    document["contacts"]["alice"]["channels"] = ["mail"]

    assert parse_policy(document).contacts["alice"].channel_names == ("mail",)

"""AWS steps: argv as the policy has it, the operator's profile, and what exit codes mean."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from remediation.adapters.aws_runner import AwsRunner
from remediation.adapters.command_runner import Program, Programs
from remediation.domain.plan import Lost, Planned, Ran
from tocsin_policy import AwsCall
from tocsin_runtime.clock import SystemClock
from tocsin_testkit import aws_double

LONG = timedelta(seconds=30)
RESIZE = "rds modify-db-instance --db-instance-identifier shop --db-instance-class db.r6g.2xlarge"
REBOOT = "ec2 reboot-instances --instance-ids i-1234567890abcdef0"


@dataclass
class Account:
    folder: Path

    def __post_init__(self) -> None:
        self.file = self.folder / "account.json"
        self.save(
            profile="production-admin",
            requests=[],
            changes=0,
            databases={"shop": {"DBInstanceClass": "db.r6g.large"}},
        )
        self.program = self.folder / "aws"
        self.program.write_text(f'#!/bin/sh\nexec {sys.executable} -I {aws_double.__file__} "$@"\n')
        self.program.chmod(0o700)

    def load(self) -> dict[str, Any]:
        account: dict[str, Any] = json.loads(self.file.read_text())
        return account

    def save(self, **fields: object) -> None:
        held = self.load() if self.file.exists() else {}
        self.file.write_text(json.dumps(held | fields))

    def runner(self, profile: str = "production-admin") -> AwsRunner:
        aws = Program(str(self.program), {"AWS_DOUBLE_ACCOUNT": str(self.file)})
        return AwsRunner(Programs({"aws": aws}), {"prod": profile}, SystemClock())


@pytest.fixture
def account(tmp_path: Path) -> Account:
    return Account(tmp_path)


def a_call(line: str) -> AwsCall:
    return AwsCall(profile="prod", args=tuple(line.split()))


def verdict(outcome: Ran | Lost | Planned) -> tuple[bool, str]:
    assert isinstance(outcome, Ran), outcome
    return outcome.succeeded, outcome.reason


async def test_a_plan_is_a_dry_run_where_the_operation_has_one(account: Account) -> None:
    planned = await account.runner().plan(a_call(REBOOT), LONG)
    assert isinstance(planned, Planned), planned
    assert "DryRunOperation" in planned.state
    assert planned.diff == f"aws {REBOOT}"
    assert account.load()["requests"] == [[*REBOOT.split(), "--dry-run"]]
    assert account.load()["changes"] == 0


async def test_a_plan_shows_the_target_where_there_is_no_dry_run(account: Account) -> None:
    planned = await account.runner().plan(a_call(RESIZE), LONG)
    assert isinstance(planned, Planned), planned
    assert "db.r6g.large" in planned.state
    assert planned.targets == ("aws:prod/rds/shop",)
    look = "rds describe-db-instances --db-instance-identifier shop"
    assert account.load()["requests"] == [look.split()]


async def test_a_plan_of_a_target_that_is_gone_says_so(account: Account) -> None:
    planned = await account.runner().plan(a_call(RESIZE.replace("shop", "gone")), LONG)
    assert verdict(planned) == (False, "refused")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("rds delete-everything --now", "invalid_arguments"),
        ("rds modify-db-instance --db-instance-class x", "invalid_arguments"),
        (RESIZE.replace("shop", "gone"), "refused"),
    ],
)
async def test_what_aws_refuses_is_known_to_have_done_nothing(
    account: Account, line: str, reason: str
) -> None:
    assert verdict(await account.runner().run(a_call(line), LONG)) == (False, reason)
    assert account.load()["changes"] == 0


async def test_a_profile_aws_does_not_know_did_nothing(account: Account) -> None:
    outcome = await account.runner("another").run(a_call(RESIZE), LONG)
    assert verdict(outcome) == (False, "not_configured")


@pytest.mark.parametrize(
    ("fate", "line", "expected"),
    [
        ("away", RESIZE, "exit_code"),
        ("lost", RESIZE, Lost("exit_255")),
        ("lost", "sts get-caller-identity", "exit_code"),
    ],
)
async def test_an_answer_that_is_lost_leaves_doubt_where_something_may_have_changed(
    account: Account, fate: str, line: str, expected: str | Lost
) -> None:
    account.save(fate=fate)
    outcome = await account.runner().run(a_call(line), LONG)
    assert (outcome if isinstance(outcome, Lost) else outcome.reason) == expected

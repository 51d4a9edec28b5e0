"""AWS steps: the AWS command line, by the command runner, under a profile the operator named."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from remediation.adapters.command_runner import Ended, NotStarted, Programs
from remediation.adapters.outcomes import LOOK_EVERY, Timer, failed, fingerprint, no_undo, until
from remediation.domain.plan import Lost, Planned, Ran, evidence
from tocsin_policy import AwsCall
from tocsin_runtime.ports import Clock

_PROGRAM = "aws"
_DRY = {"ec2": "--dry-run", "s3": "--dryrun"}
"""Services whose every changing operation can be tried without doing it."""
_S3_DRY = frozenset({"cp", "mv", "rm", "sync"})

_SEEN_BY: Mapping[tuple[str, str], tuple[str, str, str]] = {
    ("rds", "modify-db-instance"): (
        "describe-db-instances",
        "--db-instance-identifier",
        "--db-instance-identifier",
    ),
    ("rds", "reboot-db-instance"): (
        "describe-db-instances",
        "--db-instance-identifier",
        "--db-instance-identifier",
    ),
    ("rds", "promote-read-replica"): (
        "describe-db-instances",
        "--db-instance-identifier",
        "--db-instance-identifier",
    ),
    ("rds", "modify-db-parameter-group"): (
        "describe-db-parameters",
        "--db-parameter-group-name",
        "--db-parameter-group-name",
    ),
    ("rds", "restore-db-instance-to-point-in-time"): (
        "describe-db-instances",
        "--db-instance-identifier",
        "--source-db-instance-identifier",
    ),
    ("rds", "restore-db-instance-from-db-snapshot"): (
        "describe-db-snapshots",
        "--db-snapshot-identifier",
        "--db-snapshot-identifier",
    ),
    ("route53", "change-resource-record-sets"): (
        "list-resource-record-sets",
        "--hosted-zone-id",
        "--hosted-zone-id",
    ),
    ("cloudfront", "create-invalidation"): ("get-distribution", "--id", "--distribution-id"),
}
"""Of each changing operation: the one that shows what it changes, its option, and ours."""

# Exit codes as the AWS CLI's user guide gives them.
_SYNTAX, _CONFIGURATION, _SERVICE = 252, 253, 254
_WOULD = "DryRunOperation"


class AwsRunner:
    """Runs `aws` with a profile, no pager, no prompt, and no second try of what changes something.

    A plan tries the operation with `--dry-run` where it has that, and else shows what it would
    change as it is.

    Args:
        profiles: Profile a policy names -> profile of the AWS configuration.
    """

    def __init__(
        self,
        programs: Programs,
        profiles: Mapping[str, str],
        clock: Clock,
        *,
        look_every: timedelta = LOOK_EVERY,
    ) -> None:
        self._programs = programs
        self._profiles = profiles
        self._clock = clock
        self._look_every = look_every

    async def plan(self, call: AwsCall, timeout: timedelta) -> Planned | Ran:
        """What it would do, by a dry run or by a look at its target."""
        if call.profile not in self._profiles:
            return _no_profile(call)
        shown = " ".join(("aws", *call.args))
        if call.looks:
            return Planned(state=shown, fingerprint=fingerprint(shown))
        tried = _tried(call)
        if tried is not None:
            state = await self._look(call, tried, timeout, dry=True)
        elif (seen := _seen_by(call)) is not None:
            state = await self._look(call, seen, timeout, dry=False)
        else:
            state = "nobody can say what it changes"
        if isinstance(state, Ran):
            return state
        service, operation = call.args[:2]
        named = next((arg for arg in call.args[2:] if not arg.startswith("-")), operation)
        return Planned(
            targets=(f"aws:{call.profile}/{service}/{named}",),
            state=state,
            diff=shown,
            pods=1,
            fingerprint=fingerprint(shown, "" if tried is not None else state),
        )

    async def run(self, call: AwsCall, timeout: timedelta) -> Ran | Lost:
        """Run it once."""
        return await self._run(call, call.args, timeout, reads=call.looks)

    async def verify(self, call: AwsCall, timeout: timedelta) -> Ran | Lost:
        """Run it until it succeeds; only an operation that reads may be run."""
        if not call.looks:
            return failed("not_a_look", f"{' '.join(call.args[:2])} changes something")
        return await until(
            lambda left: self.run(call, left), timeout, self._clock, self._look_every
        )

    async def undo(
        self, call: AwsCall, changed: Mapping[str, str], timeout: timedelta
    ) -> Ran | Lost:
        """Nothing: only another operation, which the playbook names, takes an operation back."""
        del call, changed, timeout
        return no_undo("only another operation takes an operation back")

    async def _look(
        self, call: AwsCall, args: tuple[str, ...], timeout: timedelta, *, dry: bool
    ) -> str | Ran:
        seen = await self._run(call, args, timeout, reads=True)
        if isinstance(seen, Lost):
            return failed(seen.reason, "the plan got no answer")
        # EC2 says by an error that it would have done it.
        if seen.succeeded or (dry and _WOULD in seen.evidence.output):
            return seen.evidence.output
        return seen

    async def _run(
        self, call: AwsCall, args: tuple[str, ...], timeout: timedelta, *, reads: bool
    ) -> Ran | Lost:
        profile = self._profiles.get(call.profile)
        if profile is None:
            return _no_profile(call)
        timer = Timer(self._clock)
        environment = {
            "AWS_PROFILE": profile,
            "AWS_PAGER": "",
            "AWS_CLI_AUTO_PROMPT": "off",
            "AWS_DEFAULT_OUTPUT": "json",
            "AWS_MAX_ATTEMPTS": "3" if reads else "1",
        }
        ended = await self._programs.run(_PROGRAM, args, timeout, environment)
        match ended:
            case Lost(reason):
                return failed(reason, "no answer", timer.took()) if reads else ended
            case NotStarted(reason, detail):
                return failed(reason, detail)
            case Ended(code, output):
                return _judged(code, output, timer.took(), reads=reads)


def _tried(call: AwsCall) -> tuple[str, ...] | None:
    service, operation = call.args[:2]
    if service not in _DRY or (service == "s3" and operation not in _S3_DRY):
        return None
    return (*call.args, _DRY[service])


def _seen_by(call: AwsCall) -> tuple[str, ...] | None:
    service, operation = call.args[:2]
    seen = _SEEN_BY.get((service, operation))
    if seen is None:
        return None
    look, option, ours = seen
    if ours not in call.args[:-1]:
        return None
    return (service, look, option, call.args[call.args.index(ours) + 1], *_region(call))


def _region(call: AwsCall) -> tuple[str, ...]:
    if "--region" not in call.args[:-1]:
        return ()
    return "--region", call.args[call.args.index("--region") + 1]


def _judged(code: int, output: str, took: timedelta, *, reads: bool) -> Ran | Lost:
    words = {
        0: "as_expected",
        _SYNTAX: "invalid_arguments",
        _CONFIGURATION: "not_configured",
        _SERVICE: "refused",
    }
    if code not in words and not reads and "Could not connect to the endpoint" not in output:
        # Killed, half of a transfer, or an answer that never came.
        return Lost(f"exit_{code}" if code > 0 else "killed")
    shown = evidence(output, took, exit_code=code)
    told = output if reads else ""
    return Ran(code == 0, words.get(code, "exit_code"), shown, answer=told)


def _no_profile(call: AwsCall) -> Ran:
    return failed("profile_not_configured", f"no settings for profile {call.profile!r}")

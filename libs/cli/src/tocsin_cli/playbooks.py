"""`tocsin playbook`: what playbooks there are, what they would do, and leave to do it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from tocsin_cli import connection
from tocsin_cli.exits import NotFound
from tocsin_cli.printing import Incident, Json, console, print_json, shown
from tocsin_contracts.event import Person
from tocsin_incident import IncidentState
from tocsin_incident.state import Approval, Remediation, RemediationStatus, Step, StepStatus
from tocsin_policy import Playbook, PlaybookStep, Policy, load_policy
from tocsin_runtime.clock import SystemClock

playbook_app = typer.Typer(
    help="Playbooks: what there is, what is planned, approvals.", no_args_is_help=True
)

By = Annotated[str, typer.Option("--by", help="Who answers: a contact id of the policy.")]
Reason = Annotated[str, typer.Option("--reason", "-m", help="Why.")]
Files = Annotated[
    list[Path] | None, typer.Option("--policy", help="Policy files, if not those in force.")
]
System = Annotated[str | None, typer.Option("--system", help="Of this system only.")]
Which = Annotated[
    str | None, typer.Option("--remediation", help="Its id; the newest that stands without it.")
]
StepId = Annotated[
    str | None, typer.Argument(help="Step id; the next one without it.", metavar="STEP")
]


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.add_typer(playbook_app, name="playbook")


# What there is.


def _policies(files: Sequence[Path] | None, system: str | None) -> list[Policy]:
    if files:
        policies = [load_policy(file) for file in files]
    else:
        from tocsin_replay import read_policies  # noqa: PLC0415 - only where it is asked

        versions = asyncio.run(connection.with_reader(read_policies))
        policies = list({version.policy.system: version.policy for version in versions}.values())
    return sorted(
        (policy for policy in policies if system in {None, policy.system}),
        key=lambda policy: policy.system,
    )


@playbook_app.command("list")
def playbook_list(policy: Files = None, system: System = None, as_json: Json = False) -> None:
    """Every playbook: what it is for, how many of its steps a machine runs, its worst risk."""
    from remediation.domain.describing import worst_risk  # noqa: PLC0415 - only where it is asked

    rows = [
        {
            "system": held.system,
            "playbook": playbook.id,
            "title": playbook.title,
            "steps": len(playbook.steps),
            "by_machine": sum(step.runner != "manual" for step in playbook.steps),
            "risk": worst_risk(playbook),
        }
        for held in _policies(policy, system)
        for playbook in held.playbooks.values()
    ]
    if as_json:
        print_json(rows)
        return
    table = Table("system", "playbook", "title", "steps", "by machine", "worst risk", box=None)
    for row in rows:
        table.add_row(*(str(value) for value in row.values()))
    console.print(table if rows else "no playbook")


@playbook_app.command("show")
def playbook_show(
    name: Annotated[str, typer.Argument(help="Playbook id.", metavar="PLAYBOOK")],
    policy: Files = None,
    system: System = None,
    as_json: Json = False,
) -> None:
    """A playbook step by step: calls, risk, approval, verification, undo."""
    found = [
        (held, held.playbooks[name]) for held in _policies(policy, system) if name in held.playbooks
    ]
    if not found:
        raise NotFound(f"no policy has a playbook {name!r}; `tocsin playbook list` shows all")
    documents = [
        {"system": held.system, "playbook": name, "steps": [_row(step) for step in playbook.steps]}
        for held, playbook in found
    ]
    if as_json:
        print_json(documents)
        return
    for held, playbook in found:
        table = Table(title=f"{held.system}: {playbook.title}", title_justify="left")
        for column in ("step", "does", "risk", "approval", "seen to work by", "taken back by"):
            table.add_column(column, overflow="fold")
        for step in playbook.steps:
            row = _row(step)
            table.add_row(*(str(row[name]) for name in _SHOWN))
        console.print(table)


_SHOWN = ("step", "call", "risk", "approval", "verification", "undo")


def _row(step: PlaybookStep) -> dict[str, Any]:
    from remediation.domain.describing import described  # noqa: PLC0415 - only where it is asked

    return described(step)


# What an incident's are.


def _state(incident: str) -> tuple[IncidentState, Policy | None]:
    from tocsin_replay import read_incident, read_policies, state_of  # noqa: PLC0415 - as above

    recorded = asyncio.run(connection.with_reader(lambda reader: read_incident(reader, incident)))
    state = state_of(recorded) if recorded else None
    if state is None:
        raise NotFound(f"the log does not know incident {incident}")
    versions = asyncio.run(
        connection.with_reader(lambda reader: read_policies(reader, state.system))
    )
    return state, versions[-1].policy if versions else None


@playbook_app.command("plan")
def playbook_plan(incident: Incident, as_json: Json = False) -> None:
    """What an incident's playbook would do: calls, targets, what would change, who has agreed."""
    state, policy = _state(incident)
    if as_json:
        print_json(
            [
                held.model_dump(mode="json", exclude_none=True)
                for held in state.remediations.values()
            ]
        )
        return
    if not state.remediations:
        console.print("no playbook is proposed")
        return
    now = SystemClock().now()
    for remediation in state.remediations.values():
        said = f" ({remediation.reason})" if remediation.reason else ""
        console.print(
            f"[bold]{remediation.playbook}[/bold] {remediation.status}{said}"
            f"  {remediation.remediation}"
        )
        for step in remediation.steps:
            _print_step(state, remediation, step, policy, now)


def _print_step(
    state: IncidentState,
    remediation: Remediation,
    step: Step,
    policy: Policy | None,
    now: datetime,
) -> None:
    proposed = step.proposed
    console.print(
        f"  {proposed.step}: {step.status}, {proposed.risk}, approval {proposed.approval}",
        markup=False,
        highlight=False,
    )
    for line in step_lines(step):
        console.print(f"      {line}", markup=False, highlight=False)
    definition = _definition(policy, remediation, proposed.step)
    if policy is None or definition is None:
        return
    from remediation.domain.envelope import verdicts  # noqa: PLC0415 - only where it is asked

    for verdict in verdicts(state, step, definition, policy, now):
        how = f"does not count: {verdict.reason}" if verdict.reason else "counts"
        when = shown(verdict.approval.at)
        console.print(f"      {verdict.contact} agreed at {when} UTC: {how}", markup=False)


def _definition(policy: Policy | None, remediation: Remediation, step: str) -> PlaybookStep | None:
    playbook = policy.playbooks.get(remediation.playbook) if policy is not None else None
    return next((one for one in playbook.steps if one.id == step), None) if playbook else None


def step_lines(step: Step) -> list[str]:
    """What people read of a step before they agree."""
    proposed, plan, hold = step.proposed, step.plan, step.hold
    lines = [f"does: {proposed.call}"]
    if proposed.by_hand:
        lines.append(f"by hand: {proposed.by_hand}")
    if plan is not None and plan.refused:
        lines.append(f"by hand: {plan.refused} {plan.detail}")
    elif plan is not None:
        lines.append(f"plan {plan.number}: acts on {', '.join(plan.targets) or 'nothing'}")
        if plan.pods is not None:
            share = f", {plan.share:.0%} of all" if plan.share is not None else ""
            lines.append(f"touches {plan.pods}{share}")
        lines += [f"now | {line}" for line in plan.state.splitlines()]
        lines += [f"diff| {line}" for line in plan.diff.splitlines()]
    if proposed.verification:
        lines.append(f"seen to work by: {proposed.verification}")
    if proposed.undo:
        lines.append(f"taken back by: {proposed.undo}")
    if hold is not None and not hold.released:
        until = f", again at {shown(hold.retry_at)} UTC" if hold.retry_at else ""
        lines.append(f"waits: {hold.reason}, {hold.detail}{until}")
    if step.looked:
        lines.append(f"a look shows it {step.looked.replace('_', ' ')}")
    if step.reason:
        lines.append(f"ended: {step.reason}")
    return lines


# What would be done, tried from here.

_PATIENCE = timedelta(seconds=30)
"""Somebody waits for the answer."""


@playbook_app.command("run")
def playbook_run(
    name: Annotated[str, typer.Argument(help="Playbook id.", metavar="PLAYBOOK")],
    policy: Annotated[Path, typer.Option("--policy", help="The policy's file.")],
    label: Annotated[
        list[str] | None, typer.Option("--label", "-l", help="name=value, as an alert has it.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only plan; nothing is changed.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Plan every step with the runners that this machine's settings have; changes nothing."""
    if not dry_run:
        raise ValueError(
            "a step runs when people approve it in its incident: `tocsin playbook approve`; "
            "to see what it would do from here, add --dry-run"
        )
    held = load_policy(policy)
    if name not in held.playbooks:
        raise NotFound(f"the policy has no playbook {name!r}")
    labels = dict(text.partition("=")[::2] for text in label or [])
    rows = asyncio.run(_tried(held.playbooks[name], labels))
    if as_json:
        print_json(rows)
        return
    for row in rows:
        console.print(f"[bold]{row['step']}[/bold] {row['risk']}: {row['verdict']}")
        for line in row["lines"]:
            console.print(f"    {line}", markup=False, highlight=False)


async def _tried(playbook: Playbook, labels: dict[str, str]) -> list[dict[str, Any]]:
    from remediation.domain.describing import taken_back  # noqa: PLC0415 - only where it is asked
    from remediation.domain.filling import Refused, fill  # noqa: PLC0415 - as above
    from remediation.domain.plan import Ran, call_text  # noqa: PLC0415 - as above
    from remediation.running import Runners  # noqa: PLC0415 - as above
    from remediation.settings import RemediationSettings  # noqa: PLC0415 - as above
    from remediation.wiring import runners  # noqa: PLC0415 - as above

    settings = RemediationSettings(kafka_bootstrap="unused:9092")
    each = runners(settings, SystemClock())
    rows: list[dict[str, Any]] = []
    for step in playbook.steps:
        row: dict[str, Any] = {"step": step.id, "risk": step.risk, "lines": []}
        rows.append(row)
        whole = fill(step, [labels])
        if isinstance(whole, Refused):
            row["verdict"] = f"by hand: {whole.reason}"
            continue
        row["lines"].append(f"does: {call_text(whole.step)}")
        missing = [runner for runner, _ in whole.step.calls() if runner not in each]
        if missing or not whole.step.calls():
            why = f": nothing here runs {missing[0]} steps" if missing else ""
            row["verdict"] = f"by hand{why}"
            continue
        timeout = min(step.timeout, _PATIENCE)
        planned = whole.step.model_copy(update={"timeout": timeout})
        made = await Runners(each).plan(planned, whole.values)
        if isinstance(made, Ran):
            row["verdict"] = f"cannot be planned: {made.reason}"
            row["lines"] += made.evidence.output.splitlines()[:20]
            continue
        row["verdict"] = "planned"
        row |= {
            "targets": list(made.targets),
            "pods": made.pods,
            "share": made.share,
            "fingerprint": made.fingerprint,
            "before": dict(made.before),
        }
        row["lines"] += [f"acts on: {target}" for target in made.targets]
        row["lines"] += [f"now | {line}" for line in made.state.splitlines()]
        row["lines"] += [f"diff| {line}" for line in made.diff.splitlines()]
        row["lines"].append(f"taken back by: {taken_back(whole.step)}")
    return rows


# Answers.


def _chosen(state: IncidentState, which: str | None) -> Remediation:
    found = [
        held
        for held in state.remediations.values()
        if (which is None and held.status is not RemediationStatus.REJECTED)
        or held.remediation == which
    ]
    if not found:
        plan = f"`tocsin playbook plan {state.incident}` shows how it stands"
        if which is not None:
            raise NotFound(f"{state.incident} has no remediation {which}; {plan}")
        raise NotFound(f"{state.incident} has no remediation that goes on; {plan}")
    return found[-1]


def _next_step(remediation: Remediation, name: str | None, *among: StepStatus) -> Step:
    for step in remediation.steps:
        if step.proposed.step == name or (name is None and step.status in among):
            return step
    steps = ", ".join(f"{step.proposed.step} ({step.status})" for step in remediation.steps)
    if name is None:
        raise NotFound(f"no step is {' or '.join(among)}; there are {steps}")
    raise NotFound(f"there is no step {name!r}; there are {steps}")


def refusal(
    state: IncidentState, policy: Policy, step: Step, definition: PlaybookStep, by: str
) -> str:
    """Why an approval of somebody would not count, and whose would; empty if it would."""
    from remediation.domain.describing import approvers  # noqa: PLC0415 - only where it is asked
    from remediation.domain.envelope import verdicts  # noqa: PLC0415 - as above

    now = SystemClock().now()
    given = Approval(by=Person(name=by, via="cli"), at=now)
    asked = step.model_copy(update={"approvals": (given,)})
    (verdict,) = verdicts(state, asked, definition, policy, now)
    if not verdict.reason:
        return ""
    who = ", ".join(approvers(policy, definition))
    return f"{by} may not approve {step.proposed.step}, which is {definition.risk}; who may: {who}"


def _answer(incident: str, verb: str, *, as_json: bool, **body: object) -> None:
    token = connection.connect().api_token
    content = json.dumps({**body, "via": "cli"}).encode()
    connection.post(f"/v1/incidents/{incident}/{verb}", content=content, token=token)
    if as_json:
        print_json({"incident": incident, "answer": verb, **body})
    else:
        console.print(f"{verb}: in the log")


@playbook_app.command("approve")
def playbook_approve(
    incident: Incident,
    by: By,
    step: StepId = None,
    remediation: Which = None,
    as_json: Json = False,
) -> None:
    """Let a step run, on its plan as it stands now; of a step by hand: say that it is done."""
    from remediation.domain.envelope import by_hand  # noqa: PLC0415 - only where it is asked

    state, policy = _state(incident)
    chosen = _chosen(state, remediation)
    held = _next_step(chosen, step, StepStatus.PROPOSED)
    body: dict[str, Any] = {"remediation": chosen.remediation, "step": held.proposed.step}
    if held.proposed.planned:
        if held.plan is None:
            raise ValueError(f"{held.proposed.step} has no plan yet; try again in a moment")
        body["plan"] = held.plan.number
    definition = _definition(policy, chosen, held.proposed.step)
    said = refusal(state, policy, held, definition, by) if policy and definition else ""
    if said:
        raise ValueError(said)
    for line in () if as_json else step_lines(held):
        console.print(line, markup=False, highlight=False)
    if by_hand(held) and not as_json:
        console.print("no machine runs this one: the approval says that it is done")
    _answer(incident, "approve", as_json=as_json, by=by, **body)


@playbook_app.command("reject")
def playbook_reject(
    incident: Incident,
    by: By,
    reason: Reason = "",
    remediation: Which = None,
    as_json: Json = False,
) -> None:
    """Say no: no further step starts."""
    chosen = _chosen(_state(incident)[0], remediation)
    body = {"remediation": chosen.remediation, "reason": reason}
    _answer(incident, "reject", as_json=as_json, by=by, **body)


@playbook_app.command("abort")
def playbook_abort(
    incident: Incident,
    by: By,
    reason: Reason = "",
    remediation: Which = None,
    undo: Annotated[bool, typer.Option(help="Take back what was done, the last first.")] = True,
    as_json: Json = False,
) -> None:
    """Stop what is under way: no further step starts, and what was done is taken back."""
    chosen = _chosen(_state(incident)[0], remediation)
    body = {"remediation": chosen.remediation, "reason": reason, "undo": undo}
    _answer(incident, "abort", as_json=as_json, by=by, **body)


@playbook_app.command("settle")
def playbook_settle(
    incident: Incident,
    by: By,
    done: Annotated[bool, typer.Option("--done/--not-done", help="Whether it took effect.")],
    step: StepId = None,
    reason: Reason = "",
    remediation: Which = None,
    as_json: Json = False,
) -> None:
    """Say how a step in doubt ended, after having looked."""
    chosen = _chosen(_state(incident)[0], remediation)
    held = _next_step(chosen, step, StepStatus.IN_DOUBT)
    body = {"remediation": chosen.remediation, "step": held.proposed.step}
    _answer(incident, "settle", as_json=as_json, by=by, **body, done=done, text=reason)

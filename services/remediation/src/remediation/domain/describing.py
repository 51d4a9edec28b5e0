"""Playbooks in words: for the catalogue in the docs, and for `tocsin playbook show`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from remediation.domain.plan import call_text, shown
from tocsin_policy import Call, Playbook, PlaybookStep, Policy, format_duration
from tocsin_policy.playbooks import Risk


def described(step: PlaybookStep) -> dict[str, str]:
    """A step, by what people ask about it."""
    return {
        "step": step.id,
        "title": step.title,
        "runner": step.runner,
        "call": call_text(step) if step.runner != "manual" else "a person does it",
        "risk": step.risk,
        "approval": approval(step),
        "verification": said(step.verify) or "-",
        "undo": taken_back(step),
        "timeout": format_duration(step.timeout),
        "within": format_duration(step.within) if step.within is not None else "-",
        "parameters": ", ".join(
            f"{name} from label {parameter.label}" for name, parameter in step.parameters.items()
        ),
    }


def approval(step: PlaybookStep) -> str:
    """Who lets a step run."""
    if isinstance(step.approval, Mapping):
        return ", ".join(f"{severity}: {asked}" for severity, asked in step.approval.items())
    return step.approval


def said(call: Call | None) -> str:
    """How a verification or an undo reads; empty where there is none."""
    if call is None:
        return ""
    if call.alert_cleared is not None:
        return f"the alerts clear within {format_duration(call.alert_cleared.within)}"
    return next((shown(one) for _, one in call.calls()), "")


def taken_back(step: PlaybookStep) -> str:
    """How a step is taken back, exactly where that can be, or that it never is."""
    if step.before is not None:
        look = next(shown(call) for _, call in step.before.calls())
        return f"{said(step.undo)}, with what {look} showed before"
    # An exact undo comes first: the playbook's is for where the runner has none.
    if step.takes_itself_back:
        return "exactly what it changed is put back"
    return said(step.undo) or ("nothing: irreversible" if step.irreversible else "-")


def approvers(policy: Policy, step: PlaybookStep) -> tuple[str, ...]:
    """Who may approve a step, by name; empty where anybody may."""
    named = step.approvers or policy.remediation.approvers.get(step.risk, ())
    return tuple(_who(policy, target) for target in named)


_COUNTED = frozenset({"kubernetes", "redis"})
"""Runners that know which part of all a step touches."""


def most(policy: Policy, playbook: Playbook, step: PlaybookStep) -> str:
    """How much a step may touch; empty for one by which no machine changes anything."""
    if step.risk == "read" or step.runner == "manual":
        return ""
    budget = policy.remediation.budget.within(playbook.budget).within(step.budget)
    pods = f"{budget.pods}" if budget.pods is not None else ""
    # All of them is no limit, and of what a program touches nobody knows the share.
    limited = budget.share not in {None, 1} and step.runner in _COUNTED
    share = f"{budget.share:.0%} of all" if limited else ""
    return ", ".join(filter(None, (pods, share)))


def catalogue(policies: Iterable[Policy]) -> str:
    """Every playbook of every policy, as Markdown: first a list of them, then each system's."""
    held = [policy for policy in sorted(policies, key=lambda one: one.system) if policy.playbooks]
    lines = [
        _row("system", "playbook", "for", "steps", "by a machine", "that change", "worst risk"),
        "|---" * 7 + "|",
    ]
    lines += [_listed(policy, each) for policy in held for each in policy.playbooks.values()]
    lines.append("")
    for policy in held:
        lines += [f"## {policy.system}", "", *_envelope(policy), ""]
        for playbook in policy.playbooks.values():
            lines += [*_playbook(policy, playbook), ""]
    return "\n".join(lines)


RISKS: tuple[Risk, ...] = ("read", "safe", "disruptive", "destructive")
"""The least first."""


def worst_risk(playbook: Playbook) -> str:
    """The worst risk of any step."""
    return max((step.risk for step in playbook.steps), key=RISKS.index)


def _listed(policy: Policy, playbook: Playbook) -> str:
    machine = [step for step in playbook.steps if step.runner != "manual"]
    cells = (
        policy.system,
        f"[{playbook.title}](#{_anchor(policy, playbook)})",
        "; ".join(playbook.symptoms or playbook.causes) or "-",
        len(playbook.steps),
        len(machine),
        sum(step.risk != "read" for step in machine),
        worst_risk(playbook),
    )
    return _row(*cells)


def _anchor(policy: Policy, playbook: Playbook) -> str:
    heading = f"{policy.system} {playbook.title}".lower()
    return "".join(c if c.isalnum() or c == "-" else "-" if c == " " else "" for c in heading)


def _envelope(policy: Policy) -> Iterator[str]:
    envelope = policy.remediation
    for risk in RISKS:
        if named := envelope.approvers.get(risk):
            yield f"- {risk.capitalize()} steps: {', '.join(_who(policy, one) for one in named)}."
    yield f"- An approval counts for {format_duration(envelope.approvals_expire_after)}."
    budget = envelope.budget
    bounds = []
    if budget.pods is not None:
        bounds.append(f"touches at most {budget.pods}")
    if budget.share is not None:
        bounds.append(f"touches at most {budget.share:.0%} of all")
    if bounds:
        yield f"- Where a step says nothing else it {' and '.join(bounds)}."
    if budget.actions_an_hour is not None:
        yield f"- A service is acted on at most {budget.actions_an_hour} times an hour."
    told = ", ".join(_who(policy, one) for one in envelope.tell)
    yield f"- A step that failed or is in doubt is told to: {told}."


def _who(policy: Policy, target: str) -> str:
    """Whom a target means, by name; the target itself where the policy has no name for it."""
    kind, _, rest = target.partition(" ")[0].partition(":")
    names = {
        "contact": {name: held.name for name, held in policy.contacts.items()},
        "role": {name: held.name for name, held in policy.roles.items()},
        "schedule": {name: held.name for name, held in policy.schedules.items()},
        "team": {name: held.name for name, held in policy.teams.items()},
    }
    return names.get(kind, {}).get(rest, target)


def _playbook(policy: Policy, playbook: Playbook) -> Iterator[str]:
    yield f"### {policy.system}: {playbook.title}"
    yield ""
    rules = [rule.name for rule in policy.classification.rules if rule.playbook == playbook.id]
    yield f"`{playbook.id}`, proposed by: {'; '.join(rules) or 'nobody but a person'}."
    yield ""
    yield _row(*_COLUMNS)
    yield "|---" * len(_COLUMNS) + "|"
    for number, step in enumerate(playbook.steps, start=1):
        row = described(step)
        by_hand = step.runner == "manual"
        yield _row(
            number,
            row["title"],
            "*a person does it*" if by_hand else _code(row["call"]),
            row["risk"],
            row["approval"],
            most(policy, playbook, step) or "-",
            row["within"],
            _code(row["verification"]) if step.verify is not None else "-",
            _cell(row["undo"]),
        )


_COLUMNS = (
    "",
    "step",
    "does",
    "risk",
    "approval",
    "touches at most",
    "within",
    "seen to work by",
    "taken back by",
)


def _row(*cells: object) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def _code(text: str) -> str:
    return f"`` {_cell(text)} ``" if "`" in text else f"`{_cell(text)}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")

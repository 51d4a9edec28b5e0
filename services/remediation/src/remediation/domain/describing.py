"""Playbooks in words: for the catalogue in the docs, and for `tocsin playbook show`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from remediation.domain.plan import call_text, shown
from tocsin_policy import Call, PlaybookStep, Policy, format_duration


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


def catalogue(policies: Iterable[Policy]) -> str:
    """Every playbook of every policy, as Markdown."""
    lines: list[str] = []
    for policy in sorted(policies, key=lambda held: held.system):
        if not policy.playbooks:
            continue
        lines += [f"## {policy.system}", ""]
        for playbook in policy.playbooks.values():
            machine = sum(step.runner != "manual" for step in playbook.steps)
            lines += [
                f"### {policy.system}: {playbook.title}",
                "",
                f"`{playbook.id}`, {len(playbook.steps)} steps, {machine} of them by a machine.",
                "",
                "| | step | does | risk | approval | seen to work by | taken back by |",
                "|---|---|---|---|---|---|---|",
            ]
            lines += [_line(step) for step in playbook.steps]
            lines.append("")
    return "\n".join(lines)


def _line(step: PlaybookStep) -> str:
    row = described(step)
    mark = "by hand" if step.runner == "manual" else "runs"
    cells = (mark, row["title"], f"{_code(row['call'])}", row["risk"], row["approval"])
    return "| " + " | ".join((*cells, _cell(row["verification"]), _cell(row["undo"]))) + " |"


def _code(text: str) -> str:
    return f"`` {_cell(text)} ``" if "`" in text else f"`{_cell(text)}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")

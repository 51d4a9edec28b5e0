"""What was found becomes a policy that validates; what was not becomes a list of gaps."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from typing import Any

from ruamel.yaml import YAML

from tocsin_policy.importing import finding
from tocsin_policy.importing.finding import FoundSeverity, duration
from tocsin_policy.importing.reading import Section, plain, sections
from tocsin_policy.loader import read_policy

_MOST_LINE = 400
_MOST_DETAIL = 10_000
_MOST_NAME = 60


@dataclass(frozen=True, slots=True)
class Draft:
    """A policy to go on from.

    Attributes:
        text: YAML that validates, the gaps in its head as comments.
        gaps: What the runbook did not say, or not so that it was understood.
        found: How many of what was found, for people to judge it by.
    """

    text: str
    gaps: tuple[str, ...]
    found: dict[str, int]


def draft_policy(runbook: str, system: str) -> Draft:
    """The draft of a policy for `system` from a runbook in Markdown.

    Raises:
        ValueError: It speaks of no severity, so there is nothing to go on from.
    """
    read = sections(runbook)
    held = finding.severities(read)
    if not held:
        raise ValueError(
            "no severities found; they are tables, headings or bold lines with P0, SEV-1 …"
        )
    drafting = _Drafting(read, system)
    document = drafting.document(held)
    gaps = tuple(drafting.gaps)
    text = written(document, system, gaps, "its runbook")
    read_policy(text, "draft")
    counted = {
        "severities": len(held),
        "response times": sum("response_target" in one for one in document["severities"]),
        "levels": sum(len(levels) for levels in document["escalation"].values()),
        "update cadences": sum("updates" in one for one in document["severities"]),
        "contacts": len(document["contacts"]),
        "rules": len(document["classification"]["rules"]),
        "playbooks": len(document.get("playbooks", {})),
    }
    return Draft(text, gaps, counted)


def written(document: dict[str, Any], system: str, gaps: tuple[str, ...], origin: str) -> str:
    """A draft as YAML, its gaps in its head as comments."""
    yaml = YAML()
    yaml.width = 100
    text = io.StringIO()
    yaml.dump(document, text)
    head = [f"# Draft of the policy of {system}, from {origin}. To be filled:"]
    head += [f"# - {gap}" for gap in gaps] or ["# - nothing was found missing"]
    return "\n".join(head) + "\n" + text.getvalue()


def slug(text: str) -> str:
    """A name of the policy language for what people call something."""
    made = re.sub(r"[^a-z0-9]+", "-", plain(text).lower()).strip("-")[:_MOST_NAME].strip("-")
    return made or "unnamed"


class _Drafting:
    def __init__(self, read: list[Section], system: str) -> None:
        self._read = read
        self._system = system
        self.gaps: list[str] = []
        self._contacts: dict[str, dict[str, Any]] = {}

    def document(self, held: list[FoundSeverity]) -> dict[str, Any]:
        for row in finding.people(self._read):
            self._contact(row["role"], row)
        escalation = self._escalation(held)
        names = [one.name for one in held]
        document: dict[str, Any] = {
            "version": 1,
            "system": self._system,
            "owner": "to be filled",
            "calendars": {"business": {"time_zone": "UTC", "hours": "Mo-Fr 09:00-17:00"}},
            "severities": [self._severity(one) for one in held],
            "classification": {"default": names[len(names) // 2], "rules": self._rules(held)},
            "grouping": {
                "by": ["alertname"],
                "reopen_within": "30m",
                "auto_resolve_after": "15m",
            },
            "contacts": self._contacts,
            "escalation": escalation,
            "channels": {"pager": {"kind": "pagerduty", "endpoint": "pager"}},
        }
        playbooks = self._playbooks()
        if playbooks:
            document["playbooks"] = playbooks
        self.gaps += [
            "owner: who keeps the policy",
            "calendars.business: time zone, hours and country of the people who answer",
            "channels: how each contact is reached; everybody has the pager now",
            "schedules: who takes turns; the contacts stand for themselves now",
            "classification: the alerts' real names; they are made from the runbook's examples",
        ]
        return document

    def _severity(self, one: FoundSeverity) -> dict[str, Any]:
        definition = one.definition or (one.examples[0] if one.examples else "to be filled")
        if not one.definition:
            self.gaps.append(f"severities {one.name}: its definition")
        made: dict[str, Any] = {"name": one.name, "definition": definition[:_MOST_LINE]}
        if one.examples:
            made["examples"] = [example[:_MOST_LINE] for example in one.examples]
        said = f"{one.response} {one.escalation}".lower()
        target = duration(one.response)
        if "next business day" in one.response.lower():
            made |= {"response_target": "8h", "hours": "next_business_day"}
        elif target is not None:
            made["response_target"] = target
        else:
            self.gaps.append(f"severities {one.name}: its response time")
        if "business hours" in said:
            made["hours"] = "business_hours"
        every = duration(one.cadence) if one.cadence else None
        if every is not None:
            first = finding.first_update(self._read) or every
            made["updates"] = {"first_within": first, "every": every}
        else:
            self.gaps.append(f"severities {one.name}: how often people hear news")
        due = finding.review(self._read)
        if due is not None:
            made["review"] = {due[0]: int(due[1]) if due[0] == "business_days" else due[1]}
        return made

    def _rules(self, held: list[FoundSeverity]) -> list[dict[str, Any]]:
        rules: dict[str, dict[str, Any]] = {}
        for one in held:
            for example in one.examples:
                name = "".join(word.capitalize() for word in re.findall(r"[A-Za-z0-9]+", example))
                if name and example[:100] not in rules:
                    rules[example[:100]] = {
                        "name": example[:100],
                        "match": [f'alertname="{name[:100]}"'],
                        "severity": one.name,
                    }
        for one in held:
            rules[f"severity {one.name}"] = {
                "name": f"severity {one.name}",
                "match": [f'severity="{one.name}"'],
                "severity": one.name,
            }
        return list(rules.values())

    def _escalation(self, held: list[FoundSeverity]) -> dict[str, list[dict[str, Any]]]:
        path = finding.path(self._read)
        escalation: dict[str, list[dict[str, Any]]] = {}
        for one in held:
            levels = one.levels
            if not levels and one.escalation:
                levels = [("0m", finding.members(one.escalation))]
            if not levels and path:
                levels = _along(path)
            made = self._levels(levels)
            if made:
                escalation[one.name] = made
            else:
                self.gaps.append(f"escalation {one.name}: who is told, and after how long")
        return escalation

    def _levels(self, levels: list[tuple[str, list[str]]]) -> list[dict[str, Any]]:
        made: list[dict[str, Any]] = []
        for after, names in levels:
            everyone = [name for name in names if re.match(r"all\b", name, re.IGNORECASE)]
            targets = (
                ["everyone"]
                if everyone
                else list(dict.fromkeys(f"contact:{self._contact(name, {})}" for name in names))
            )
            if not targets:
                continue
            level: dict[str, Any] = {"number": len(made) + 1, "after": after, "targets": targets}
            if after == "next_business_day":
                level |= {"after": "0m", "hours": "next_business_day"}
            made.append(level)
        return made

    def _contact(self, role: str, row: dict[str, str]) -> str:
        """The id of a contact, made if it is new; `On-call Engineer` and `on call` are one."""
        wanted = slug(role)
        for known in self._contacts:
            if known == wanted or (len(wanted) > 3 and (wanted in known or known in wanted)):  # noqa: PLR2004 - `cto` is no part
                wanted = known
                break
        else:
            name = row.get("name", "") or role
            self._contacts[wanted] = {
                "name": (name if name.lower() != "rotating" else role)[:_MOST_LINE],
                "role": role[:_MOST_LINE],
                "channels": ["pager"],
            }
            if not row:
                self.gaps.append(f"contacts {wanted}: who it is, and how they are reached")
        for field in ("phone", "email", "slack"):
            if row.get(field):
                self._contacts[wanted][field] = row[field][:_MOST_LINE]
        return wanted

    def _playbooks(self) -> dict[str, dict[str, Any]]:
        made: dict[str, dict[str, Any]] = {}
        for playbook in finding.playbooks(self._read):
            name = slug(re.sub(r"^scenario \d+\W*", "", playbook.title, flags=re.IGNORECASE))
            if name in made:
                continue
            steps = []
            for number, (title, code) in enumerate(playbook.steps, 1):
                step = {
                    "id": f"{slug(title)[:40].strip('-')}-{number}",
                    "title": title[:_MOST_LINE],
                    "runner": "manual",
                    "risk": "disruptive",
                    "approval": "one",
                    "timeout": "30s",
                    "detail": code[:_MOST_DETAIL],
                }
                within = duration(title)
                if within is not None:
                    step["within"] = within
                steps.append(step)
            made[name] = {"title": playbook.title[:_MOST_LINE], "steps": steps}
            self.gaps.append(
                f"playbooks {name}: which rules it belongs to, what each step runs and risks"
            )
        if not made:
            self.gaps.append("playbooks: none was found")
        return made


def _along(path: list[tuple[str, str]]) -> list[tuple[str, list[str]]]:
    """Levels of a path: the next is told when the one before has had their time."""
    levels: list[tuple[str, list[str]]] = []
    after = "0m"
    for name, time in path:
        levels.append((after, [name]))
        after = time or after
    return levels

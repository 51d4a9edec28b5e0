"""What a runbook says, found in its sections: severities, levels, cadences, people, playbooks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from tocsin_policy.importing.reading import Section

_SEVERITY = re.compile(r"\b(P[0-5]|SEV[- ]?[0-5](?:/[0-5])?)\b", re.IGNORECASE)
_TIME = re.compile(
    r"(\d+)(?:\s*[-\u2013]\s*(\d+))?[\s-]*(second|sec|minute|min|hour|hr|day|week)s?\b",
    re.IGNORECASE,
)
_UNITS = {"s": "s", "m": "m", "h": "h", "d": "d", "w": "w"}
_MEMBER = re.compile(r"\s*(?:\+|,|&|\band\b|/)\s*", re.IGNORECASE)
_DOING = re.compile(
    r"^((immediate(ly)?|notify|to|page|escalate|notification|inform|tell)\b[ :]*)+", re.IGNORECASE
)


@dataclass(slots=True)
class FoundSeverity:
    """A severity as far as the runbook describes it."""

    name: str
    definition: str = ""
    response: str = ""
    escalation: str = ""
    examples: list[str] = field(default_factory=list)
    cadence: str = ""
    levels: list[tuple[str, list[str]]] = field(default_factory=list)


def duration(text: str) -> str | None:
    """The longest time a text speaks of first, as `15m`; `None` if it speaks of none.

    >>> duration("Immediate (0-5 minutes)"), duration("1 week"), duration("soon")
    ('5m', '7d', None)
    """
    found = _TIME.search(text)
    if found is None:
        hourly = re.search(r"\b(hourly|every hour)\b", text, re.IGNORECASE)
        return "1h" if hourly else "5m" if re.search(r"\bimmediate", text, re.IGNORECASE) else None
    count, unit = int(found[2] or found[1]), found[3][0].lower()
    return f"{count * 7}d" if unit == "w" else f"{count}{_UNITS[unit]}"


def names_in(text: str) -> list[str]:
    """Severity names in a text, as the runbook writes them; `SEV-3/4` is two."""
    found: list[str] = []
    for name in _SEVERITY.findall(text):
        whole = name.upper().replace("SEV ", "SEV")
        head, slash, tail = whole.partition("/")
        found += [head, head[:-1] + tail] if slash else [head]
    return list(dict.fromkeys(found))


def severities(sections: list[Section]) -> list[FoundSeverity]:
    """The severities, most severe first, with what tables, headings and lists say of them."""
    found: dict[str, FoundSeverity] = {}
    for section in sections:
        for table in section.tables:
            _from_table(table, found)
        named = names_in(section.title)
        if len(named) >= 1 and (section.items or section.lines):
            for name in named:
                _from_section(section, found.setdefault(name, FoundSeverity(name)))
    for section in sections:
        _cadences(section, found)
    ordered = sorted(found, key=lambda name: name[-1])
    if not any(held.cadence for held in found.values()):
        # Said for all that have updates: for the two worst, so that nobody is nagged over trifles.
        for name in ordered[:2]:
            found[name].cadence = _cadence_of_all(sections)
    return [found[name] for name in sorted(found, key=lambda name: name[-1])]


def _from_table(table: list[list[str]], found: dict[str, FoundSeverity]) -> None:
    head = [cell.lower() for cell in table[0]] if table else []
    if not head or not any(word in head[0] for word in ("severity", "level", "priority")):
        return
    for row in table[1:]:
        for name in names_in(row[0])[:1]:
            held = found.setdefault(name, FoundSeverity(name))
            for title, cell in zip(head[1:], row[1:], strict=False):
                _from_cell(held, title, cell)


def _from_cell(held: FoundSeverity, title: str, cell: str) -> None:
    after = duration(title)
    if "response" in title and "initial" not in title:
        held.response = held.response or cell
    elif "example" in title:
        held.examples = held.examples or [part.strip() for part in cell.split(",")]
    elif "escalat" in title:
        held.escalation = cell
    elif any(word in title for word in ("impact", "definition", "description", "meaning")):
        held.definition = held.definition or cell
    elif any(word in title for word in ("update", "frequency", "cadence")):
        held.cadence = held.cadence or cell
    elif after is not None or "initial" in title:
        people = members(cell)
        if people:
            held.levels.append((after or "0m", people))


def members(text: str) -> list[str]:
    """The people a text names."""
    cleaned = _DOING.sub("", re.sub(r"\([^)]*\)", "", text).strip())
    return [
        part.strip(" .")
        for part in _MEMBER.split(cleaned)
        if part.strip(" .-\u2013") and part.strip().lower() not in {"none", "n/a"}
    ]


def _from_section(section: Section, held: FoundSeverity) -> None:
    about_levels = any("escalat" in title.lower() for title in (*section.above, section.title))
    for line in (*section.items, *section.lines):
        key, colon, value = line.partition(":")
        lowered = key.lower()
        if about_levels and colon and (duration(key) or "next business" in lowered):
            held.levels.append((duration(key) or "next_business_day", members(value)))
        elif "response time" in lowered and colon:
            held.response = held.response or value.strip()
        elif "escalation" in lowered and colon:
            held.escalation = held.escalation or value.strip()
        elif lowered in {"definition", "description", "impact"} and colon:
            held.definition = held.definition or value.strip()
        elif lowered == "examples" or about_levels:
            continue
        elif line in section.items and len(line) < 120:  # noqa: PLR2004 - longer is no example
            held.examples.append(line)


def _cadences(section: Section, found: dict[str, FoundSeverity]) -> None:
    near = " ".join((*section.above, section.title)).lower()
    if not any(word in near for word in ("communicat", "update", "frequency")):
        return
    for line in (*section.items, *section.lines):
        often = re.search(r"\b(every|hourly)\b", line, re.IGNORECASE)
        for name in names_in(line) if often else ():
            if name in found and not found[name].cadence:
                found[name].cadence = line


def _cadence_of_all(sections: list[Section]) -> str:
    for section in sections:
        for line in (section.title, *section.lines, *section.items):
            if re.search(r"updates?\b.*\bevery\b", line, re.IGNORECASE) and duration(line):
                return line
    return ""


def path(sections: list[Section]) -> list[tuple[str, str]]:
    """(person, how long they have) of an escalation path that goes for every severity."""
    for section in sections:
        if "escalation" in section.title.lower() and not names_in(section.title):
            steps = [(line, duration(line) or "") for line in section.items]
            if len(steps) > 1 and not any(names_in(line) for line, _ in steps):
                return [(re.sub(r"\([^)]*\)", "", line).strip(), time) for line, time in steps]
    return []


def people(sections: list[Section]) -> Iterator[dict[str, str]]:
    """Rows of contact tables: role, name, phone, email, slack, as far as they are there."""
    for section in sections:
        for table in section.tables:
            head = [cell.lower() for cell in table[0]] if table else []
            if head and head[0] == "role" and len(head) > 1 and "responsib" not in head[1]:
                for row in table[1:]:
                    yield dict(zip(head, row, strict=False))


def first_update(sections: list[Section]) -> str | None:
    """Within which time the first update is promised."""
    for section in sections:
        for line in (section.title, *section.lines, *section.items):
            if "initial" in line.lower() and "within" in line.lower():
                return duration(line)
    return None


def review(sections: list[Section]) -> tuple[str, str] | None:
    """(`due_within` or `business_days`, value) of the review."""
    for section in sections:
        near = " ".join((*section.above, section.title)).lower()
        if not re.search(r"post[- ]?(incident|mortem)|review|follow-up", near):
            continue
        for line in (section.title, *section.lines, *section.items):
            days = re.search(r"(\d+)(?:\s*-\s*(\d+))?\s+business days", line, re.IGNORECASE)
            if days is not None:
                return "business_days", days[2] or days[1]
            if re.search(r"\bwithin\b", line, re.IGNORECASE) and duration(line):
                return "due_within", duration(line) or ""
    return None


@dataclass(frozen=True, slots=True)
class FoundPlaybook:
    """A scenario and its steps: (title, what it runs)."""

    title: str
    steps: tuple[tuple[str, str], ...]


def playbooks(sections: list[Section]) -> Iterator[FoundPlaybook]:
    """Scenarios: sections under a heading that speaks of them, with code or numbered steps."""
    wanted = re.compile(
        r"scenario|playbook|recovery|mitigation|disaster|procedure|quick fix", re.IGNORECASE
    )
    for index, section in enumerate(sections):
        inside = any(wanted.search(title) for title in section.above) or re.match(
            r"scenario", section.title, re.IGNORECASE
        )
        if not inside or section.depth < 3 or section.depth == 7:  # noqa: PLR2004 - a chapter
            continue
        parts = [section]
        for other in sections[index + 1 :]:
            if other.depth <= section.depth:
                break
            parts.append(other)
        steps = [
            (part.title if part is not section else section.title, code)
            for part in parts
            for code in part.code
        ]
        if steps:
            yield FoundPlaybook(section.title, tuple(steps))

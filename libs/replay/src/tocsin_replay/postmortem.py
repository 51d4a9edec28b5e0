"""A postmortem filled from the log, in the policy's own template; people's parts are marked.

A template is Markdown with placeholders: `{{ timeline }}`, `{{ pages }}`, `{{ time_to_resolve }}`;
see `SECTIONS`. A placeholder the log has no answer to, whatever it is called, becomes a part for
people to write. So a runbook's template needs no list of what is automatic.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

from jinja2 import TemplateError, Undefined, nodes
from jinja2.meta import find_undeclared_variables
from jinja2.sandbox import ImmutableSandboxedEnvironment
from markdown_it import MarkdownIt

from tocsin_contracts import incidents as facts
from tocsin_policy import Policy, Severity, levels_for
from tocsin_replay.picturing import picture
from tocsin_replay.reading import Recorded
from tocsin_replay.reporting import briefly
from tocsin_replay.summing import StepRun, Summary, summarise
from tocsin_replay.telling import timeline
from tocsin_replay.wording import duration, some, words

MARK = "✎"
"""Stands before every part that people have to write."""

MOST_TEXT = 200_000
"""Characters of a rendered postmortem, without its timeline and tables; what is over is cut."""

MOST_ENTRIES = 400
"""Lines of the timeline; of a longer story the middle is left out, and said to be."""

_PICTURE = "TOCSIN-PICTURE-OF-THE-INCIDENT"

_AGAIN = "\n\n"

_PICTURE_BESIDES = f"### In a picture{_AGAIN}{_PICTURE}"

DEFAULT = """\
# Postmortem: {{ title }}

{{ facts }}

{{ picture }}

## Summary

{{ summary }}

{{ what_happened_in_two_sentences }}

## Impact

{{ impact }}

{{ customers_affected_and_how }}

## Detection, response and resolution

{{ times }}

{{ response_targets }}

## Severity

{{ severity_changes }}

## People and roles

{{ people }}

## Timeline

{{ timeline }}

## Pages and messages

{{ pages }}

## Updates

{{ updates }}

## Remediation

{{ remediation }}

## Contributing alerts

{{ alerts }}

## What the policy requires

{{ policy }}

## Root cause

{{ root_cause }}

## What went well, what went badly, where we were lucky

{{ lessons }}

## Action items

{{ action_items }}

{{ further_action_items }}
"""
"""Used where the policy brings no template of its own."""

_FILTERS = frozenset({"capitalize", "default", "first", "last", "length", "lower", "trim", "upper"})
_FORBIDDEN = (
    nodes.Call,
    nodes.Mul,
    nodes.Pow,
    nodes.Mod,
    nodes.Add,
    nodes.Concat,
    nodes.Import,
    nodes.FromImport,
    nodes.Include,
    nodes.Extends,
    nodes.Macro,
    nodes.CallBlock,
)


class _ForPeople(Undefined):
    """A placeholder the log has no answer to: a part for people, under its own name."""

    def __str__(self) -> str:
        name = (self._undefined_name or "this part").replace("_", " ")
        return f"{MARK} _For people to write: {name}._"

    def __iter__(self) -> Iterator[Any]:
        return iter(())

    def __bool__(self) -> bool:
        return False

    def __getattr__(self, name: str) -> _ForPeople:
        if name.startswith("__"):
            raise AttributeError(name)
        return _ForPeople(name=f"{self._undefined_name} {name}")


def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        autoescape=False, undefined=_ForPeople, keep_trailing_newline=True
    )
    environment.globals.clear()
    environment.filters = {name: environment.filters[name] for name in _FILTERS}
    return environment


_ENVIRONMENT = _environment()


def postmortem(
    recorded: Sequence[Recorded],
    policy: Policy | None,
    *,
    picture_at: str | None = None,
    what_if: str = "",
) -> str:
    """The postmortem of an incident as Markdown.

    Args:
        policy: What was promised, and whose template is filled.
        picture_at: Where the picture lies, as seen from the document; without it there is none.
        what_if: Markdown about what was supposed; where the template asks for `what_if`, else last.

    Raises:
        LookupError: The facts open no incident.
    """
    found = summarise(recorded, policy)
    text = _filled(found, recorded, policy, what_if)
    shown = "" if picture_at is None else f"![Timeline of {found.incident}]({picture_at})"
    if not shown:
        text = text.replace(_PICTURE_BESIDES, "")
    return re.sub(r"\n{3,}", _AGAIN, text.replace(_PICTURE, shown)).rstrip() + "\n"


def postmortem_html(
    recorded: Sequence[Recorded], policy: Policy | None, *, what_if: str = ""
) -> str:
    """The same as one HTML page that fetches nothing: the picture is in it.

    Raises:
        LookupError: The facts open no incident.
    """
    found = summarise(recorded, policy)
    text = _filled(found, recorded, policy, what_if)
    return as_html(text, found.title, picture(found, policy))


def as_html(markdown: str, title: str, drawn: str = "") -> str:
    """A page of Markdown as HTML; HTML inside of the Markdown is shown, not used."""
    body = MarkdownIt("commonmark", {"html": False}).enable("table").render(markdown)
    body = body.replace(f"<p>{_PICTURE}</p>", f'<figure class="picture">{drawn}</figure>')
    body = re.sub(rf"<p>{MARK}", f'<p class="people">{MARK}', body)
    return _PAGE.format(title=html.escape(title), body=body)


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ font: 15px/1.55 system-ui, sans-serif; color: #1f2933; max-width: 1160px;
  margin: 2rem auto; padding: 0 1rem; }}
table {{ border-collapse: collapse; margin: .8rem 0; font-size: 13.5px; display: block;
  overflow-x: auto; }}
th, td {{ border: 1px solid #d5dbe1; padding: .25rem .6rem; text-align: left;
  vertical-align: top; }}
td:first-child {{ white-space: nowrap; }}
th {{ background: #f3f5f7; }} th:empty {{ padding: 0; border: 0; }}
code {{ background: #f3f5f7; padding: 0 .2rem; }}
h2 {{ border-bottom: 1px solid #e4e9ee; padding-bottom: .2rem; margin-top: 2rem; }}
.picture {{ margin: 1rem 0; overflow-x: auto; }}
.people {{ background: #fff7e0; border-left: 4px solid #d9a400; padding: .5rem .8rem; }}
@media print {{ h2 {{ break-after: avoid; }} tr {{ break-inside: avoid; }} }}
</style>
</head>
<body>
{body}</body>
</html>
"""


def template_of(policy: Policy | None, severity: str) -> str:
    """The review template the policy has for a severity; the default where it has none."""
    found = policy.severity(severity) if policy is not None else None
    if policy is None or found is None or found.review is None:
        return DEFAULT
    named = policy.templates.get(found.review.template)
    return DEFAULT if named is None else named.body


def _filled(
    found: Summary, recorded: Sequence[Recorded], policy: Policy | None, what_if: str
) -> str:
    values = {name: say(found, recorded, policy) for name, say in SECTIONS.items()}
    values["what_if"] = what_if or "Nothing was supposed."
    own = template_of(policy, found.worst)
    for text in (own, DEFAULT):
        try:
            filled = _rendered(text, values)
        except (TemplateError, ArithmeticError, LookupError, TypeError, ValueError):
            # A template that fails on what this incident has must not cost anybody the document.
            continue
        parts = [filled.rstrip(), *_left_out(text, values)]
        if what_if and what_if not in filled:
            parts.append(f"## What if{_AGAIN}{what_if}")
        return _AGAIN.join(parts)
    raise AssertionError("the default template renders")


_ALWAYS = {
    "facts": "The incident",
    "picture": "In a picture",
    "times": "Times against targets",
    "severity_changes": "Severity, and why",
    "people": "People and roles",
    "timeline": "Timeline",
    "pages": "Pages and their outcomes",
    "updates": "Updates due and made",
    "remediation": "Remediation, before and after",
    "impact": "Impact",
    "alerts": "Contributing alerts",
    "policy": "What the policy requires",
    "notes": "Notes",
}
"""What every document holds, wherever its template puts it: nobody looks it up in the log again."""


def _left_out(template: str, values: Mapping[str, str]) -> Iterator[str]:
    """What the log knows and the template did not ask for, below a heading of its own."""
    asked = find_undeclared_variables(_ENVIRONMENT.parse(template))
    left = [name for name in _ALWAYS if name not in asked and values[name] not in _NOTHING]
    if left:
        yield "## What the log knows besides"
    for name in left:
        yield f"### {_ALWAYS[name]}"
        yield values[name]


def _rendered(text: str, values: Mapping[str, str]) -> str:
    tree = _ENVIRONMENT.parse(text)
    if any(isinstance(node, _FORBIDDEN) for node in tree.find_all(nodes.Node)):
        raise ValueError("a template may neither compute nor call")
    most = MOST_TEXT + sum(map(len, values.values()))
    blocks = frozenset(
        value for value in values.values() if "\n" in value or value.startswith("- ")
    )
    parts: list[str] = []
    length = 0
    line = ""
    for part in _ENVIRONMENT.from_string(text).generate(**values):
        put = _placed(part, line) if part in blocks else part
        parts.append(put)
        line = (line + put)[-_LINE:]
        length += len(put)
        if length > most:
            return "".join(parts)[: most - 1] + "…"
    return "".join(parts)


_LINE = 500
"""Characters before a placeholder that are looked at to place what it stands for."""

_HEAD_OF_A_TABLE = re.compile(r"^(?P<head>\|.*\|)\n\|[-:| ]+\|\n\Z", re.MULTILINE)


def _placed(block: str, before: str) -> str:
    """A block as it fits where a template put it.

    Below the head of a table a list becomes its rows, the columns nobody filled marked; in the
    middle of a line a block goes below it.
    """
    head = _HEAD_OF_A_TABLE.search(before)
    if head is not None and block.startswith("- "):
        columns = head["head"].count("|") - 1
        rest = f" {MARK} |" * (columns - 1)
        items = (line.removeprefix("- [ ] ").removeprefix("- ") for line in block.splitlines())
        return "\n".join(f"| {item} |{rest}" for item in items)
    return block if before.rpartition("\n")[2].strip() == "" else f"{_AGAIN}{block}"


# The sections. Each takes what is known and returns Markdown.

_Say = Callable[[Summary, Sequence[Recorded], Policy | None], str]

_NO_PLAYBOOK = "No playbook was proposed."
_NO_UPDATE = "None was promised and none was made."
_NO_NOTE = "Nobody wrote a note."
_NOTHING = frozenset({_NO_PLAYBOOK, _NO_UPDATE, _NO_NOTE})
"""What a section says where there is nothing to say; nobody misses it who did not ask."""


def _facts(found: Summary, _: Sequence[Recorded], __: Policy | None) -> str:
    rows = [
        ("Incident", f"`{found.incident}`"),
        ("System", text(found.system) + (f", {text(found.service)}" if found.service else "")),
        ("Severity", _severities(found)),
        ("Status", found.status + (f" into `{found.merged_into}`" if found.merged_into else "")),
        ("Began", _at(found.began_at)),
        ("Opened", _at(found.opened_at)),
        ("Acknowledged", _by(found.answered_at, found.answered_by)),
        ("Mitigated", _at(found.mitigated_at)),
        ("Resolved", _by(found.resolved_at, found.resolved_by or "its alerts")),
        ("Lasted", duration(found.time_to_resolve) if found.resolved_at else "not over"),
        ("Policy", f"`{found.policy[:12]}`" if found.policy else "-"),
    ]
    if found.drill:
        rows.insert(0, ("Drill", "yes: a rehearsal"))
    return table(("", ""), rows)


def _severities(found: Summary) -> str:
    if found.worst == found.severity:
        return text(found.severity)
    return f"{text(found.worst)}, {text(found.severity)} at the end"


def _at(instant: datetime | None) -> str:
    return "-" if instant is None else f"{instant:%Y-%m-%d %H:%M:%S} UTC"


def _by(instant: datetime | None, name: str | None) -> str:
    if instant is None:
        return "-"
    return _at(instant) + (f" by {text(name)}" if name else "")


def _summary(found: Summary, _: Sequence[Recorded], __: Policy | None) -> str:
    where = f" ({text(found.service)})" if found.service else ""
    opening = found.severities[0]
    lines = [
        (
            f"{text(found.title)}{where} opened as {text(opening.to)} on "
            f"{found.opened_at:%Y-%m-%d} at {found.opened_at:%H:%M:%S} UTC ({text(found.reason)})."
        )
    ]
    people = sorted({page.name for page in found.pages if page.status == "delivered"})
    if people:
        lines.append(
            f"{some(len(people), 'person was', 'people were')} paged: {text(', '.join(people))}."
        )
    else:
        lines.append("No page reached anybody." if found.pages else "Nobody was paged.")
    lines.extend(_hindered(found))
    if found.answered_at is not None:
        lines.append(
            f"{text(found.answered_by or 'Somebody')} answered after "
            f"{duration(found.time_to_acknowledge)}."
        )
    else:
        lines.append("Nobody acknowledged it.")
    lines.extend(_came_back(found))
    if found.resolved_at is not None:
        said = f": {text(found.resolution)}" if found.resolution else ""
        lines.append(
            f"{text(found.resolved_by or 'Its alerts')} resolved it after "
            f"{duration(found.time_to_resolve)}{said}."
        )
    else:
        lines.append(f"It is {found.status}.")
    return " ".join(lines)


def _hindered(found: Summary) -> Iterator[str]:
    """Pages that did not arrive, or not at once."""
    failed = [page for page in found.pages if page.status == "failed"]
    again = [page for page in found.pages if page.status == "delivered" and page.attempts > 1]
    if failed:
        channels = text(", ".join(sorted({page.channel for page in failed})))
        yield f"{some(len(failed), 'page')} failed ({channels})."
    if again:
        channels = text(", ".join(sorted({page.channel for page in again})))
        late = max((page.sent_at or page.due_at) - page.due_at for page in again)
        yield (
            f"{some(len(again), 'page')} had to be tried again ({channels}) and came up to "
            f"{duration(late)} late."
        )


def _came_back(found: Summary) -> Iterator[str]:
    """Each time that it began again, and who took it then."""
    answers = {target.generation: target for target in found.response_targets}
    again = [
        change
        for before, change in pairwise(found.statuses)
        if change.to == "open" and before.to in _OVER
    ]
    for number, change in enumerate(again, start=2):
        said = f"It came back at {_when(found, change.at)} ({text(change.why)})"
        answer = answers.get(number)
        if answer is None or answer.answered_at is None:
            yield f"{said}, and nobody answered then."
            continue
        who = next((one.who for one in found.answers if one.at == answer.answered_at), "somebody")
        yield f"{said}, and {text(who)} answered after {duration(answer.took)}."


_OVER = frozenset({"resolved", "reviewed", "closed"})


def _when(found: Summary, at: datetime | None) -> str:
    """A time of day; with its date, where the incident went over midnight."""
    if at is None:
        return "-"
    one_day = found.began_at.date() == found.ends_at.date() == at.date()
    return f"{at:%H:%M:%S}" if one_day else f"{at:%Y-%m-%d %H:%M:%S}"


def _detected_by(found: Summary, _: Sequence[Recorded], __: Policy | None) -> str:
    if not found.alerts:
        return f"{text(found.severities[0].by)}, by hand"
    first = found.alerts[0]
    where = f" from {text(first.source)}" if first.source else ""
    return f"{text(first.name)}{where}, {text(found.reason)}"


def _impact(found: Summary, _: Sequence[Recorded], __: Policy | None) -> str:
    until = found.mitigated_at or found.resolved_at
    felt = "not over yet" if until is None else duration(until - found.began_at)
    outside = [u for u in found.updates if u.made_at and u.audience not in {"", "internal"}]
    return table(
        ("", ""),
        [
            ("Customers notice", "yes" if found.customer_facing else "not by the policy's rule"),
            ("From the first alert to mitigation", felt),
            ("Updates to people outside", str(len(outside))),
            ("Alerts", str(len(found.alerts))),
        ],
    )


def _times(found: Summary, _: Sequence[Recorded], policy: Policy | None) -> str:
    success = policy.success if policy is not None else None
    detect = success.time_to_detect if success is not None else None
    resolve = success.time_to_resolve.get(found.worst) if success is not None else None
    rows = [_time("Detect", "first alert to opening", found.time_to_detect, detect)]
    for target in found.response_targets:
        again = target.generation > 1
        origin = "coming back" if again else "opening"
        rows.append(
            (
                f"Acknowledge, escalation {target.generation}" if again else "Acknowledge",
                f"{origin} to the first answer",
                duration(target.took),
                "-" if target.target is None else duration(target.target),
                _MET[target.met] if target.target is not None else "none set",
            )
        )
    rows.append(_time("Mitigate", "opening to mitigation", found.time_to_mitigate, None))
    rows.append(_time("Resolve", "opening to the last resolution", found.time_to_resolve, resolve))
    return table(("Time to", "From, to", "Took", "Target", "Verdict"), rows)


def _time(
    what: str, between: str, took: timedelta | None, target: timedelta | None
) -> tuple[str, ...]:
    if target is None:
        return (what, between, duration(took), "-", "none set")
    verdict = "open" if took is None else _MET[took <= target]
    return (what, between, duration(took), duration(target), verdict)


_MET = {True: "met", False: "**missed**", None: "open"}


def _targets(found: Summary, _: Sequence[Recorded], __: Policy | None) -> str:
    rows = [
        (
            text(target.severity),
            str(target.generation),
            _at(target.started_at),
            "-" if target.target is None else duration(target.target),
            duration(target.took),
            _MET[target.met] if target.target is not None else "none set",
        )
        for target in found.response_targets
    ]
    return table(("Severity", "Escalation", "From", "Target", "Answered after", "Verdict"), rows)


def _severity_changes(found: Summary, _: Sequence[Recorded], __: Policy | None) -> str:
    rows = [
        (_at(change.at), text(change.to), text(change.by), text(change.why))
        for change in found.severities
    ]
    return table(("When", "Severity", "By", "Why"), rows)


def _people(found: Summary, _: Sequence[Recorded], __: Policy | None) -> str:
    paged: dict[str, list[str]] = {}
    for page in found.pages:
        why = f"level {page.level}, {page.why}"
        if why not in paged.setdefault(f"{page.name} ({page.role})", []):
            paged[f"{page.name} ({page.role})"].append(why)
    did: dict[str, list[str]] = {}
    for answer in found.answers:
        if answer.what not in did.setdefault(answer.who, []):
            did[answer.who].append(answer.what)
    parts = []
    if found.roles:
        rows = [(text(role), text(name)) for role, name in found.roles.items()]
        parts.append(table(("Role", "Who"), rows))
    if paged:
        rows = [(text(name), text("; ".join(why))) for name, why in paged.items()]
        parts.append(table(("Paged", "Because of"), rows))
    if did:
        rows = [(text(name), ", ".join(what)) for name, what in did.items()]
        parts.append(table(("Answered", "What they did"), rows))
    return _AGAIN.join(parts) or "Nobody took part."


def _timeline(_: Summary, recorded: Sequence[Recorded], policy: Policy | None) -> str:
    entries = briefly(timeline(recorded, policy))
    rows = [
        (f"{entry.at:%Y-%m-%d %H:%M:%S}", text(entry.what), text(entry.who), text(entry.why))
        for entry in entries
    ]
    if len(rows) > MOST_ENTRIES:
        half = MOST_ENTRIES // 2
        left_out = f"{len(rows) - 2 * half} more, see `tocsin timeline`"
        rows = [*rows[:half], ("…", left_out, "", ""), *rows[-half:]]
    return table(("Time (UTC)", "What", "Who", "Why"), rows)


def _pages(found: Summary, recorded: Sequence[Recorded], _: Policy | None) -> str:
    if not found.pages:
        return "Nobody was paged."
    asked = {
        fact.notification: f" ({words(fact.reason)})"
        for fact in (one.event.fact for one in recorded)
        if isinstance(fact, facts.NotificationRequested) and fact.reason
    }
    rows = [
        (
            f"{page.level}" + (f" ({page.generation})" if found.generations > 1 else ""),
            text(f"{page.name}, {page.role}"),
            text(page.channel + asked.get(page.notification, "")),
            _when(found, page.due_at),
            _when(found, page.sent_at),
            text(
                page.status
                + (f" after {page.attempts} attempts" if page.attempts > 1 else "")
                + (f": {words(page.reason)}" if page.reason else "")
            ),
        )
        for page in found.pages
    ]
    head = "Level (escalation)" if found.generations > 1 else "Level"
    counts = ", ".join(f"{count} {name}" for name, count in found.messages.items())
    channels: dict[tuple[str, str], list[str]] = {}
    for one in found.sent:
        place = (words(one.purpose), words(one.status))
        channels.setdefault(place, []).append(text(f"{one.channel} {one.count}"))
    sent = [(purpose, status, ", ".join(held)) for (purpose, status), held in channels.items()]
    by_channel = table(("Message", "Outcome", "By, how many"), sent)
    said = table((head, "Who", "Channel", "Due", "Delivered", "Outcome"), rows)
    return f"{said}{_AGAIN}All messages, pages included: {counts}.{_AGAIN}{by_channel}"


def _updates(found: Summary, _: Sequence[Recorded], __: Policy | None) -> str:
    if not found.updates:
        return _NO_UPDATE
    rows = [
        (
            _when(found, update.due_at),
            _when(found, update.made_at),
            f"**{update.outcome}**" if update.outcome in {"late", "missed"} else update.outcome,
            text(update.by) or "-",
            text(update.audience),
            text(update.text) or "-",
        )
        for update in found.updates
    ]
    return table(("Due", "Made", "Outcome", "By", "For", "Text"), rows)


def _remediation(found: Summary, _: Sequence[Recorded], __: Policy | None) -> str:
    if not found.steps:
        return _NO_PLAYBOOK
    rows = [
        (
            text(step.playbook),
            text(step.title) + (f": {text(step.call)}" if step.call else ""),
            step.risk,
            text(", ".join(step.approved_by)) or "-",
            _when(found, step.started_at) + _took(step),
            text(words(step.status) + (f": {words(step.reason)}" if step.reason else "")),
            _evidence(step.before, step.diff),
            _evidence(step.showed),
            _evidence(step.after),
        )
        for step in found.steps
    ]
    head = ("Playbook", "Step, and what it runs", "Risk", "Agreed", "Started", "Outcome")
    return table((*head, "Before", "It showed", "A look after"), rows)


def _took(step: StepRun) -> str:
    if step.started_at is None or step.ended_at is None:
        return ""
    return f", for {duration(step.ended_at - step.started_at)}"


MOST_EVIDENCE = 500
"""Characters of what one step showed that stand in the table."""


def _evidence(*parts: str) -> str:
    said = "; ".join(part for part in parts if part)
    more = len(said) - MOST_EVIDENCE
    cut = f" … ({more} characters more in the log)" if more > 0 else ""
    return (text(said[:MOST_EVIDENCE]) + cut) or "-"


def _alerts(found: Summary, _: Sequence[Recorded], __: Policy | None) -> str:
    if not found.alerts:
        return "A person declared it; no alert fired."
    rows = [
        (
            text(alert.name),
            text(
                ", ".join(f"{k}={v}" for k, v in sorted(alert.labels.items()) if k != "alertname")
            ),
            text(alert.summary),
            text(f"{alert.source} {alert.generator_url}".strip()) or "-",
            _at(alert.starts_at),
            "still fires"
            if alert.cleared_at is None
            else duration(alert.cleared_at - alert.starts_at),
        )
        for alert in found.alerts[:MOST_ENTRIES]
    ]
    rest = len(found.alerts) - len(rows)
    more = f"{_AGAIN}And {rest} more." if rest else ""
    return table(("Alert", "Labels", "Summary", "From", "Since", "Fired for"), rows) + more


def _required(found: Summary, _: Sequence[Recorded], policy: Policy | None) -> str:
    severity = policy.severity(found.worst) if policy is not None else None
    if policy is None or severity is None:
        return "The log does not hold the policy it was opened under."
    lines = [f"- {text(severity.name)}: {text(severity.definition.rstrip('.'))}."]
    if severity.response_target is not None:
        verdicts = [target.met for target in found.response_targets]
        lines.append(
            f"- An answer within {duration(severity.response_target)}: "
            f"{verdicts.count(True)} met, {verdicts.count(False)} missed."
        )
    reached = {level.level for level in found.levels}
    for level in levels_for(policy, severity.name):
        verdict = "reached" if level.number in reached else "not needed"
        targets = text(", ".join(level.targets))
        after = f"after {duration(level.after)}" if level.after else "at once"
        lines.append(f"- Level {level.number} {after} to {targets}: {verdict}.")
    lines.extend(_required_of_people(found, severity))
    fits = policy.playbooks.get(found.playbook or "")
    if fits is not None:
        ran = sum(step.started_at is not None for step in found.steps)
        started = f"{ran} of {len(found.steps)} proposed steps started"
        lines.append(f"- Playbook {text(fits.title)}, {len(fits.steps)} steps: {started}.")
    return "\n".join(lines)


def _definition(found: Summary, policy: Policy | None) -> str:
    severity = policy.severity(found.worst) if policy is not None else None
    return severity.definition if severity is not None else "-"


def _required_of_people(found: Summary, severity: Severity) -> Iterator[str]:
    if severity.updates is not None:
        outcomes = [update.outcome for update in found.updates]
        yield (
            f"- A first update within {duration(severity.updates.first_within)}, then every "
            f"{duration(severity.updates.every)}: {outcomes.count('in time')} in time, "
            f"{outcomes.count('late')} late, {outcomes.count('missed')} missed."
        )
    if severity.acknowledge_timeout is not None:
        yield f"- An acknowledgement lapses after {duration(severity.acknowledge_timeout)}."
    if severity.review is not None:
        due = "after its end" if found.review_due_at is None else _at(found.review_due_at)
        done = "not published yet"
        if found.reviewed_at is not None:
            late = found.review_due_at is not None and found.reviewed_at > found.review_due_at
            done = f"published {_at(found.reviewed_at)}, {'**late**' if late else 'in time'}"
        yield f"- A review, due {due}: {done}."


def _actions(found: Summary, _: Sequence[Recorded], __: Policy | None) -> str:
    if not found.actions:
        return "No note of the incident begins with `Action:`."
    return "\n".join(
        f"- [ ] {text(item.what)} ({text(item.who)}, noted {_when(found, item.at)})"
        for item in found.actions
    )


def _notes(found: Summary, _: Sequence[Recorded], __: Policy | None) -> str:
    notes = [answer for answer in found.answers if answer.what == "noted"]
    lines = [f"- {_when(found, note.at)} {text(note.who)}: {text(note.text)}" for note in notes]
    return "\n".join(lines) or _NO_NOTE


SECTIONS: dict[str, _Say] = {
    "facts": _facts,
    "summary": _summary,
    "impact": _impact,
    "times": _times,
    "response_targets": _targets,
    "severity_changes": _severity_changes,
    "people": _people,
    "timeline": _timeline,
    "pages": _pages,
    "updates": _updates,
    "remediation": _remediation,
    "alerts": _alerts,
    "policy": _required,
    "action_items": _actions,
    "notes": _notes,
    "picture": lambda _, __, ___: _PICTURE,
    "incident": lambda found, _, __: found.incident,
    "system": lambda found, _, __: text(found.system),
    "service": lambda found, _, __: text(found.service or "-"),
    "title": lambda found, _, __: text(found.title),
    "severity": lambda found, _, __: text(found.worst),
    "status": lambda found, _, __: found.status,
    "date": lambda found, _, __: f"{found.opened_at:%Y-%m-%d}",
    "opened_date": lambda found, _, __: f"{found.opened_at:%Y-%m-%d}",
    "opened_time": lambda found, _, __: f"{found.opened_at:%H:%M:%S} UTC",
    "rule": lambda found, _, __: text(found.rule),
    "detected_by": _detected_by,
    "reason": lambda found, _, __: text(found.reason),
    "definition": lambda found, _, policy: text(_definition(found, policy)),
    "playbook": lambda found, _, __: text(found.playbook or "-"),
    "by": lambda found, _, __: text(found.resolved_by or "its alerts"),
    "review_due": lambda found, _, __: _at(found.review_due_at),
    "reviewed_at": lambda found, _, __: _at(found.reviewed_at),
    "began_at": lambda found, _, __: _at(found.began_at),
    "opened_at": lambda found, _, __: _at(found.opened_at),
    "acknowledged_at": lambda found, _, __: _at(found.answered_at),
    "mitigated_at": lambda found, _, __: _at(found.mitigated_at),
    "resolved_at": lambda found, _, __: _at(found.resolved_at),
    "duration": lambda found, _, __: duration(found.time_to_resolve),
    "time_to_detect": lambda found, _, __: duration(found.time_to_detect),
    "time_to_acknowledge": lambda found, _, __: duration(found.time_to_acknowledge),
    "time_to_mitigate": lambda found, _, __: duration(found.time_to_mitigate),
    "time_to_resolve": lambda found, _, __: duration(found.time_to_resolve),
    "acknowledged_by": lambda found, _, __: text(found.answered_by or "nobody"),
    "resolved_by": lambda found, _, __: text(found.resolved_by or "its alerts"),
    "resolution": lambda found, _, __: text(found.resolution or "-"),
    "roles": lambda found, _, __: (
        "\n".join(f"- {text(role)}: {text(name)}" for role, name in found.roles.items())
        or "Nobody was given a role."
    ),
}
"""What a template may ask for; everything else is for people to write."""


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; its cells are Markdown already, see `text`."""
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    lines.extend(f"| {' | '.join(row)} |" for row in rows)
    return "\n".join(lines)


_SPECIAL = re.compile(r"([\\`*_\[\]|])")


def text(said: str) -> str:
    """Text from outside as Markdown that shows it and does nothing else."""
    flat = " ".join(said.split())
    return _SPECIAL.sub(r"\\\1", flat.replace("&", "&amp;").replace("<", "&lt;"))

"""What people read, made from templates that cannot run away.

A sandbox is no limit on memory: `'a' * 10**9` or `'a'|center(10**9)` fill it without a forbidden
call. So a template may hold only the parts of the language listed here, none of which builds more
than it is given, and its output is cut at a maximum.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from jinja2 import ChainableUndefined, TemplateError, TemplateSyntaxError, meta, nodes
from jinja2 import Template as Compiled
from jinja2.sandbox import ImmutableSandboxedEnvironment

from tocsin_contracts.incidents import Message
from tocsin_policy.document import Policy, Template

MOST_SUBJECT = 500
MOST_BODY = 20_000
"""Characters of a rendered message; what is over is cut."""

VARIABLES: Mapping[str, str] = {
    "incident": "id of the incident",
    "system": "name of the system",
    "title": "what happened, in a line",
    "severity": "name of the severity",
    "definition": "what the severity means",
    "status": "open, acknowledged, mitigated, resolved …",
    "service": "the affected service",
    "rule": "the rule that decided the severity",
    "reason": "why that severity, or why this message",
    "playbook": "title of the playbook that fits",
    "opened_at": "when it opened",
    "opened_date": "the day it opened, as in 2026-11-21",
    "opened_time": "the time it opened, as in 0905",
    "impact": "who feels it, by severity",
    "components": "list of what else is affected",
    "where": "service, system, and what its alerts have in common: cluster, namespace …",
    "also_paged": "who else was paged, with their roles",
    "change": "what changed since people were told of it: reopened, severity raised from P1 …",
    "change_reason": "why it changed",
    "why_now": "who had a page come before its time, and what they said",
    "next": "what happens if nobody answers: which level, when, who",
    "next_level": "number of the next level",
    "next_at": "when it is told",
    "next_who": "who that is",
    "waited": "how long a page was held for office hours",
    "undelivered": "list of pages nobody could be given, each with name, channel and reason",
    "worst": "name of the worst severity",
    "channel": "name of the incident's chat channel",
    "ticket": "title of the incident's ticket",
    "commander": "who is incident commander",
    "technical_lead": "who leads the technical work",
    "roles": "list of roles, each with name and holder",
    "links": "list of helpful pages, each with title and url",
    "values": "list of what was measured, each with name and value",
    "now": "when the message was made",
    "level": "number of the escalation level",
    "target": "name of the person it is for",
    "role": "what they are in this incident",
    "via": "the schedule, team or role that named them",
    "by": "who acknowledged, resolved or wrote",
    "text": "the update, the resolution or the note itself",
    "duration": "how long it took, or has taken",
    "next_update": "when the next update is due",
    "updates_every": "how often updates are promised",
    "review_due": "when the review is due",
    "step": "title of the step that waits for approval",
    "call": "what exactly that step would do",
    "risk": "how dangerous it is",
    "approvals": "how many people must agree",
    "firing": "how many of its alerts fire",
    "alerts": "list of alerts, each with name, labels and annotations",
}
"""Variables a template may use. One that has no value for a message is empty."""

DEFAULTS: Mapping[str, Template] = {
    "page": Template(
        subject="[{{ severity }}] {{ title }}",
        body="{{ title }}\nWhere: {{ where }}\nSince: {{ opened_at }}"
        "\nSeverity: {{ severity }}{% if definition %}, {{ definition }}{% endif %}"
        '\nWhy: {% if rule not in reason %}rule "{{ rule }}": {% endif %}{{ reason }}'
        "\nYou: {{ target }}, {{ role }}, level {{ level }}"
        "{% if why_now %}\nNow: {{ why_now }}{% endif %}"
        "{% if change %}\nChanged: {{ change }}"
        "{% if change_reason %}, {{ change_reason }}{% endif %}{% endif %}"
        "{% if waited %}\nHeld {{ waited }} for office hours{% endif %}"
        "{% if also_paged %}\nAlso paged: {{ also_paged }}{% endif %}"
        "\nNext: {{ next }}"
        "{% if playbook %}\nPlaybook: {{ playbook }}{% endif %}"
        "{% for link in links %}\n{{ link.title }}: {{ link.url }}{% endfor %}"
        "\nIncident: {{ incident }}",
    ),
    "last_resort": Template(
        subject="[{{ worst }}] NOBODY COULD BE REACHED about [{{ severity }}] {{ title }}",
        body="{{ incident }} is open since {{ opened_at }}, and no page of its last level could be "
        "delivered. {{ target }}, you are the last resort: take it, or find somebody who does."
        "{% for each in undelivered %}\n{{ each.name }} by {{ each.channel }}: {{ each.reason }}"
        "{% endfor %}",
    ),
    "opened": Template(
        subject="[{{ severity }}] {{ title }}",
        body="{{ incident }} opened at {{ opened_at }}: {{ reason }}",
    ),
    "again": Template(
        subject="[{{ severity }}] {{ change }}: {{ title }}",
        body="{{ incident }}: {{ change }}{% if change_reason %} ({{ change_reason }}){% endif %}."
        "\nIt is {{ status }}, and began at {{ opened_at }}.",
    ),
    "joined": Template(
        subject="[{{ severity }}] more alerts: {{ title }}",
        body="{{ firing }} alerts of {{ incident }} fire now.",
    ),
    "acknowledged": Template(
        subject="[{{ severity }}] acknowledged: {{ title }}",
        body="{{ by }} has taken {{ incident }}.",
    ),
    "resolved": Template(
        subject="[{{ severity }}] resolved: {{ title }}",
        body="{{ incident }} is resolved{% if by %} by {{ by }}{% endif %}"
        "{% if duration %} after {{ duration }}{% endif %}.{% if text %}\n{{ text }}{% endif %}",
    ),
    "initial_update": Template(
        subject="[{{ severity }}] {{ title }}",
        body="We are looking into it.{% if text %}\n{{ text }}{% endif %}",
    ),
    "update": Template(
        subject="[{{ severity }}] update: {{ title }}",
        body="{{ text }}{% if next_update %}\nNext update: {{ next_update }}{% endif %}",
    ),
    "reminder": Template(
        subject="[{{ severity }}] overdue: {{ title }}",
        body="{{ reason }} ({{ incident }}). {{ target }}, this is yours as {{ role }}.",
    ),
    "approval": Template(
        subject="[{{ severity }}] approval needed: {{ step }}",
        body="{{ incident }}, {{ playbook }}: {{ step }}\nRuns: {{ call }}\nRisk: {{ risk }}",
    ),
}
"""Templates of every message there is, for a policy that does not bring its own."""

PURPOSES = (*DEFAULTS,)
"""Messages there are; a channel may name another template for each."""

_FILTERS = frozenset({"capitalize", "default", "first", "last", "length", "lower", "trim", "upper"})
_TESTS = frozenset({"defined"})
_NODES = (
    nodes.Template,
    nodes.Output,
    nodes.TemplateData,
    nodes.Name,
    nodes.Const,
    nodes.Getattr,
    nodes.Getitem,
    nodes.Filter,
    nodes.Test,
    nodes.If,
    nodes.For,
    nodes.Compare,
    nodes.Operand,
    nodes.And,
    nodes.Or,
    nodes.Not,
    nodes.CondExpr,
)
_WORDS = {
    nodes.Mul: "`*`",
    nodes.Pow: "`**`",
    nodes.Concat: "`~`",
    nodes.Add: "`+`",
    nodes.Mod: "`%`",
    nodes.Call: "a call",
}


@dataclass(frozen=True, slots=True)
class TemplateFault:
    """What is wrong with a template, and in which of its lines.

    Attributes:
        unknown: The name that means nothing, if that is what is wrong.
        known: The names that would mean something there.
    """

    message: str
    line: int
    unknown: str | None = None
    known: tuple[str, ...] = ()


def _environment() -> ImmutableSandboxedEnvironment:
    # Plain text for chat, mail and pagers; whoever puts it into HTML escapes it there.
    environment = ImmutableSandboxedEnvironment(autoescape=False, undefined=ChainableUndefined)
    environment.globals.clear()
    environment.filters = {name: environment.filters[name] for name in _FILTERS}
    return environment


_ENVIRONMENT = _environment()


def template_faults(text: str) -> tuple[TemplateFault, ...]:
    """What keeps a template from being used; nothing for a good one."""
    try:
        tree = _ENVIRONMENT.parse(text)
    except TemplateSyntaxError as error:
        return (TemplateFault(error.message or "no template", error.lineno),)
    return tuple(_faults(tree))


def _faults(tree: nodes.Template) -> Iterator[TemplateFault]:
    loops = list(tree.find_all(nodes.For))
    own = {name.name for loop in loops for name in loop.target.find_all(nodes.Name)}
    own |= {loop.target.name for loop in loops if isinstance(loop.target, nodes.Name)}
    known = (*VARIABLES, *sorted(own))
    for node in tree.find_all(nodes.Node):
        if not isinstance(node, _NODES):
            word = next((w for kind, w in _WORDS.items() if isinstance(node, kind)), None)
            shown = word or f"`{type(node).__name__.lower()}`"
            yield TemplateFault(f"a template may not use {shown}", node.lineno)
        elif isinstance(node, nodes.Name) and node.name not in known:
            yield TemplateFault(
                f"unknown variable {node.name!r}", node.lineno, node.name, tuple(VARIABLES)
            )
        elif isinstance(node, nodes.Filter) and node.name not in _FILTERS:
            yield TemplateFault(
                f"unknown filter {node.name!r}", node.lineno, node.name, tuple(sorted(_FILTERS))
            )
        elif isinstance(node, nodes.Test) and node.name not in _TESTS:
            yield TemplateFault(
                f"unknown test {node.name!r}", node.lineno, node.name, tuple(_TESTS)
            )
        elif isinstance(node, nodes.For) and (node.recursive or list(node.find_all(nodes.For))):
            yield TemplateFault("a loop may not hold a loop", node.lineno)


@lru_cache(maxsize=512)
def _compiled(text: str) -> tuple[Compiled, frozenset[str]]:
    """A template, and the variables it speaks of."""
    tree = _ENVIRONMENT.parse(text)
    named = frozenset(meta.find_undeclared_variables(tree))
    return _ENVIRONMENT.from_string(tree), named & VARIABLES.keys()


def _rendered(text: str, variables: Mapping[str, Any], most: int) -> str:
    compiled, named = _compiled(text)
    # Only what it speaks of: to hand over every variable costs more than to render.
    known = {name: _value(variables.get(name, "")) for name in named}
    parts: list[str] = []
    length = 0
    for part in compiled.generate(known):
        parts.append(part)
        length += len(part)
        if length > most:
            return "".join(parts)[: most - 1] + "…"
    return "".join(parts)


def _value(value: Any) -> Any:  # noqa: ANN401 - a template takes whatever has a text
    return value() if callable(value) else value


def render_line(text: str, variables: Mapping[str, Any]) -> str:
    """One line made of a template: the name of a channel, the title of a ticket."""
    return " ".join(_rendered(text, variables, MOST_SUBJECT).split())


def render(
    policy: Policy, name: str, variables: Mapping[str, Any], purpose: str | None = None
) -> Message:
    """The message of a template of the policy, or of the default for its purpose.

    A policy's template that fails on what this incident has gives way to the default.

    Subject and body are cut at `MOST_SUBJECT` and `MOST_BODY`; the subject is one line.

    Args:
        variables: Values of `VARIABLES`; what is left out is empty. A function is called for its
            value, and only by a template that speaks of it.
        purpose: Whose default stands in; the name itself if absent.

    Raises:
        KeyError: No template has this name, and no default this purpose.
    """
    template = policy.templates.get(name)
    if template is not None:
        try:
            return _message(template, variables)
        except (TemplateError, ArithmeticError, LookupError, TypeError, ValueError):
            # What a template meets is known only now; a page must go out whatever it is.
            pass
    return _message(DEFAULTS[purpose or name], variables)


def _message(template: Template, variables: Mapping[str, Any]) -> Message:
    subject = _rendered(template.subject, variables, MOST_SUBJECT)
    return Message(
        subject=" ".join(subject.split()), body=_rendered(template.body, variables, MOST_BODY)
    )

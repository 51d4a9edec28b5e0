"""A draft policy from an Alertmanager configuration: the same alerts to the same receivers.

Alertmanager sends alerts along a tree to receivers; a policy gives each alert one severity, and
tells people by it. So each set of receivers that an alert can reach becomes a severity, and the
tree a list of rules of which the first that fits decides. Nothing secret is taken over.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import YAMLError

from tocsin_policy.durations import format_duration, parse_duration
from tocsin_policy.importing.drafting import Draft, slug, written
from tocsin_policy.importing.intervals import Unsayable, opening_hours
from tocsin_policy.loader import read_policy
from tocsin_policy.matchers import MatcherError, Operator, matches, parse_matchers
from tocsin_policy.opening import Opening

MOST_RULES = 2_000
"""Routes with `continue` multiply; a tree that makes more rules is refused."""

_MOST_LINE = 200
_MOST_REPEATS = 20
_NOT_SAID = ("...",)
_NO_ROUTE = "it is no Alertmanager configuration: it has no route"
_ADDRESS = re.compile(r"[^@\s<>{},]+@[^@\s<>{},]+")
_DURATION = re.compile(r"(?:(\d+)y)?(?:(\d+)w)?(.*)")

_GROUP_WAIT, _GROUP_INTERVAL, _REPEAT_INTERVAL = "30s", "5m", "4h"

_KINDS = {
    "webhook_configs": "webhook",
    "pagerduty_configs": "pagerduty",
    "slack_configs": "slack",
    "email_configs": "email",
    "msteams_configs": "teams",
    "msteamsv2_configs": "teams",
    "jira_configs": "jira",
    "opsgenie_configs": "apprise",
    "victorops_configs": "apprise",
    "pushover_configs": "apprise",
    "discord_configs": "apprise",
    "telegram_configs": "apprise",
    "webex_configs": "apprise",
    "sns_configs": "apprise",
    "rocketchat_configs": "apprise",
    "mattermost_configs": "apprise",
}
"""Integrations, and the kind of channel that reaches the same place."""

_WORDS = frozenset(
    {
        *("title", "text", "body", "html", "subject", "message", "description", "summary"),
        *("details", "severity", "class", "component", "group", "client", "client_url", "images"),
        *("links", "fields", "actions", "pretext", "fallback", "priority", "tags", "note"),
        *("entity", "responders", "headers", "payload", "footer", "color", "labels"),
        "custom_fields",
    }
)
"""Settings of an integration by which it says things in its own words."""

_SECTIONS = frozenset(
    {"global", "route", "receivers", "inhibit_rules", "time_intervals", "mute_time_intervals"}
)
_RANKS = ("emergency", "page", "critical", "error", "warning", "notice", "info", "none")


@dataclass(frozen=True, slots=True)
class Route:
    """A node of the tree, its settings inherited.

    Attributes:
        matchers: Its own, as text.
        line: Where it stands, from 1.
    """

    receiver: str
    matchers: tuple[str, ...]
    group: tuple[tuple[str, ...], str, str]
    repeat: str
    mutes: tuple[str, ...]
    active: tuple[str, ...]
    goes_on: bool
    line: int
    routes: tuple[Route, ...] = ()


@dataclass(frozen=True, slots=True)
class Way:
    """One way through the tree: alerts that match go to these routes."""

    matchers: tuple[str, ...] = ()
    routes: tuple[Route, ...] = ()

    @property
    def receivers(self) -> tuple[str, ...]:
        """Their names, each once."""
        return tuple(dict.fromkeys(route.receiver for route in self.routes))


def import_alertmanager(configuration: str, system: str) -> Draft:
    """The draft of a policy for `system` that does what an `alertmanager.yml` does.

    What cannot be said the same way is a gap, with the line it stands in.

    Raises:
        ValueError: It is no Alertmanager configuration.
    """
    document = _read(configuration)
    importing = _Importing(document, system)
    policy = importing.policy()
    gaps = tuple(sorted(importing.gaps, key=_place))
    text = written(policy, system, gaps, "an Alertmanager configuration")
    read_policy(text, "draft")
    counted = {
        "routes": importing.routes,
        "rules": len(policy["classification"]["rules"]),
        "severities": len(policy["severities"]),
        "receivers": len(policy.get("contacts", {})),
        "channels": len(policy.get("channels", {})),
        "inhibition rules": len(policy.get("inhibition", {}).get("rules", {})),
        "time intervals": len(policy.get("calendars", {})),
        "maintenance windows": len(policy.get("maintenance", {})),
    }
    return Draft(text, gaps, counted)


def _place(gap: str) -> int:
    """Where a gap is, from its beginning; what is in no line comes after the lines."""
    found = re.match(r"line (\d+):", gap)
    return int(found[1]) if found is not None else 1_000_000_000


def ways(root: Route) -> tuple[Way, ...]:
    """The ways through a tree, in an order in which the first that matches is the one taken.

    Raises:
        ValueError: There are more than `MOST_RULES`.
    """
    found = _through(root)
    if len(found) > MOST_RULES:
        raise ValueError(f"its routes make more than {MOST_RULES:,} rules")
    return tuple(found)


def taken(found: Sequence[Way], labels: Mapping[str, str]) -> Way:
    """The way an alert with these labels goes."""
    for way in found:
        if matches([m for text in way.matchers for m in parse_matchers(text)], labels):
            return way
    raise LookupError("the root takes every alert")


def read_routes(configuration: str) -> Route:
    """The tree of a configuration. Raises as `import_alertmanager`."""
    return _Importing(_read(configuration), "unnamed").tree()


def _through(route: Route) -> list[Way]:
    return [
        Way((*route.matchers, *way.matchers), way.routes) for way in _past(route.routes, (route,))
    ]


def _past(routes: tuple[Route, ...], otherwise: tuple[Route, ...]) -> list[Way]:
    """The ways past siblings; an alert that none of them takes goes to `otherwise`."""
    if not routes:
        return [Way((), otherwise)]
    first, rest = routes[0], routes[1:]
    found: list[Way] = []
    inner = _through(first)
    if first.goes_on:
        further = _past(rest, ())
        if len(inner) * len(further) > MOST_RULES:
            raise ValueError(f"its routes make more than {MOST_RULES:,} rules")
        found += [
            Way((*one.matchers, *other.matchers), (*one.routes, *other.routes))
            for one in inner
            for other in further
        ]
    else:
        found += inner
    found += _past(rest, otherwise)
    if len(found) > MOST_RULES:
        raise ValueError(f"its routes make more than {MOST_RULES:,} rules")
    return found


def _read(configuration: str) -> CommentedMap:
    try:
        document = YAML(typ="rt").load(configuration)
    except YAMLError as error:
        raise ValueError(f"it is no YAML: {error}") from error
    if not isinstance(document, CommentedMap) or not isinstance(document.get("route"), Mapping):
        raise ValueError(_NO_ROUTE)  # noqa: TRY004 - what is wrong is the file, not its type
    return document


def _line(node: Any, key: str | int | None = None) -> int:  # noqa: ANN401 - whatever YAML holds
    """The line of a node, or of one of its entries, from 1."""
    place = getattr(node, "lc", None)
    if place is None:
        return 1
    if key is not None:
        if isinstance(node, CommentedMap) and key in node:
            return int(place.key(key)[0]) + 1
        if isinstance(node, CommentedSeq) and isinstance(key, int):
            return int(place.item(key)[0]) + 1
    return int(place.line or 0) + 1


@dataclass(slots=True)
class _Importing:
    document: CommentedMap
    system: str
    gaps: list[str] = field(default_factory=list)
    routes: int = 0

    def gap(self, line: int, what: str) -> None:
        said = f"line {line}: {what}"
        if said not in self.gaps:
            self.gaps.append(said)

    def policy(self) -> dict[str, Any]:
        root = self.tree()
        found = ways(root)
        channels, contacts = self._receivers()
        intervals = self._intervals()
        severities = self._severities(found, contacts, intervals)
        policy: dict[str, Any] = {
            "version": 1,
            "system": self.system,
            "owner": "to be filled",
            "claims": [['alertname=~".+"']],
        }
        calendars = {name: held for name, held in intervals.items() if name in self._active(found)}
        if calendars:
            policy["calendars"] = calendars
        policy |= {
            "severities": [one.severity for one in severities],
            "classification": self._rules(found, severities),
            "grouping": self._grouping(root),
        }
        inhibition = self._inhibition()
        if inhibition:
            policy["inhibition"] = {"rules": inhibition}
        windows = self._maintenance(found, intervals)
        if windows:
            policy["maintenance"] = windows
        if contacts:
            policy["contacts"] = contacts
        policy["escalation"] = {
            one.severity["name"]: [one.level] for one in severities if one.level is not None
        }
        if channels:
            policy["channels"] = channels
        self._leftovers()
        return policy

    def tree(self) -> Route:
        """The routes, with what each inherits."""
        route = self.document["route"]
        inherited = Route(
            receiver="",
            matchers=(),
            group=((), _GROUP_WAIT, _GROUP_INTERVAL),
            repeat=_REPEAT_INTERVAL,
            mutes=(),
            active=(),
            goes_on=False,
            line=1,
        )
        made = self._route(route, inherited)
        if made is None or not made.receiver:
            raise ValueError("it is no Alertmanager configuration: its route has no receiver")
        return made

    def _route(self, node: CommentedMap, above: Route) -> Route | None:
        line = _line(node)
        try:
            own = tuple(_matchers(node, "matchers", "match", "match_re"))
        except MatcherError as error:
            self.gap(line, f"a route is left out; its matchers cannot be read: {error}")
            return None
        group_by = node.get("group_by")
        by, wait, interval = above.group
        by = by if group_by is None else tuple(str(name) for name in group_by)
        group = (by, str(node.get("group_wait", wait)), str(node.get("group_interval", interval)))
        self.routes += 1
        here = Route(
            receiver=str(node.get("receiver", above.receiver)),
            matchers=own,
            group=group,
            repeat=str(node.get("repeat_interval", above.repeat)),
            # Alertmanager does not hand these down.
            mutes=tuple(map(str, node.get("mute_time_intervals") or ())),
            active=tuple(map(str, node.get("active_time_intervals") or ())),
            goes_on=bool(node.get("continue", False)),
            line=line,
        )
        if above.receiver and group != above.group:
            self.gap(line, "group_by, group_wait and group_interval: a policy has one of each")
        below = (self._route(each, here) for each in node.get("routes") or ())
        return replace(here, routes=tuple(each for each in below if each is not None))

    def _grouping(self, root: Route) -> dict[str, Any]:
        by, wait, interval = root.group
        if by == _NOT_SAID:
            line = _line(self.document["route"], "group_by")
            self.gap(line, "group_by ['...']: alerts are grouped by name and instance instead")
            by = ("alertname", "instance")
        return {
            "by": list(by),
            "wait": _duration(wait),
            "interval": _duration(interval),
            # A group that is over is gone: what fires again begins anew.
            "reopen_within": "0m",
            "auto_resolve_after": _duration(interval),
        }

    def _rules(self, found: Sequence[Way], severities: Sequence[_Severity]) -> dict[str, Any]:
        names = {key: one.severity["name"] for one in severities for key in one.keys}
        rules: list[dict[str, Any]] = []
        for number, way in enumerate(found[:-1], 1):
            line = way.routes[0].line if way.routes else 1
            if not way.matchers:
                self.gap(line, "a route without matchers takes every alert; none comes past it")
                return {"rules": rules, "default": names[_key(way)]}
            label = f"{number}. {' + '.join(way.receivers)}: {', '.join(way.matchers)}"
            rules.append(
                {
                    "name": label[:_MOST_LINE],
                    "match": list(way.matchers),
                    "severity": names[_key(way)],
                }
            )
        return {"rules": rules, "default": names[_key(found[-1])]}

    def _severities(
        self,
        found: Sequence[Way],
        contacts: Mapping[str, Any],
        intervals: Mapping[str, Any],
    ) -> list[_Severity]:
        made: dict[tuple[object, ...], _Severity] = {}
        for way in found:
            key = _key(way)
            held = made.get(key)
            if held is None:
                held = made[key] = self._severity(way, contacts, intervals, len(made))
            held.rank = min(held.rank, _rank(way))
        ordered = sorted(made.values(), key=lambda one: (one.rank, one.number))
        if len(ordered) > 1:
            self.gap(
                _line(self.document, "route"),
                "severities: one for each set of receivers; which is worse is a guess",
            )
        return ordered

    def _severity(
        self,
        way: Way,
        contacts: Mapping[str, Any],
        intervals: Mapping[str, Any],
        number: int,
    ) -> _Severity:
        key = _key(way)
        receivers = [name for name in way.receivers if slug(name) in contacts]
        for name in way.receivers:
            if slug(name) not in contacts:
                self.gap(
                    way.routes[0].line,
                    f"receiver {name!r} tells nobody: its alerts still open incidents",
                )
        named = "-".join(slug(name) for name in way.receivers)[:40].strip("-") or "nobody"
        severity: dict[str, Any] = {
            "name": f"{named}-{number + 1}",
            "definition": f"What Alertmanager sent to {' and '.join(way.receivers)}."[:_MOST_LINE],
        }
        if not receivers:
            severity["pages"] = False
        active = sorted({name for route in way.routes for name in route.active})
        known = [slug(name) for name in active if slug(name) in intervals]
        if known:
            severity |= {"hours": "business_hours", "calendar": known[0]}
        if len(known) > 1:
            self.gap(
                way.routes[0].line,
                f"active_time_intervals {', '.join(active)}: only {active[0]} is kept",
            )
        level = None
        if receivers:
            repeats = min((route.repeat for route in way.routes), key=_seconds)
            level = {
                "number": 1,
                "after": "0m",
                "targets": [f"contact:{slug(name)}" for name in receivers],
                "repeat": _MOST_REPEATS,
                "repeat_every": _duration(repeats),
            }
            if len({route.repeat for route in way.routes}) > 1:
                self.gap(way.routes[0].line, f"repeat_interval: the shortest, {repeats}, for all")
        return _Severity(severity, level, [key], len(_RANKS), number)

    def _active(self, found: Sequence[Way]) -> set[str]:
        return {slug(name) for way in found for route in way.routes for name in route.active}

    def _receivers(self) -> tuple[dict[str, Any], dict[str, Any]]:
        channels: dict[str, Any] = {}
        contacts: dict[str, Any] = {}
        for receiver in self.document.get("receivers") or ():
            said = str(receiver.get("name", ""))
            name = slug(said)
            if name in contacts:
                self.gap(_line(receiver), f"receiver {said!r}: another has the same name here")
            contact: dict[str, Any] = {"name": said[:_MOST_LINE], "role": "receiver"}
            own = []
            for setting, configs in receiver.items():
                for number, config in enumerate(_configs(setting, configs), 1):
                    line = _line(configs, number - 1)
                    word = setting.removesuffix("_configs")
                    channel = f"{name}-{word}" + (f"-{number}" if number > 1 else "")
                    kind = self._kind(line, setting, config, contact)
                    if kind is not None:
                        channels[channel] = {"kind": kind, "endpoint": channel}
                        own.append(channel)
                        self._integration(line, channel, kind, config)
            if own:
                contacts[name] = {**contact, "channels": own}
        return channels, contacts

    def _kind(
        self, line: int, setting: str, config: Mapping[str, Any], contact: dict[str, Any]
    ) -> str | None:
        """The kind of channel for an integration; e-mail goes to the contact's one address."""
        kind = _KINDS.get(setting)
        if kind is None:
            self.gap(line, f"{setting}: no kind of channel reaches it; it is left out")
        if kind != "email":
            return kind
        found = _ADDRESS.search(str(config.get("to", "")))
        if found is None or contact.setdefault("email", found[0]) != found[0]:
            self.gap(
                line, f"{setting}: a contact has one address; {config.get('to')!r} is left out"
            )
            return None
        return kind

    def _integration(self, line: int, channel: str, kind: str, config: Mapping[str, Any]) -> None:
        as_kind = f" (by {kind})" if kind == "apprise" else ""
        self.gap(line, f"channels {channel}{as_kind}: its address and key are settings, not copied")
        words = sorted(_WORDS & set(config))
        if words:
            self.gap(line, f"channels {channel}: not its own words, in {', '.join(words)}")
        if config.get("send_resolved") is False:
            self.gap(line, f"channels {channel}: send_resolved; whoever is paged hears of the end")
        if config.get("max_alerts"):
            self.gap(line, f"channels {channel}: max_alerts; nothing is cut off")

    def _inhibition(self) -> dict[str, Any]:
        made: dict[str, Any] = {}
        rules = self.document.get("inhibit_rules") or ()
        for number, rule in enumerate(rules, 1):
            line = _line(rules, number - 1)
            name = slug(str(rule.get("name", "") or f"inhibit-{number}"))
            try:
                source = list(_matchers(rule, "source_matchers", "source_match", "source_match_re"))
                target = list(_matchers(rule, "target_matchers", "target_match", "target_match_re"))
            except MatcherError as error:
                self.gap(line, f"inhibition {name}: its matchers cannot be read: {error}")
                continue
            if not source or not target:
                self.gap(line, f"inhibition {name}: it must ask something of source and target")
                continue
            made[name] = {"source": source, "target": target}
            equal = [str(label) for label in rule.get("equal") or ()]
            if equal:
                made[name]["equal"] = equal
        return made

    def _intervals(self) -> dict[str, dict[str, Any]]:
        made: dict[str, dict[str, Any]] = {}
        for section in ("time_intervals", "mute_time_intervals"):
            intervals = self.document.get(section) or ()
            for number, interval in enumerate(intervals):
                line = _line(intervals, number)
                name = str(interval.get("name", ""))
                specs = interval.get("time_intervals") or ()
                zones = {str(spec.get("location", "UTC")) for spec in specs}
                try:
                    if len(zones) != 1:
                        raise Unsayable("its parts have several time zones")
                    [zone] = zones
                    hours = opening_hours(specs)
                    if not Opening(zone, hours, None, ()).ever_opens():
                        raise Unsayable("it never comes")
                except ValueError as error:
                    self.gap(line, f"time interval {name!r} is left out: {error}")
                    continue
                made[slug(name)] = {"time_zone": zone, "hours": hours}
        return made

    def _maintenance(
        self, found: Sequence[Way], intervals: Mapping[str, Any]
    ) -> dict[str, dict[str, Any]]:
        made: dict[str, dict[str, Any]] = {}
        for way in found:
            muted = [name for route in way.routes for name in route.mutes]
            for name in dict.fromkeys(muted):
                held = intervals.get(slug(name))
                line = next(route.line for route in way.routes if name in route.mutes)
                if held is None:
                    self.gap(line, f"mute_time_intervals {name!r}: it is not known")
                    continue
                if len(way.routes) > 1:
                    self.gap(
                        line, f"mute_time_intervals {name!r} mutes all receivers of its alerts"
                    )
                window = f"{slug(name)}-{len(made) + 1}"
                made[window] = {
                    "title": f"{name} (line {line})"[:_MOST_LINE],
                    "match": list(way.matchers) or ['alertname=~".+"'],
                    "on": held["hours"],
                    "time_zone": held["time_zone"],
                }
        return made

    def _leftovers(self) -> None:
        held = self.document.get("global") or {}
        timeout = str(held.get("resolve_timeout", "5m"))
        if _seconds(timeout) != _seconds("5m"):
            line = _line(held, "resolve_timeout")
            self.gap(line, "global.resolve_timeout: alerts without an end have five minutes")
        for name in self.document:
            if name not in _SECTIONS:
                self.gap(_line(self.document, name), f"{name}: nothing of it is taken over")
        self.gaps += [
            "claims: the policy takes every alert that has a name; other systems want others",
            "owner: who keeps the policy",
            "contacts: receivers stand for the people behind them; nobody takes turns",
            f"escalation: one level, told again {_MOST_REPEATS} times at most, and nobody after it",
            "grouping: alerts of one group are one incident, by whichever routes they came",
        ]


@dataclass(slots=True)
class _Severity:
    severity: dict[str, Any]
    level: dict[str, Any] | None
    keys: list[tuple[object, ...]]
    rank: int
    number: int


def _key(way: Way) -> tuple[object, ...]:
    """What makes two ways one severity: they tell the same, at the same times, as often."""
    active = frozenset(name for route in way.routes for name in route.active)
    repeat = min((_seconds(route.repeat) for route in way.routes), default=0.0)
    return (way.receivers, active, repeat)


def _rank(way: Way) -> int:
    """How bad its alerts are, by what they say themselves."""
    for text in way.matchers:
        for matcher in parse_matchers(text):
            if matcher.name == "severity" and matcher.operator in {
                Operator.EQUAL,
                Operator.MATCHES,
            }:
                for number, word in enumerate(_RANKS):
                    if re.search(rf"\b{word}\b", matcher.value):
                        return number
    return len(_RANKS)


def _matchers(node: Mapping[str, Any], new: str, equal: str, pattern: str) -> Iterator[str]:
    """Matchers of all the ways there are to write them, each as text of one form."""
    forms: list[tuple[str, Callable[[Any], str]]] = [
        (equal, lambda pair: f"{pair[0]}={_quoted(pair[1])}"),
        (pattern, lambda pair: f"{pair[0]}=~{_quoted(pair[1])}"),
    ]
    for text in node.get(new) or ():
        yield from (str(matcher) for matcher in parse_matchers(str(text)))
    for name, form in forms:
        for pair in (node.get(name) or {}).items():
            yield from (str(matcher) for matcher in parse_matchers(form(pair)))


def _configs(setting: str, configs: object) -> Sequence[Mapping[str, Any]]:
    if not setting.endswith("_configs") or not isinstance(configs, Sequence):
        return ()
    return [config if isinstance(config, Mapping) else {} for config in configs]


def _quoted(value: object) -> str:
    escaped = str(value).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def _parsed(text: str) -> timedelta:
    """A duration as Prometheus writes it: it knows weeks, and years of 365 days."""
    found = _DURATION.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is no duration")
    years, weeks, rest = found.groups()
    days = timedelta(days=365 * int(years or 0) + 7 * int(weeks or 0))
    return days + (parse_duration(rest) if rest and rest != "0" else timedelta())


def _seconds(text: str) -> float:
    return _parsed(text).total_seconds()


def _duration(text: str) -> str:
    return format_duration(_parsed(text))

"""`tocsin on-call`, `tocsin policy calendar`: who answers, now and in the coming month."""

from __future__ import annotations

import asyncio
import io
import sys
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import typer
from rich.markup import escape
from rich.table import Table
from ruamel.yaml import YAML
from typer.core import TyperGroup

from tocsin_cli import connection
from tocsin_cli.exits import NotFound, Unreachable
from tocsin_cli.printing import Json, console, errors, instant, print_json
from tocsin_policy import Policy, Shift, load_policy
from tocsin_policy.agenda import Day, agenda, time_zone_of
from tocsin_policy.roster import Attendance, Roster, roster, unattended
from tocsin_runtime.clock import SystemClock

LOOKED_AHEAD = timedelta(days=90)
"""How far `policy validate` looks for gaps."""

_SHOWN_GAPS = 3


class _ShowsByDefault(TyperGroup):
    """A group whose first word may be a system or a file; then it is `show`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401 - typer's context
        if args and args[0] not in self.commands and args[0] != "--help":
            args = ["show", *args]
        return super().parse_args(ctx, args)


_on_call = typer.Typer(
    cls=_ShowsByDefault,
    no_args_is_help=True,
    help="Who is on call: SYSTEM or POLICY.yaml, --at; or export and import a schedule.",
)

Source = Annotated[str, typer.Argument(metavar="SYSTEM|POLICY.yaml")]
Begin = Annotated[str | None, typer.Option("--from", help="First day; today without it.")]


def register(app: typer.Typer, policy_app: typer.Typer) -> None:
    """Add these commands."""
    _on_call.command("show")(show)
    _on_call.command("export")(export)
    _on_call.command("import")(import_)
    app.add_typer(_on_call, name="on-call")
    policy_app.command("calendar")(calendar)


def warn_of_gaps(policy: Policy, path: Path) -> None:
    """Say where nobody will be on call in the coming time; a warning, no failure."""
    now = SystemClock().now()
    for found in unattended(policy, now, now + LOOKED_AHEAD):
        zone = ZoneInfo(policy.schedules[found.schedule].time_zone)
        spans = ", ".join(_span(gap, zone) for gap in found.gaps[:_SHOWN_GAPS])
        more = len(found.gaps) - _SHOWN_GAPS
        said = f"{spans}{f' and {more} more' if more > 0 else ''}"
        errors.print(
            f"{path}: warning: schedules.{found.schedule}: nobody is on call {said}"
            f" ({_hours(found.total)} in the coming {LOOKED_AHEAD.days} days)",
            style="yellow",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )


def show(
    source: Source,
    at: Annotated[str | None, typer.Option(help="An instant; now without it.")] = None,
    as_json: Json = False,
) -> None:
    """Who is on call in every schedule and who holds every role, why, and until when."""
    policy = _policy(source)
    when = SystemClock().now() if at is None else instant(at)
    found = roster(policy, when)
    if as_json:
        print_json(_roster_document(policy, found))
        return
    zone = ZoneInfo(time_zone_of(policy))
    console.print(f"[bold]{policy.system}[/bold] at {_shown(when, zone)} ({zone.key})")
    schedules = Table("schedule", "on call", "why", "until", "then", box=None)
    for one in found.schedules:
        schedules.add_row(*_attendance_row(policy, one, zone))
    console.print(schedules if found.schedules else "no schedule")
    roles = Table("role", "held by", "why", box=None)
    for holding in found.roles:
        people = ", ".join(_named(policy, contact) for contact in holding.contacts)
        roles.add_row(policy.roles[holding.role].name, people or "-", escape(holding.reason))
    console.print(roles if found.roles else "no role")


def calendar(
    source: Source,
    begin: Begin = None,
    days: Annotated[int, typer.Option(min=1, max=370)] = 31,
    as_json: Json = False,
) -> None:
    """The coming month: shifts, handovers, gaps, overrides, drills, days off, office hours."""
    policy = _policy(source)
    zone = ZoneInfo(time_zone_of(policy))
    today = SystemClock().now().astimezone(zone).date()
    first = today if begin is None else date.fromisoformat(begin)
    found = agenda(policy, first, days)
    if as_json:
        print_json([_day_document(day) for day in found])
        return
    console.print(f"[bold]{policy.system}[/bold], times of {zone.key}")
    for week in _weeks(found):
        console.print(_week_table(policy, week, zone))


def export(
    source: Source,
    schedule: Annotated[str, typer.Argument(metavar="SCHEDULE")],
    begin: Begin = None,
    days: Annotated[int, typer.Option(min=1, max=370)] = 90,
) -> None:
    """A schedule's shifts as an iCalendar file, to standard output."""
    from tocsin_policy.icalendar import to_ical  # noqa: PLC0415 - its library loads slowly

    policy = _policy(source)
    _known_schedule(policy, schedule)
    now = SystemClock().now()
    start, end = _span_asked(policy, schedule, begin, days, now)
    sys.stdout.write(to_ical(policy, schedule, start, end, now) + "\n")


def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE.ics")],
    schedule: Annotated[str, typer.Option(help="Of the policy.")],
    source: Annotated[str, typer.Option("--policy", help="A system or a file.")],
    begin: Begin = None,
    days: Annotated[int, typer.Option(min=1, max=370)] = 90,
) -> None:
    """Overrides, as YAML to paste, that make a schedule say what a calendar says."""
    from tocsin_policy.icalendar import from_ical  # noqa: PLC0415 - its library loads slowly

    policy = _policy(source)
    _known_schedule(policy, schedule)
    start, end = _span_asked(policy, schedule, begin, days, SystemClock().now())
    found = from_ical(file.read_text(encoding="utf-8"), policy, schedule, start, end)
    for event in found.unmatched:
        errors.print(
            f"left out: {event.summary!r} at {event.begins_at:%Y-%m-%d %H:%M}: {event.reason}",
            style="yellow",
            markup=False,
        )
    errors.print(f"{len(found.overrides)} overrides; {found.agreeing} events say what is so anyway")
    overrides = [
        {
            "contact": one.contact,
            "begins_at": one.begins_at.isoformat().replace("+00:00", "Z"),
            "ends_at": one.ends_at.isoformat().replace("+00:00", "Z"),
        }
        for one in found.overrides
    ]
    text = io.StringIO()
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]  # its own default is None
    yaml.dump({"schedules": {schedule: {"overrides": overrides}}}, text)
    sys.stdout.write(text.getvalue())


def _policy(source: str) -> Policy:
    """The policy of a file; else the system's in force, if it runs; else the repository's."""
    path = Path(source)
    if path.suffix in {".yaml", ".yml"} or path.is_file():
        return load_policy(path)
    if connection.connect().bootstrap:
        in_force = asyncio.run(_in_force(source))
        if in_force is not None:
            return in_force
    root = connection.root()
    held = None if root is None else root / "deploy" / "policies" / source / "policy.yaml"
    if held is None or not held.is_file():
        raise NotFound(f"no file and no system is called {source}")
    return load_policy(held)


async def _in_force(system: str) -> Policy | None:
    from tocsin_replay import read_policies  # noqa: PLC0415 - only where something runs

    try:
        versions = await connection.with_reader(lambda reader: read_policies(reader, system))
    except Unreachable:
        return None
    return versions[-1].policy if versions else None


def _known_schedule(policy: Policy, name: str) -> None:
    if name not in policy.schedules:
        held = ", ".join(policy.schedules) or "none"
        raise NotFound(f"{policy.system} has no schedule {name!r}; it has: {held}")


def _span_asked(
    policy: Policy, schedule: str, begin: str | None, days: int, now: datetime
) -> tuple[datetime, datetime]:
    zone = ZoneInfo(policy.schedules[schedule].time_zone)
    first = now.astimezone(zone).date() if begin is None else date.fromisoformat(begin)
    midnight = datetime.min.time()
    start = datetime.combine(first, midnight, zone).astimezone(UTC)
    return start, datetime.combine(first + timedelta(days=days), midnight, zone).astimezone(UTC)


def _attendance_row(policy: Policy, one: Attendance, zone: ZoneInfo) -> tuple[str, ...]:
    until = "-" if one.until is None else _shown(one.until, zone)
    then = "-" if one.until is None else _named(policy, one.then)
    return one.schedule, _named(policy, one.contact), escape(one.reason), until, then


def _named(policy: Policy, contact: str | None) -> str:
    if contact is None:
        return "[red]nobody[/red]"
    held = policy.contacts.get(contact)
    return escape(contact if held is None or held.name == contact else f"{held.name} ({contact})")


def _shown(at: datetime, zone: ZoneInfo) -> str:
    return at.astimezone(zone).strftime("%a %Y-%m-%d %H:%M")


def _span(gap: Shift, zone: ZoneInfo) -> str:
    return f"{_shown(gap.begins_at, zone)} to {_shown(gap.ends_at, zone)}"


def _hours(total: timedelta) -> str:
    return f"{round(total / timedelta(hours=1), 1):g} h"


def _weeks(days: Iterable[Day]) -> list[list[Day]]:
    weeks: list[list[Day]] = []
    for day in days:
        if not weeks or day.date.isocalendar()[:2] != weeks[-1][0].date.isocalendar()[:2]:
            weeks.append([])
        weeks[-1].append(day)
    return weeks


def _week_table(policy: Policy, week: list[Day], zone: ZoneInfo) -> Table:
    year, number, _ = week[0].date.isocalendar()
    table = Table(
        title=f"week {number} of {year}", title_justify="left", title_style="bold", box=None
    )
    table.add_column("day", no_wrap=True)
    for name in (*policy.calendars, *policy.schedules):
        table.add_column(escape(name))
    table.add_column("also")
    for day in week:
        cells = [_office_cell(day, name, zone) for name in policy.calendars]
        cells += [_shift_cell(day, name, zone) for name in policy.schedules]
        table.add_row(day.date.strftime("%a %d %b"), *cells, _also_cell(policy, day, zone))
    return table


def _clock(at: datetime, day: Day, zone: ZoneInfo) -> str:
    return "24:00" if at == day.ends_at else at.astimezone(zone).strftime("%H:%M")


def _office_cell(day: Day, name: str, zone: ZoneInfo) -> str:
    office = next(one for one in day.offices if one.calendar == name)
    spans = [f"{_clock(a, day, zone)}-{_clock(b, day, zone)}" for a, b in office.spans]
    if office.day_off or (office.holiday and not spans):
        spans.append("[cyan]day off[/cyan]" if office.day_off else "[cyan]holiday[/cyan]")
    return ", ".join(spans) or "[dim]closed[/dim]"


def _shift_cell(day: Day, name: str, zone: ZoneInfo) -> str:
    parts = []
    for shift in day.shifts[name]:
        since = "" if shift.begins_at == day.begins_at else f"{_clock(shift.begins_at, day, zone)} "
        if shift.contact is None:
            whole = shift.ends_at - shift.begins_at == day.hours
            until = "" if whole else f" to {_clock(shift.ends_at, day, zone)}"
            parts.append(f"[red]{since}nobody{until}[/red]")
        else:
            parts.append(f"{since}{escape(shift.contact)}")
    return "\n".join(parts)


def _also_cell(policy: Policy, day: Day, zone: ZoneInfo) -> str:
    found = [
        f"[magenta]{_clock(one.begins_at, day, zone)} drill:"
        f" {escape(policy.drills[one.drill].title)}[/magenta]"
        for one in day.rehearsals
    ]
    found += [
        f"[yellow]{escape(one.override.contact)} stands in ({escape(one.schedule)})[/yellow]"
        for one in day.stand_ins
    ]
    if day.hours != timedelta(days=1):
        found.append(f"[cyan]the clocks change: {_hours(day.hours)}[/cyan]")
    return "\n".join(found)


def _roster_document(policy: Policy, found: Roster) -> dict[str, Any]:
    return {
        "system": policy.system,
        "at": found.at.isoformat(),
        "schedules": [
            {
                "schedule": one.schedule,
                "contact": one.contact,
                "reason": one.reason,
                "until": None if one.until is None else one.until.isoformat(),
                "then": one.then,
            }
            for one in found.schedules
        ],
        "roles": [
            {"role": one.role, "contacts": list(one.contacts), "reason": one.reason}
            for one in found.roles
        ],
    }


def _day_document(day: Day) -> dict[str, Any]:
    return {
        "date": day.date.isoformat(),
        "begins_at": day.begins_at.isoformat(),
        "ends_at": day.ends_at.isoformat(),
        "shifts": {
            name: [_shift_document(one) for one in held] for name, held in day.shifts.items()
        },
        "handovers": [
            {"schedule": one.schedule, "at": one.at.isoformat(), "contact": one.contact}
            for one in day.handovers
        ],
        "calendars": {
            office.calendar: {
                "open": [[a.isoformat(), b.isoformat()] for a, b in office.spans],
                "holiday": office.holiday,
                "day_off": office.day_off,
            }
            for office in day.offices
        },
        "overrides": [
            {"schedule": one.schedule, **one.override.model_dump(mode="json")}
            for one in day.stand_ins
        ],
        "drills": [
            {"drill": one.drill, "begins_at": one.begins_at.isoformat()} for one in day.rehearsals
        ],
    }


def _shift_document(one: Shift) -> dict[str, Any]:
    return {
        "contact": one.contact,
        "begins_at": one.begins_at.isoformat(),
        "ends_at": one.ends_at.isoformat(),
        "reason": one.reason,
    }

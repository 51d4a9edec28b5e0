"""`tocsin policy test`: a policy's scenarios, on virtual time."""

from __future__ import annotations

import logging
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import structlog
import typer
from rich.markup import escape
from rich.table import Table

from tocsin_cli.exits import Exit
from tocsin_cli.printing import Json, console, print_json
from tocsin_replay.scenarios import (
    CannotHappen,
    Held,
    Judged,
    judge,
    load_suite,
    play,
    show,
    suites_in,
)
from tocsin_runtime.clock import SystemClock


@dataclass(frozen=True, slots=True)
class Tried:
    """A scenario and how it went.

    Attributes:
        judged: `None` where something was given that cannot happen; `problem` says what.
    """

    system: str
    held: Held
    judged: Judged | None
    problem: str
    took: timedelta

    @property
    def passed(self) -> bool:
        """Whether all is as wanted."""
        return self.judged is not None and self.judged.passed

    @property
    def shown(self) -> str:
        """Why it is not as wanted."""
        return show(self.judged) if self.judged is not None else self.problem


def register(policies: typer.Typer) -> None:
    """Add the command."""
    policies.command("test")(policy_test)


def policy_test(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(help="Policies, their folders, or a folder of such; deploy/policies."),
    ] = None,
    junit: Annotated[
        Path | None, typer.Option("--junit", help="Write a JUnit report there.")
    ] = None,
    only: Annotated[
        str, typer.Option("-k", help="Only scenarios with this in their name.", metavar="NAME")
    ] = "",
    as_json: Json = False,
) -> None:
    """Try policies by the scenarios beside them; what fails is shown whole.

    Exit code 1 if a scenario is not as wanted, 2 if there is none.
    """
    suites = [
        load_suite(file)
        for path in paths or [Path("deploy", "policies")]
        for file in suites_in(path)
    ]
    # What the services would log of a made-up day is nobody's concern.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    clock = SystemClock()
    tried: list[Tried] = []
    for suite in suites:
        for held in suite.scenarios:
            if only.lower() not in held.scenario.name.lower():
                continue
            began = clock.monotonic()
            judged, problem = None, ""
            try:
                judged = judge(play(suite.policy, held.scenario, held.folder))
            except CannotHappen as error:
                problem = str(error)
            took = timedelta(seconds=clock.monotonic() - began)
            tried.append(Tried(suite.policy.system, held, judged, problem, took))
    if not tried:
        raise ValueError("no scenario is named so" if only else "there is no scenario")
    if junit is not None:
        junit.write_text(_junit(tried), encoding="utf-8")
    if as_json:
        print_json([_document(each) for each in tried])
    else:
        _print(tried)
    if not all(each.passed for each in tried):
        raise typer.Exit(Exit.FAILED)


def _print(tried: Sequence[Tried]) -> None:
    table = Table("", "system", "scenario", "seconds", box=None, pad_edge=False)
    for each in tried:
        mark = "[green]✓[/green]" if each.passed else "[red]✗[/red]"
        seconds = f"{each.took.total_seconds():.2f}"
        table.add_row(mark, each.system, escape(each.held.scenario.name), seconds)
    console.print(table)
    failed = [each for each in tried if not each.passed]
    for each in failed:
        console.print(f"\n[red]{each.held.file}:{each.held.line}[/red]", highlight=False)
        for line in each.shown.splitlines():
            wrong = line.lstrip(" 0123456789dhms").startswith("✗")
            style = "red" if wrong else ""
            console.print(line, style=style, markup=False, highlight=False, soft_wrap=True)
    colour = "red" if failed else "green"
    console.print(
        f"\n[{colour}]{len(tried) - len(failed)} of {len(tried)} scenarios are as wanted[/{colour}]"
    )


def _document(tried: Tried) -> dict[str, object]:
    misses = tried.judged.misses if tried.judged is not None else ()
    return {
        "system": tried.system,
        "file": str(tried.held.file),
        "line": tried.held.line,
        "name": tried.held.scenario.name,
        "proves": list(tried.held.scenario.proves),
        "passed": tried.passed,
        "seconds": round(tried.took.total_seconds(), 3),
        "problem": tried.problem,
        "misses": [
            {
                "about": miss.about,
                "at": None if miss.at is None else miss.at.total_seconds(),
                "wanted": miss.wanted,
                "got": miss.got,
            }
            for miss in misses
        ],
        "timeline": "" if tried.passed else tried.shown,
    }


def _junit(tried: Sequence[Tried]) -> str:
    """The report as CI systems read it: one suite a system, one case a scenario."""
    root = ET.Element("testsuites")
    for system in dict.fromkeys(each.system for each in tried):
        cases = [each for each in tried if each.system == system]
        suite = ET.SubElement(
            root,
            "testsuite",
            name=system,
            tests=str(len(cases)),
            failures=str(sum(1 for each in cases if not each.passed)),
            time=f"{sum(each.took.total_seconds() for each in cases):.3f}",
        )
        for each in cases:
            case = ET.SubElement(
                suite,
                "testcase",
                classname=f"{system}.{each.held.file.stem}",
                name=each.held.scenario.name,
                file=str(each.held.file),
                line=str(each.held.line),
                time=f"{each.took.total_seconds():.3f}",
            )
            if not each.passed:
                failure = ET.SubElement(case, "failure", message="not as wanted")
                failure.text = each.shown
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"

"""A policy's folder: the policy, what its runbook asks, and its scenarios."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tocsin_policy import Policy, PolicyRefused, Problem, load_policy
from tocsin_policy.loader import lines_of, read_as
from tocsin_policy.references import nearest
from tocsin_replay.scenarios.document import Runbook, Scenario


@dataclass(frozen=True, slots=True)
class Held:
    """A scenario and where it stands.

    Attributes:
        line: From 1.
    """

    scenario: Scenario
    file: Path
    line: int

    @property
    def folder(self) -> Path:
        """Where its payloads are."""
        return self.file.parent


@dataclass(frozen=True, slots=True)
class Suite:
    """A policy with all that stands beside it.

    Attributes:
        file: The policy's.
        runbook: `None` where there is none.
    """

    file: Path
    policy: Policy
    runbook: Runbook | None
    scenarios: tuple[Held, ...]

    @property
    def folder(self) -> Path:
        """Where all of it stands."""
        return self.file.parent


def suites_in(path: Path) -> tuple[Path, ...]:
    """The policy files a path means: one, one in its folder, or one in each folder below it.

    Raises:
        FileNotFoundError: It means none.
    """
    if path.is_file():
        return (path,)
    found = [path / "policy.yaml"] if (path / "policy.yaml").is_file() else []
    found = found or sorted(path.glob("*/policy.yaml"))
    if not found:
        raise FileNotFoundError(2, "No policy.yaml there", str(path))
    return tuple(found)


def load_suite(file: Path) -> Suite:
    """The policy of a file, its runbook and its scenarios.

    Raises:
        PolicyRefused: Every problem with its file, line and column.
        OSError: A file cannot be read.
    """
    policy = load_policy(file)
    runbook = load_runbook(file.parent / "runbook.yaml")
    known = None if runbook is None else frozenset(row.id for row in runbook.rows)
    scenarios: list[Held] = []
    problems: list[Problem] = []
    for each in sorted(file.parent.glob("scenarios/*.yaml")):
        try:
            scenarios.extend(load_scenarios(each))
        except PolicyRefused as error:
            problems.extend(error.problems)
    problems.extend(_misnamed(policy, scenarios, known))
    if problems:
        raise PolicyRefused(tuple(problems))
    return Suite(file, policy, runbook, tuple(scenarios))


def load_scenarios(file: Path) -> tuple[Held, ...]:
    """The scenarios of one file.

    Raises:
        PolicyRefused: Every problem with its line and column.
    """
    text = file.read_text(encoding="utf-8")
    read: tuple[Scenario, ...] = read_as(tuple[Scenario, ...], text, str(file))
    lines = lines_of(text, ((index,) for index in range(len(read))))
    return tuple(
        Held(scenario, file, line) for scenario, (line, _) in zip(read, lines, strict=True)
    )


def load_runbook(file: Path) -> Runbook | None:
    """What a runbook asks; `None` where there is no such file.

    Raises:
        PolicyRefused: Every problem with its line and column.
    """
    if not file.is_file():
        return None
    text = file.read_text(encoding="utf-8")
    runbook = read_as(Runbook, text, str(file))
    seen: set[str] = set()
    twice = [
        index
        for index, row in enumerate(runbook.rows)
        if row.id in seen or seen.add(row.id)  # type: ignore[func-returns-value]
    ]
    if twice:
        places = lines_of(text, (("rows", index, "id") for index in twice))
        raise PolicyRefused(
            tuple(
                Problem(str(file), *place, f"rows[{index}].id", "another row has this id")
                for index, place in zip(twice, places, strict=True)
            )
        )
    return runbook


def _misnamed(
    policy: Policy, scenarios: list[Held], known: frozenset[str] | None
) -> Iterator[Problem]:
    """Scenarios that share a name, or speak of what is not there."""
    names: dict[str, Held] = {}
    for held in scenarios:
        scenario, place = held.scenario, (str(held.file), held.line, 1)
        if scenario.name in names:
            first = names[scenario.name]
            where = f"{first.file.name}:{first.line}"
            yield Problem(*place, "name", f"another scenario is named so ({where})")
        names[scenario.name] = held
        for row in scenario.proves:
            if known is not None and row not in known:
                yield Problem(
                    *place, "proves", f"the runbook has no row {row!r}", nearest(row, known)
                )
        for index, given in enumerate(scenario.given):
            if given.drill is not None and given.drill not in policy.drills:
                message = f"the policy has no drill {given.drill!r}"
                hint = nearest(given.drill, policy.drills)
                yield Problem(*place, f"given[{index}].drill", message, hint)
            if given.fail is not None and given.fail.channel not in policy.channels:
                message = f"the policy has no channel {given.fail.channel!r}"
                hint = nearest(given.fail.channel, policy.channels)
                yield Problem(*place, f"given[{index}].fail", message, hint)
        wanted = {message.channel for message in scenario.want.messages}
        wanted |= {*scenario.want.silent}
        wanted |= {name for page in scenario.want.pages for name in page.by or ()}
        for name in sorted(wanted - set(policy.channels)):
            message = f"the policy has no channel {name!r}"
            yield Problem(*place, "want", message, nearest(name, policy.channels))

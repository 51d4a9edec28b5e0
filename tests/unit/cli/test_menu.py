"""`tocsin --help`, as a stranger reads it."""

from __future__ import annotations

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from tocsin_cli.__main__ import app
from tocsin_cli.menu import PANELS, Menu

RUNNER = CliRunner()


def test_every_command_stands_under_a_heading_that_says_what_it_is_for() -> None:
    command = get_command(app)
    assert isinstance(command, Menu)
    assert set(command.commands) == {name for names in PANELS.values() for name in names}
    assert "Others" not in RUNNER.invoke(app, ["--help"]).output


def test_the_first_heading_is_what_people_on_call_want_first() -> None:
    said = RUNNER.invoke(app, ["--help"]).output
    places = [said.index(panel) for panel in PANELS]
    assert places == sorted(places)


@pytest.mark.parametrize("name", [name for names in PANELS.values() for name in names])
def test_each_command_explains_itself(name: str) -> None:
    result = RUNNER.invoke(app, [name, "--help"])
    assert result.exit_code == 0
    assert "Usage: " in result.output

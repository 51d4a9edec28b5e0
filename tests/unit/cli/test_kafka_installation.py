"""What a machine must have for the local Kafka, and what it is told when it has not."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tocsin_cli.stack import kafka
from tocsin_cli.stack.problems import StackProblem

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A fresh clone, as far as Kafka is concerned."""
    folder = tmp_path / "repository"
    (folder / "deploy" / "kafka").mkdir(parents=True)
    shutil.copy(ROOT / "deploy" / "kafka" / "pom.xml", folder / "deploy" / "kafka")
    return folder


@pytest.fixture
def only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine whose PATH holds only what the test puts there."""
    programs = tmp_path / "programs"
    programs.mkdir()
    monkeypatch.setenv("PATH", str(programs))
    return programs


def a_program(folder: Path, name: str, script: str) -> None:
    program = folder / name
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


def test_without_java_it_says_what_to_install(repository: Path, only: Path) -> None:
    assert not list(only.iterdir())
    with pytest.raises(StackProblem, match="apt-get install openjdk-17-jre-headless"):
        kafka.install(repository)
    assert not (repository / ".local").exists()


def test_without_maven_it_says_what_to_install(repository: Path, only: Path) -> None:
    a_program(only, "java", "echo 17 >&2")
    with pytest.raises(StackProblem, match="apt-get install maven"):
        kafka.install(repository)
    assert not (repository / ".local" / "kafka" / "libs").exists()


def test_what_maven_says_is_passed_on_and_the_next_attempt_starts_afresh(
    repository: Path, only: Path
) -> None:
    a_program(only, "java", "echo 17 >&2")
    a_program(only, "mvn", "echo the repository is on fire; exit 1")
    for _ in range(2):
        with pytest.raises(StackProblem, match="the repository is on fire"):
            kafka.install(repository)
        assert not kafka.Installation(repository / ".local" / "kafka").stamp.exists()

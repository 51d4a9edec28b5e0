"""What was released is recorded, and holds whoever changes a type later."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tocsin_contracts.registry import FACTS
from tocsin_contracts.releasing import main, problems, record_release

RELEASED = Path(__file__).resolve().parents[3] / "libs" / "contracts" / "released"
SILENCES = {name: fact for name, fact in FACTS.items() if fact.TOPIC == "silences"}


def test_every_released_type_is_still_there_and_unbroken() -> None:
    assert problems(RELEASED) == ()


def test_a_first_release_records_every_type_and_the_same_release_again_nothing(
    tmp_path: Path,
) -> None:
    assert record_release(tmp_path, SILENCES) == tuple(sorted(SILENCES))
    assert record_release(tmp_path, SILENCES) == ()


def test_a_type_that_was_removed_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    removed = "tocsin.silences.muted.v1"
    (tmp_path / f"{removed}.json").write_text("{}")
    with pytest.raises(ValueError, match=f"{removed}: removed"):
        record_release(tmp_path, SILENCES)
    assert [path.stem for path in tmp_path.iterdir()] == [removed]


def test_a_broken_type_is_refused_and_its_released_schema_stays(tmp_path: Path) -> None:
    record_release(tmp_path)
    path = tmp_path / "tocsin.silences.expired.v1.json"
    schema = json.loads(path.read_text())
    schema["properties"]["why"] = {"type": "string"}
    path.write_text(json.dumps(schema))
    assert problems(tmp_path) == ("tocsin.silences.expired.v1: why: removed",)
    assert main([str(tmp_path)]) == 1
    assert json.loads(path.read_text()) == schema


def test_the_command_without_a_folder_says_how_it_is_used() -> None:
    assert main([]) == 2

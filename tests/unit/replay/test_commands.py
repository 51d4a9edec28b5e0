"""The commands that read back, on a bundle: no cluster is asked for anything."""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML
from typer.testing import CliRunner, Result

from tocsin_cli.__main__ import app
from tocsin_cli.printing import instant, period
from tocsin_policy import policy_document
from tocsin_replay import BadArchive, bundle_lines, gather_all, read_all, read_policies, states_of
from tocsin_simulation.clock import EPOCH
from tocsin_simulation.memory_log import MemoryLog


@pytest.fixture(scope="module")
def recording(story: MemoryLog, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recording") / "all.tocsin"
    gathered = asyncio.run(gather_all(story))
    path.write_bytes(b"".join(bundle_lines(gathered, sorted(_incidents(story)))))
    return path


def _incidents(story: MemoryLog) -> list[str]:
    return list(states_of(asyncio.run(read_all(story))))


@pytest.fixture
def slow(story: MemoryLog) -> str:
    return next(name for name in _incidents(story) if name.startswith("slow"))


def _run(*arguments: object, code: int = 0, **options: Any) -> Result:
    result = CliRunner().invoke(app, [str(a) for a in arguments], **options)
    assert result.exit_code == code, f"{result.output}\n{result.exception!r}"
    return result


def test_replay_shows_the_state_then(recording: Path, slow: str) -> None:
    shown = _run("replay", slow, "--at", "+13m", "--from", recording, "--json").stdout
    moment = json.loads(shown)
    assert moment["known"]["status"] == "acknowledged"
    assert {due["kind"] for due in moment["deadlines"]} == {"update", "acknowledgement"}
    assert (
        "carol acknowledged it" in _run("replay", slow, "--from", recording, "--at", "+13m").stdout
    )


def test_replay_steps_back_and_forth(recording: Path, slow: str) -> None:
    walked = _run("replay", slow, "--step", "--from", recording, input="\np\n3\nq\n").stdout
    assert re.findall(r"(\d+) of \d+, offset (\d+)", walked) == [
        ("1", "0"),
        ("2", "1"),
        ("1", "0"),
        ("3", "2"),
    ]
    lines = _run("replay", slow, "--step", "--json", "--from", recording).stdout.splitlines()
    hashes = _run("replay", slow, "--hashes", "--from", recording).stdout.splitlines()
    assert [json.loads(line)["chain"] for line in lines] == [line.split()[1] for line in hashes]


def test_replay_of_everything_ends_in_one_hash(recording: Path) -> None:
    document = json.loads(_run("replay", "--all", "--from", recording, "--json").stdout)
    assert len(document["incidents"]) == 3
    assert document["hash"] in _run("replay", "--all", "--from", recording).stdout


def test_replay_derives_again(recording: Path) -> None:
    assert "0 differ" in _run("replay", "--rederive", "--from", recording).stdout


def test_a_bundle_is_made_verified_and_signed(recording: Path, slow: str, tmp_path: Path) -> None:
    key, bundle = tmp_path / "key", tmp_path / "slow.tocsin"
    key.write_text("a secret that two sides share")
    _run("bundle", slow, "--from", recording, "-o", bundle, "--key", key)
    assert "signed (hmac-sha256)" in _run("verify", bundle, "--key", key).output
    bundle.write_bytes(bundle.read_bytes().replace(b"on it", b"in it"))
    assert "update_posted" in _run("verify", bundle, code=1).output


def test_the_story_is_told_and_drawn(recording: Path, slow: str, tmp_path: Path) -> None:
    assert "| level 3 reached |" in _run("timeline", slow, "--from", recording, "--markdown").stdout
    _run("timeline", slow, "--from", recording, "--svg", tmp_path / "i.svg")
    assert (tmp_path / "i.svg").read_text().startswith("<svg")


def test_a_postmortem_is_written(recording: Path, slow: str, tmp_path: Path) -> None:
    assert "# Postmortem: Late" in _run("postmortem", slow, "--from", recording).stdout
    _run("postmortem", slow, "--from", recording, "-o", tmp_path / "review.md")
    assert "![Timeline of" in (tmp_path / "review.md").read_text()
    assert (tmp_path / "review.svg").exists()
    _run("postmortem", slow, "--from", recording, "-o", tmp_path / "review.html")
    assert "<svg" in (tmp_path / "review.html").read_text()


def test_a_report_covers_a_range(recording: Path) -> None:
    document = json.loads(
        _run(
            "report",
            "--since",
            "2026-03-01",
            "--until",
            "2026-03-03",
            "--from",
            recording,
            "--json",
        ).stdout
    )
    assert document["groups"][0]["incidents"] == 3


def test_an_archive_is_read_as_a_bundle_is(recording: Path, slow: str, tmp_path: Path) -> None:
    _run("archive", tmp_path / "a", "--from", recording)
    assert "is whole" in _run("verify", tmp_path / "a").stdout
    told = [
        _run("timeline", slow, "--markdown", "--from", p).stdout
        for p in (recording, tmp_path / "a")
    ]
    assert told[0] == told[1]
    question = "SELECT worst FROM incidents WHERE system = 'slow'"
    assert _run("sql", question, "--csv", "--from", tmp_path / "a").stdout.split() == [
        "worst",
        "critical",
    ]


def test_a_what_if_is_a_check(recording: Path, story: MemoryLog, tmp_path: Path) -> None:
    policy = next(
        version.policy
        for version in asyncio.run(read_policies(story))
        if version.policy.system == "shop"
    )
    document = policy_document(policy)
    document["escalation"]["P0"][1]["after"] = "20s"
    file = tmp_path / "policy.yaml"
    with file.open("w") as out:
        YAML().dump(document, out)
    arguments = ("what-if", "--policy", file, "--from", recording)
    written = _run(*arguments, "--markdown", "--fail-if", "missed-p0>0").stdout
    assert re.search(r"Bob: paged .* earlier, at \d\d:\d\d:\d\d", written)
    assert "pages>+5%" in _run(*arguments, "--fail-if", "pages>+5%", code=1).output


def test_a_check_on_nights_fails_where_another_policy_wakes_more_people(
    recording: Path, story: MemoryLog, tmp_path: Path
) -> None:
    policy = next(
        version.policy
        for version in asyncio.run(read_policies(story))
        if version.policy.system == "shop"
    )
    document = policy_document(policy)
    document["schedules"]["primary"]["time_zone"] = "America/Los_Angeles"  # where it is night
    document["escalation"]["P0"][0]["targets"] = ["schedule:primary", "contact:dave"]
    file = tmp_path / "policy.yaml"
    with file.open("w") as out:
        YAML().dump(document, out)
    arguments = ("what-if", "--policy", file, "--from", recording, "--markdown")
    failed = _run(*arguments, "--fail-if", "pages-per-night>+20%", code=1).output
    assert "- **failed** `pages-per-night>+20%" in failed
    _run(*arguments, "--fail-if", "missed-p0>0", "--fail-if", "pages-per-night>1000")


@pytest.fixture
def shop(story: MemoryLog) -> str:
    folded = states_of(asyncio.run(read_all(story)))
    return next(name for name, one in folded.items() if one.severity == "P0")


def test_what_is_supposed_is_lived_through(recording: Path, shop: str) -> None:
    arguments = ("what-if", "--from", recording, "--incident", shop)
    shown = _run(*arguments, "--if", "ack at +30s", "--markdown").stdout
    assert "**Supposed**\n\n- whoever answered then acknowledges 30s after the opening" in shown
    assert "Bob: no longer paged, as at" in shown
    found = json.loads(_run(*arguments, "--if", "no ack", "--json").stdout)
    assert found["supposed"] == ["nobody answers"]
    checked = _run(*arguments, "--if", "no ack", "--fail-if", "pages>+0", code=1)
    assert "pages>+0" in checked.output


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("--if", "ack at 3m"), "write one of: ack at +3m"),
        (("--if", "provider slck down"), "no channel is called 'slck'"),
        ((), "say what would be otherwise"),
    ],
)
def test_what_cannot_be_supposed_is_said(
    recording: Path, shop: str, arguments: tuple[str, ...], why: str
) -> None:
    result = CliRunner().invoke(
        app, ["what-if", "--from", str(recording), "--incident", shop, *arguments]
    )
    assert result.exit_code != 0
    assert why in " ".join(f"{result.output} {result.exception}".split())


def test_an_assumption_is_about_one_incident(recording: Path) -> None:
    result = CliRunner().invoke(app, ["what-if", "--from", str(recording), "--if", "no ack"])
    assert result.exit_code != 0
    assert "--incident ID" in f"{result.output} {result.exception}"


def test_a_postmortem_says_what_would_have_been(recording: Path, shop: str, tmp_path: Path) -> None:
    arguments = ("postmortem", shop, "--from", recording, "--if", "ack at +30s")
    written = _run(*arguments).stdout
    assert "## What if" in written
    assert "- Supposed: whoever answered then acknowledges 30s after the opening." in written
    assert "| Answered after |" in written
    assert "1 of 1 incidents found again" in written
    assert "- Bob: no longer paged, as at" in written
    _run(*arguments, "-o", tmp_path / "review.html")
    assert "What if" in (tmp_path / "review.html").read_text()


def test_an_instant_is_what_a_person_means() -> None:
    assert instant("2026-03-02T09:00:00") == EPOCH
    assert instant("+90s", EPOCH) - EPOCH == instant("+1m30s", EPOCH) - EPOCH
    assert instant("09:31", EPOCH) == instant("+31m", EPOCH)
    assert instant("08:59:30", EPOCH) == instant("+1d", EPOCH) - timedelta(seconds=30)
    assert EPOCH - period("90d", EPOCH) == EPOCH - period("2160h", EPOCH)
    with pytest.raises(ValueError, match="write 90d, 24h or 2026-11-21T09:00:00Z"):
        period("fortnight", EPOCH)
    with pytest.raises(ValueError, match=r"write 2026-11-21T09:00:00Z, 03:12 or \+12m"):
        instant("yesterday", EPOCH)


# On a terminal of 80 columns, and with what cannot be answered.


@pytest.mark.parametrize(
    "arguments",
    [
        ("replay", "SLOW", "--at", "+13m"),
        ("replay", "--all"),
        ("timeline", "SLOW"),
        ("report",),
        ("sql", "SELECT * FROM incidents"),
        ("sql", "SELECT * FROM facts LIMIT 3"),
        ("what-if", "--incident", "SHOP", "--if", "no ack"),
    ],
)
def test_nothing_is_cut_off_on_a_narrow_terminal(
    recording: Path, slow: str, shop: str, arguments: tuple[str, ...]
) -> None:
    named = [{"SLOW": slow, "SHOP": shop}.get(one, one) for one in arguments]
    shown = _run(*named, "--from", recording, env={"COLUMNS": "80"}).stdout
    assert shown.strip()
    assert max(map(len, shown.splitlines())) <= 80
    assert "…" not in shown.replace("…  ", "")


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("slow-x", "--at", "+3m", "--offset", "2"), "--at and --offset ask for different things"),
        (("slow-x", "--step", "--hashes"), "--step and --hashes ask for different things"),
        (("slow-x", "--all"), "--all is every incident"),
        (("--rederive", "--at", "+3m"), "--rederive asks for every fact"),
        ((), "name an incident, or ask for --all"),
    ],
)
def test_what_cannot_be_asked_together_is_refused(
    recording: Path, arguments: tuple[str, ...], why: str
) -> None:
    result = CliRunner().invoke(app, ["replay", "--from", str(recording), *arguments])
    assert isinstance(result.exception, ValueError)
    assert why in str(result.exception)


def test_stepping_ends_where_the_input_ends(recording: Path, slow: str) -> None:
    walked = _run("replay", slow, "--step", "--from", recording, input="n\nzz\n+5\n").stdout
    assert "no such key: zz" in walked
    places = [int(place) for place in re.findall(r"(\d+) of \d+, offset", walked)]
    assert places[1] == places[2]
    assert places[3] == places[2] + 5


def test_one_incident_is_derived_again(recording: Path, slow: str) -> None:
    whole = _run("replay", "--rederive", "--from", recording).stdout
    one = _run("replay", slow, "--rederive", "--from", recording).stdout
    assert "0 differ" in one
    assert int(one.split()[0]) < int(whole.split()[0])


def test_a_report_of_a_recording_is_of_all_of_it(recording: Path) -> None:
    whole = json.loads(_run("report", "--from", recording, "--json").stdout)
    assert whole["groups"][0]["incidents"] == 3
    assert whole["since"].startswith("2026-03-02")
    empty = _run("report", "--from", recording, "--since", "1h").stdout
    assert "no incident opened" in empty


def test_what_handlers_log_is_no_part_of_an_answer(recording: Path, shop: str) -> None:
    shown = _run("what-if", "--from", recording, "--incident", shop, "--if", "no ack").output
    assert "[info" not in shown


def test_a_file_that_is_no_bundle_is_named_as_that(tmp_path: Path) -> None:
    file = tmp_path / "notes.md"
    file.write_text("# Notes\n" * 100)
    shown = _run("verify", file, code=1).output
    assert "this is no bundle" in " ".join(shown.split())
    assert "line 2" not in shown


def test_nothing_is_told_from_an_archive_that_was_changed(
    recording: Path, slow: str, tmp_path: Path
) -> None:
    _run("archive", tmp_path / "a", "--from", recording)
    (file,) = (tmp_path / "a" / "incidents").glob("*/*.parquet")
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    result = CliRunner().invoke(app, ["timeline", slow, "--from", str(tmp_path / "a")])
    assert isinstance(result.exception, BadArchive)
    assert "is not what was written" in str(result.exception)


def test_where_two_recordings_part_is_their_first_fact_that_differs(
    recording: Path, slow: str, story: MemoryLog, tmp_path: Path
) -> None:
    same = _run("replay", slow, "--from", recording, "--against", recording).stdout
    assert "with the same states" in same
    assert "part" not in same
    gathered = asyncio.run(gather_all(story))
    ours = [r for r in gathered.records if r.header("ce_subject") == slow.encode()]
    lacking = replace(gathered, records=tuple(r for r in gathered.records if r is not ours[3]))
    other = tmp_path / "other.tocsin"
    other.write_bytes(b"".join(bundle_lines(lacking, [slow])))
    told = _run("replay", slow, "--from", recording, "--against", other, code=1).stdout
    assert "3 facts with the same states" in told
    assert f"they part at offset {ours[3].position.offset}: " in told

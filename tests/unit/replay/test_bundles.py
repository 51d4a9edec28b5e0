"""A bundle opens, verifies and replays anywhere; whatever is changed in it is found and named."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from tocsin_incident import IncidentState, state_bytes
from tocsin_replay import (
    BadBundle,
    Gathered,
    HeldLog,
    Key,
    bundle_lines,
    chain,
    drift,
    gather,
    gather_all,
    promised,
    read_all,
    read_bundle,
    read_incident,
    read_policies,
    report,
    state_of,
    states_of,
    verify,
)
from tocsin_replay.gathering import EVERYTHING
from tocsin_runtime.records import Position, Record
from tocsin_simulation.clock import EPOCH
from tocsin_simulation.memory_log import MemoryLog

SECRET = Key(b"a secret that two sides share\n")


def _incident(log: MemoryLog) -> str:
    return next(iter(states_of(asyncio.run(read_all(log)))))


def _bundle(log: MemoryLog, key: Key | None = None) -> bytes:
    incident = _incident(log)
    gathered = asyncio.run(gather(log, [incident]))
    return b"".join(bundle_lines(gathered, [incident], key))


@pytest.fixture(scope="module")
def content(story: MemoryLog) -> bytes:
    return _bundle(story)


def test_a_bundle_replays_to_the_same_states_as_the_log(story: MemoryLog, content: bytes) -> None:
    bundle = read_bundle(content)
    (incident,) = bundle.incidents
    there = asyncio.run(read_incident(story, incident))
    here = asyncio.run(read_incident(bundle.log, incident))
    assert here == there
    assert chain(here) == chain(there)


def test_a_bundle_reports_without_the_log(story: MemoryLog, content: bytes) -> None:
    bundle = read_bundle(content)
    reports = []
    for reader in (story, bundle.log):
        recorded = asyncio.run(read_incident(reader, bundle.incidents[0]))
        state = state_of(recorded)
        assert state is not None
        policy = promised(asyncio.run(read_policies(reader)), state)
        assert policy is not None
        reports.append(report(recorded, policy))
    assert reports[0] == reports[1]


def test_a_bundle_holds_the_bytes_as_they_were_received(story: MemoryLog, content: bytes) -> None:
    held = {record.position: record for record in read_bundle(content).log.each()}
    raw = [
        record
        for topic in ("alerts.raw", "alerts.raw.urgent")
        for record in story.records(topic)
        if b'"Down"' in (record.value or b"")
    ]
    assert len(raw) >= 4
    for record in raw:
        assert held[record.position] == record


def test_a_bundle_holds_nothing_of_other_incidents(story: MemoryLog, content: bytes) -> None:
    bundle = read_bundle(content)
    assert set(states_of(asyncio.run(read_all(bundle.log)))) == set(bundle.incidents)
    assert len(states_of(asyncio.run(read_all(story)))) == 3


def test_the_same_log_gives_the_same_bytes(story: MemoryLog, content: bytes) -> None:
    assert _bundle(story) == content


def test_a_bundle_of_a_bundle_is_that_bundle(content: bytes) -> None:
    bundle = read_bundle(content)
    gathered = asyncio.run(gather(bundle.log, bundle.incidents))
    assert b"".join(bundle_lines(gathered, bundle.incidents)) == content


def test_a_whole_recording_holds_every_record(story: MemoryLog) -> None:
    gathered = asyncio.run(gather_all(story))
    opened = read_bundle(b"".join(bundle_lines(gathered, sorted(_states(story)))))
    assert list(opened.log.each()) == list(gathered.records)
    assert {r.position.topic for r in gathered.records} >= {"alerts", "incidents", "policies"}
    assert {n: state_bytes(s) for n, s in _states(opened.log).items()} == {
        n: state_bytes(s) for n, s in _states(story).items()
    }


def _states(reader: MemoryLog | HeldLog) -> dict[str, IncidentState]:
    return dict(states_of(asyncio.run(read_all(reader))))


@settings(max_examples=300, deadline=None, derandomize=True)
@given(place=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255))
def test_a_changed_byte_is_found_and_its_line_named(
    content: bytes, place: float, flip: int
) -> None:
    index = int(place * len(content))
    changed = bytearray(content)
    changed[index] ^= flip
    line = content[:index].count(b"\n") + 1
    with pytest.raises(BadBundle) as caught:
        read_bundle(bytes(changed))
    assert any(f"line {line} " in said or "cut off" in said for said in caught.value.problems)


def test_a_changed_fact_is_named_by_its_place_and_type(content: bytes) -> None:
    changed = content.replace(b"a pool ran dry", b"the moon was full", 1)
    with pytest.raises(BadBundle, match=r"incidents-\d+-\d+ tocsin\.incidents\.resolved\.v1"):
        read_bundle(changed)


@pytest.mark.parametrize(
    ("cut", "says"),
    [
        (lambda lines: lines[:-1], "the end is missing"),
        (lambda lines: lines[:5] + lines[6:], "line 6 is not what was written"),
        (lambda lines: lines[:5] + lines[6:7] + lines[5:6] + lines[7:], "line 6"),
        (lambda lines: [*lines, lines[-1]], "is not what was written"),
        (lambda lines: [*lines[:-1], lines[-1][:-10]], "cut off"),
        (lambda _: [b"no bundle at all\n"], "no bundle"),
        (lambda _: [], "no bundle"),
    ],
)
def test_what_is_cut_moved_or_added_is_found(content: bytes, cut: object, says: str) -> None:
    assert callable(cut)
    lines = content.splitlines(keepends=True)
    with pytest.raises(BadBundle, match=says):
        read_bundle(b"".join(cut(lines)))


def test_who_holds_no_key_cannot_make_it_anew(story: MemoryLog, content: bytes) -> None:
    """The chain alone stops nobody who writes all of it again; the signature does."""
    bundle = read_bundle(content)
    records = [
        replace(record, value=(record.value or b"").replace(b"a pool ran dry", b"nobody knows"))
        for record in bundle.log.each()
    ]
    forged = Gathered(dict(bundle.log.widths), tuple(records))
    lines = list(bundle_lines(forged, bundle.incidents))
    assert verify(read_bundle(b"".join(lines)), SECRET) == ("it is not signed",)
    other = Key(b"another secret, long enough")
    signed = read_bundle(b"".join(bundle_lines(forged, bundle.incidents, other)))
    assert verify(signed, SECRET) == ("its signature (hmac-sha256) is not by this key",)
    assert verify(read_bundle(_bundle(story, SECRET)), SECRET) == ()


def test_an_ed25519_signature_is_checked_with_the_public_key_alone(story: MemoryLog) -> None:
    private = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
    signer = Key(
        private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    public = Key(
        private.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )
    bundle = read_bundle(_bundle(story, signer))
    assert bundle.signed == "ed25519"
    assert verify(bundle, public) == ()
    assert verify(bundle, SECRET) == ("its signature (ed25519) is not by this key",)
    with pytest.raises(ValueError, match="cannot sign"):
        public.sign("anything")


def test_a_short_secret_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 16 bytes"):
        Key(b"tocsin")


def test_facts_that_fold_otherwise_are_named_with_the_first_of_them(content: bytes) -> None:
    bundle = read_bundle(content)
    (incident,) = bundle.incidents
    links = bundle.chains[incident]
    assert drift(bundle) == ()
    drifted = replace(bundle, chains={incident: [*links[:7], *("0" * 64 for _ in links[7:])]})
    (problem,) = drift(drifted)
    facts = asyncio.run(read_incident(bundle.log, incident))
    assert f"first at offset {facts[7].position.offset}" in problem


def test_what_the_log_no_longer_keeps_is_said(story: MemoryLog) -> None:
    incident = _incident(story)
    kept = [r for topic in EVERYTHING for r in story.records(topic) if topic != "alerts.raw.urgent"]
    shortened = HeldLog({topic: story.width(topic) for topic in EVERYTHING}, kept)
    gathered = asyncio.run(gather(shortened, [incident]))
    assert gathered.missing
    assert {position.topic for position in gathered.missing} == {"alerts.raw.urgent"}
    opened = read_bundle(b"".join(bundle_lines(gathered, [incident])))
    assert len(opened.missing) == len(gathered.missing)
    assert drift(opened) == ()


def test_bytes_that_are_no_text_survive() -> None:
    position = Position("alerts.raw", 0, 3)
    record = Record(position, None, bytes(range(256)), (("h", b"\xff"),), EPOCH)
    gathered = Gathered(dict.fromkeys(EVERYTHING, 1), (record,))
    assert list(read_bundle(b"".join(bundle_lines(gathered, []))).log.each()) == [record]

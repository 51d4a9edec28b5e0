"""What a page says: what, where, since when, why, who else knows, and what happens next."""

from __future__ import annotations

from tocsin_testkit.builders import an_alert
from tocsin_testkit.timeline import Timeline, minutes, scenario

DOWN = an_alert("CheckoutDown", system="shop", severity="critical", cluster="eu-1", pod="api-1")
DOWN_TOO = an_alert("CheckoutDown", system="shop", severity="critical", cluster="eu-1", pod="api-2")


def pages(system: Timeline) -> list[tuple[str, str]]:
    """For whom, and the text, of every page; of several channels one."""
    found: dict[tuple[str, str], None] = {}
    for arrival in system.system.providers.arrivals:
        if arrival.is_page and arrival.sending.target is not None:
            found[arrival.sending.target.contact, arrival.sending.message.body] = None
    return list(found)


@scenario()
async def test_a_page_says_what_where_since_when_why_who_else_and_what_comes_next(
    system: Timeline,
) -> None:
    system.at(minutes=0).push(DOWN, DOWN_TOO)
    await system.play(until=minutes(11))
    (_, first), (_, second), *last = pages(system)
    opened = system.incident().opened_at
    for words in (
        "CheckoutDown",
        "Where: shop, cluster eu-1",
        f"Since: {opened:%Y-%m-%d %H:%M:%S} UTC",
        "Severity: critical, customers notice",
        "Why: rule 'critical by label': ",
        "You: Alice, on-call engineer, level 1",
        f"Next: level 2 at {opened + minutes(5):%Y-%m-%d %H:%M:%S} UTC (Bob (team lead)), ",
        "), unless somebody answers",
        f"Incident: {system.incident().incident}",
    ):
        assert words in first
    assert "Also paged" not in first
    assert "pod api" not in first  # it is not the same for all of them
    assert "Also paged: Alice (on-call engineer)" in second
    assert "Carol (head of product), Dave (head of engineering)" in second
    for _, text in last:
        assert "Next: this is the last level, nobody else is told" in text


@scenario()
async def test_a_page_that_somebody_asked_for_says_who_and_why(system: Timeline) -> None:
    system.at(minutes=0).push(DOWN)
    system.at(minutes=1).escalate("alice", "need the database team")
    system.at(minutes=2).hand_over("alice", "dave")
    await system.play(until=minutes(3))
    texts = dict(pages(system))
    assert "Now: Alice asked for this level: need the database team" in texts["bob"]
    assert "Now: Alice handed it over" in texts["dave"]
    assert "(Bob (team lead))" in texts["dave"]


@scenario()
async def test_a_page_after_a_hand_over_names_the_new_person_where_a_level_would_name_another(
    system: Timeline,
) -> None:
    system.at(minutes=0).push(DOWN)
    system.at(minutes=1).hand_over("alice", "carol").mute("carol", minutes=2)
    await system.play(until=minutes(4))
    assert [who for who, _ in pages(system)] == ["alice", "carol"]

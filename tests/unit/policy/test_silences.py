"""Silences, as they are folded and found."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from tocsin_contracts.event import Person
from tocsin_contracts.silences import SilenceExpired
from tocsin_policy import SilenceBook, SilenceState
from tocsin_testkit.silences import a_silence, of_silence

NOW = datetime(2026, 11, 21, 8, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
SOMEBODY = Person(name="a person", via="api")


def a_book() -> SilenceBook:
    return SilenceBook()


def silence(
    book: SilenceBook, name: str, *matchers: str, begins: datetime = NOW, ends: datetime
) -> None:
    fact = a_silence(*matchers, starts_at=begins, lasts=ends - begins)
    book.apply(of_silence(fact, at=NOW, name=name))


def test_a_silence_mutes_from_its_start_until_before_its_end() -> None:
    book = a_book()
    silence(book, "one", 'service="api"', begins=NOW + HOUR, ends=NOW + 2 * HOUR)
    labels = {"service": "api"}
    instants = (NOW, NOW + HOUR, NOW + 2 * HOUR - timedelta(microseconds=1), NOW + 2 * HOUR)
    assert [book.muting(labels, at) for at in instants] == [(), ("one",), ("one",), ()]


def test_a_silence_ended_early_mutes_no_more() -> None:
    book = a_book()
    silence(book, "one", 'service="api"', ends=NOW + HOUR)
    book.apply(of_silence(SilenceExpired(by=SOMEBODY), at=NOW + HOUR / 2, name="one"))
    assert book.muting({"service": "api"}, NOW + HOUR / 2) == ()
    held = book.get("one")
    assert held is not None
    assert held.state(NOW + HOUR / 2) is SilenceState.EXPIRED


def test_a_silence_that_is_changed_is_found_by_its_new_matchers_only() -> None:
    book = a_book()
    silence(book, "one", 'service="api"', ends=NOW + HOUR)
    silence(book, "one", 'service="web"', ends=NOW + HOUR)
    assert book.muting({"service": "api"}, NOW) == ()
    assert book.muting({"service": "web"}, NOW) == ("one",)


def test_a_silence_that_asks_for_no_plain_value_is_found_as_well() -> None:
    book = a_book()
    silence(book, "pattern", 'service=~"api|web"', ends=NOW + HOUR)
    silence(book, "absent", 'team=""', 'service!="db"', ends=NOW + HOUR)
    assert book.muting({"service": "api"}, NOW) == ("absent", "pattern")
    assert book.muting({"service": "db"}, NOW) == ()


@given(
    spans=st.lists(st.tuples(st.integers(0, 50), st.integers(1, 50)), max_size=12),
    at=st.integers(0, 120),
)
def test_between_two_changes_nothing_changes(spans: list[tuple[int, int]], at: int) -> None:
    book = a_book()
    for number, (begins, lasts) in enumerate(spans):
        begun = NOW + timedelta(minutes=begins)
        ends = begun + timedelta(minutes=lasts)
        silence(book, str(number), 'service="api"', begins=begun, ends=ends)
    labels = {"service": "api"}
    now = NOW + timedelta(minutes=at)
    until = book.next_change(now)
    muting = book.muting(labels, now)
    if until is None:
        assert muting == ()
        return
    assert book.muting(labels, until - timedelta(microseconds=1)) == muting
    assert book.muting(labels, until) != muting or len(muting) > 0

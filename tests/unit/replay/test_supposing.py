"""What may be supposed of an incident, and what is no assumption."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tocsin_replay import suppose
from tocsin_replay.supposing import WRITTEN, Outage, check
from tocsin_testkit.policies import a_policy

MINUTE = timedelta(minutes=1)
INCIDENT = "shop-7dc0wtyyhx"


def test_an_acknowledgement_is_supposed_at_a_time_and_by_somebody() -> None:
    assert suppose(INCIDENT, ["ack at +3m"]).acknowledged_after == 3 * MINUTE
    named = suppose(INCIDENT, ["  ack   at +1h30m by bob "])
    assert (named.acknowledged_after, named.by) == (90 * MINUTE, "bob")
    assert suppose(INCIDENT, ["no ack"]).nobody


def test_a_provider_is_supposed_down_for_all_or_some_of_the_time() -> None:
    assert suppose(INCIDENT, ["provider slack down"]).outages == (
        Outage("slack", down=True, begins=timedelta(0), ends=None),
    )
    (outage,) = suppose(INCIDENT, ["provider slack down from +1m to +10m"]).outages
    assert (outage.begins, outage.ends) == (MINUTE, 10 * MINUTE)
    assert not suppose(INCIDENT, ["provider pager up to +5m"]).outages[0].down
    covered = [outage.covers("chat", "slack", after * MINUTE) for after in (0, 1, 9, 10)]
    assert covered == [False, True, True, False]
    assert not outage.covers("pager", "pagerduty", 5 * MINUTE)


def test_a_silence_is_supposed_away_alone_or_with_all_others() -> None:
    one = suppose(INCIDENT, ["silence 9f2c never existed", "no silence 77aa"])
    assert one.silences == {"9f2c", "77aa"}
    assert [one.silenced_by(name) for name in ("9f2c", "other")] == [False, True]
    for text in ("silence never existed", "no silence", "no silences"):
        assert not suppose(INCIDENT, [text]).silenced_by("other")


def test_assumptions_are_combined_and_each_is_put_in_words() -> None:
    both = suppose(INCIDENT, ["ack at +3m by bob", "provider slack down", "no silence 9f2c"])
    assert list(both.assumptions()) == [
        "bob acknowledges 3m after the opening",
        "every call to slack fails, from the opening",
        "silence 9f2c was never created",
    ]


@pytest.mark.parametrize(
    "text",
    ["", "ack", "ack at 3m", "ack at +3", "ack at +3m by", "provider slack", "slack down", "if"],
)
def test_what_is_no_assumption_is_refused_with_how_one_is_written(text: str) -> None:
    with pytest.raises(ValueError, match=r"write one of: ack at \+3m|write it as in 30m"):
        suppose(INCIDENT, [text])


def test_what_contradicts_itself_is_refused() -> None:
    with pytest.raises(ValueError, match="suppose one of them"):
        suppose(INCIDENT, ["no ack", "ack at +3m"])
    with pytest.raises(ValueError, match="it is acknowledged once"):
        suppose(INCIDENT, ["ack at +3m", "ack at +4m"])
    with pytest.raises(ValueError, match="it ends before it begins"):
        suppose(INCIDENT, ["provider slack down from +3m to +2m"])


def test_what_names_something_that_is_not_there_is_refused() -> None:
    policy = a_policy("shop")
    with pytest.raises(ValueError, match=r"no channel is called 'slck'; there are .*slack"):
        check(suppose(INCIDENT, ["provider slck down"]), [policy], [])
    with pytest.raises(ValueError, match="no contact is called 'zoe'"):
        check(suppose(INCIDENT, ["ack at +3m by zoe"]), [policy], [])
    with pytest.raises(ValueError, match="no silence '9f2c' was recorded; there are: 77aa"):
        check(suppose(INCIDENT, ["no silence 9f2c"]), [policy], ["77aa"])
    check(suppose(INCIDENT, ["provider slack down", "no silence"]), [policy], [])


def test_every_written_form_is_one_that_is_understood() -> None:
    for written in WRITTEN:
        bare = written.replace("[", "").replace("]", "").replace("CONTACT", "bob")
        assert list(suppose(INCIDENT, [bare]).assumptions())

"""Apprise, and the threads it may take."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from notifier.adapters.apprise import THREADS, AppriseChannel, NoSuchService
from notifier.domain.outcomes import Delivered, Unknown, Unwell
from notifier.settings import AppriseSettings, NotifierSettings
from tocsin_contracts.incidents import Purpose
from tocsin_testkit.builders import a_sending
from tocsin_testkit.providers import AppriseTarget, Fate

pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")

NEWS = a_sending(
    purpose=Purpose.OPENED,
    target=None,
)


async def test_a_service_that_hangs_takes_its_own_threads_and_no_more() -> None:
    target = AppriseTarget()
    async with target.serving() as url:
        channel = AppriseChannel(url.replace("http", "json", 1), timedelta(seconds=0.4))
        target.fates.extend([Fate.HANGS] * THREADS)
        outcomes = await asyncio.gather(*(channel.send(NEWS) for _ in range(THREADS + 1)))
        assert [type(one) for one in outcomes] == [*[Unknown] * THREADS, Unwell]
        assert target.shown == []
    await channel.close()


async def test_it_works_again_when_the_service_does() -> None:
    target = AppriseTarget()
    async with target.serving() as url:
        channel = AppriseChannel(url.replace("http", "json", 1), timedelta(seconds=2))
        outcomes = [await channel.send(NEWS) for _ in range(THREADS + 1)]
        assert outcomes == [Delivered()] * (THREADS + 1)
    await channel.close()


def test_a_url_that_means_nothing_is_refused_at_the_start() -> None:
    with pytest.raises(NoSuchService):
        AppriseChannel("nothing://at/all", timedelta(seconds=1))


def test_its_scheme_is_what_is_allowed() -> None:
    settings = NotifierSettings.model_validate(
        {
            "channels": {"chat": {"kind": "apprise", "url": "tgram://123456:abc/1"}},
            "outgoing_hosts": ["apprise:tgram"],
        }
    )
    assert isinstance(settings.channels["chat"], AppriseSettings)

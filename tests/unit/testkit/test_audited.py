"""The audit as an invariant: quiet on a whole run, and not on one that lost something."""

from __future__ import annotations

from tocsin_simulation.loop import simulate
from tocsin_simulation.system import System, published
from tocsin_simulation.webhooks import a_webhook
from tocsin_testkit.audited import unaudited
from tocsin_testkit.builders import an_alert
from tocsin_testkit.policies import a_policy


async def _run(topic: str) -> tuple[list[str], list[str]]:
    """What the audit finds in a whole run, and in the same without the last record of a topic."""
    system = System(policies=[published(a_policy())], instances=1)
    await system.start()
    for name in ("Down", "Slow"):
        await system.post(a_webhook(an_alert(name, system="shop", severity="critical")))
    await system.settle()
    whole = unaudited(system)
    number = max(range(system.log.width(topic)), key=lambda one: system.log.end(topic, one))
    records = system.log.records(topic, number)
    system.log._partitions(topic)[number].keep(records[:-1])
    return whole, unaudited(system)


def test_a_run_that_lost_a_disposition_is_found_out() -> None:
    whole, lossy = simulate(_run("dispositions"), seed=1)
    assert whole == []
    assert [sentence.split()[1] for sentence in lossy] == ["no_disposition"]


def test_a_run_that_lost_observations_is_found_out() -> None:
    whole, lossy = simulate(_run("alerts.urgent"), seed=1)
    assert whole == []
    assert "accepted_and_lost" in {sentence.split()[1] for sentence in lossy}

"""Make the recordings anew: a real Kafka, five real services, one P0 of each shipped policy.

    .venv/bin/python tests/recordings/record.py

Every duration is divided by sixty, so half an hour of an escalation is half a minute. The files are
other bytes each time (times, ids of processes); what they must show is in
`tests/scenarios/test_replayed_recordings.py`.
"""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from pathlib import Path

from tocsin_cli.receiver import Receiver, channel_settings
from tocsin_cli.stack import Stack
from tocsin_policy import CommandCall, Policy, load_policy, scaled
from tocsin_replay import bundle_lines, gather, read_all, states_of
from tocsin_runtime.adapters.kafka_connection import KafkaConnection
from tocsin_runtime.adapters.kafka_reader import KafkaReader
from tocsin_runtime.clock import SystemClock
from tocsin_simulation.system import published
from tocsin_simulation.webhooks import a_webhook
from tocsin_testkit.builders import an_alert
from tocsin_testkit.real_system import RealSystem

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
SCALE = 60
PARTITIONS = 2
SECOND = timedelta(seconds=1)

WORST = {
    "blockchain-dapp": "ApplicationDown",
    "mcp-wasm-edge-gateway": "GatewayDown",
    "ml-platform": "RegionFailure",
    "mpc-transformer": "GlobalServiceUnavailable",
    "mpcstudy": "ServiceDown",
}
"""The alert by which each system's worst severity opens."""


async def _lived_through(system: RealSystem, policy: Policy, clock: SystemClock) -> None:
    """Nobody answers for half an hour; then somebody does, and ends it."""
    name = policy.system

    def alert(summary: str, began: timedelta, instance: str) -> bytes:
        return a_webhook(
            an_alert(
                WORST[name],
                summary=summary,
                system=name,
                severity="critical",
                cluster="prod",
                starts_at=clock.now() - began,
                instance=instance,
            )
        )

    first = alert(f"{WORST[name]} in prod", 2 * SECOND, "i1")
    await system.push(first)
    seen = await system.until(
        "incidents",
        lambda events: any(e.key == name and e.type.endswith("opened.v1") for e in events),
    )
    incident = next(event.subject for event in seen if event.key == name)
    await clock.sleep(20 * SECOND)
    more = alert("another instance", timedelta(0), "i2")
    await system.push(more)
    await clock.sleep(15 * SECOND)
    who = next(contact for contact, held in policy.contacts.items() if held.channels)

    async def say(verb: str, **body: str) -> None:
        await system.answer(incident, verb, json.dumps({"by": who, **body}).encode())

    await say("acknowledge")
    await say("updates", text="we see it and look into it")
    await clock.sleep(4 * SECOND)
    await say("notes", text="Action: alert on the cause, not on the effect")
    await say("mitigate", text="traffic moved")
    await clock.sleep(10 * SECOND)
    for webhook in (first, more):
        document = json.loads(webhook)
        for held in document["alerts"]:
            held |= {"status": "resolved", "endsAt": clock.now().isoformat()}
        await system.push(json.dumps(document).encode())
    await say("resolve", text="the cause is gone")
    await clock.sleep(10 * SECOND)


async def _record(stack: Stack, policies: list[Policy]) -> None:
    clock = SystemClock()
    system = RealSystem(
        stack.bootstrap, stack.ingestion_url, stack.webhook_token, stack.api_token, PARTITIONS
    )
    for policy in policies:
        await system.put_in_force(published(policy))
    await clock.sleep(3 * SECOND)
    await asyncio.gather(*(_lived_through(system, policy, clock) for policy in policies))
    reader = KafkaReader(KafkaConnection(stack.bootstrap, "recording"))
    everything = states_of(await read_all(reader))
    for policy in policies:
        incidents = [name for name, state in everything.items() if state.system == policy.system]
        gathered = await gather(reader, incidents)
        content = b"".join(bundle_lines(gathered, incidents))
        (HERE / f"{policy.system}.tocsin").write_bytes(content)
    await reader.stop()


def _settings(receiver: Receiver, policies: list[Policy]) -> dict[str, str]:
    channels = {
        channel.endpoint: channel_settings(receiver, channel.kind, channel.endpoint)
        for policy in policies
        for channel in policy.channels.values()
    }
    endpoints = {
        name: f"{receiver.url}/steps/{name}" for policy in policies for name in policy.endpoints
    }
    programs = {
        call.program: "/bin/echo"
        for policy in policies
        for playbook in policy.playbooks.values()
        for step in playbook.steps
        for part in (step, step.verify, step.undo)
        if part is not None
        for _, call in part.calls()
        if isinstance(call, CommandCall)
    }
    return {
        "TOCSIN_CHANNELS": json.dumps(channels),
        "TOCSIN_ENDPOINTS": json.dumps(endpoints),
        "TOCSIN_PROGRAMS": json.dumps(programs),
    }


def main() -> None:
    """Start the stack, live through it, write the files."""
    shipped = ROOT / "deploy" / "policies"
    policies = [scaled(load_policy(shipped / name / "policy.yaml"), SCALE) for name in WORST]
    with Receiver(SystemClock()).serving() as receiver:
        stack = Stack(
            ROOT, partitions=PARTITIONS, ephemeral=True, env=_settings(receiver, policies)
        )
        stack.start(print)
        try:
            asyncio.run(_record(stack, policies))
        finally:
            stack.stop()


if __name__ == "__main__":
    main()

"""A load generator in a process of its own: bounded, loopback only, stops by itself.

`python load.py URL TOKEN ALERTS BATCH CONNECTIONS NAME` posts webhooks and prints, as JSON, how
long it took and how many were refused.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

import aiohttp


def body(name: str, first: int, count: int) -> bytes:
    alerts = [
        {
            "status": "firing",
            "labels": {
                "alertname": name,
                "system": "mpc-transformer",
                "severity": "warning",
                "cluster": "prod",
                "instance": f"10.0.{number // 250}.{number % 250}:{number}",
            },
            "annotations": {"summary": f"{name} on {number}"},
            "startsAt": "2026-11-21T00:00:00Z",
            "endsAt": "0001-01-01T00:00:00Z",
            "generatorURL": "http://prometheus.example.com/graph",
        }
        for number in range(first, first + count)
    ]
    return json.dumps({"version": "4", "truncatedAlerts": 0, "alerts": alerts}).encode()


async def main(url: str, token: str, alerts: int, batch: int, connections: int, name: str) -> None:
    bodies = [body(name, first, min(batch, alerts - first)) for first in range(0, alerts, batch)]
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    work = iter(bodies)
    refused = 0
    async with aiohttp.ClientSession(headers=headers) as session:

        async def worker() -> None:
            nonlocal refused
            for payload in work:
                async with session.post(url, data=payload) as answer:
                    await answer.read()
                    refused += answer.status >= 300

        started = time.perf_counter()
        await asyncio.gather(*(worker() for _ in range(connections)))
        took = time.perf_counter() - started
    sys.stdout.write(json.dumps({"took": took, "refused": refused, "requests": len(bodies)}))


if __name__ == "__main__":
    address, secret, *numbers, alert = sys.argv[1:]
    asyncio.run(main(address, secret, *map(int, numbers), alert))

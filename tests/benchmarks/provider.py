"""A provider in a process of its own: takes pages as fast as it can, and says when each came.

`python provider.py` prints its port, answers every POST as PagerDuty's Events API does, and gives
what it took as JSON, `[[unix time, dedup_key], …]`, to a GET. It ends with its standard input.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

taken: list[tuple[float, str]] = []


class Talk(asyncio.Protocol):
    def __init__(self) -> None:
        self._held = b""
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._held += data
        while b"\r\n\r\n" in self._held:
            head, _, rest = self._held.partition(b"\r\n\r\n")
            length = 0
            for line in head.split(b"\r\n"):
                if line.lower().startswith(b"content-length:"):
                    length = int(line.partition(b":")[2])
            if len(rest) < length:
                return
            self._held = rest[length:]
            self._answer(head, rest[:length])

    def _answer(self, head: bytes, body: bytes) -> None:
        assert self._transport is not None
        if head.startswith(b"GET"):
            said, status = json.dumps(taken).encode(), b"200 OK"
        else:
            event = json.loads(body)
            taken.append((time.time(), event["dedup_key"]))
            said = json.dumps({"status": "success", "dedup_key": event["dedup_key"]}).encode()
            status = b"202 Accepted"
        self._transport.write(
            b"HTTP/1.1 "
            + status
            + b"\r\nContent-Type: application/json\r\nContent-Length: "
            + str(len(said)).encode()
            + b"\r\n\r\n"
            + said
        )


async def main() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Talk, "127.0.0.1", 0)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(main())

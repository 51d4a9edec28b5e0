"""A gateway as a process of its own: what the edge gateway's playbooks start, stop and call.

Run as a file with a port. It answers `/health` and the administration's calls, takes SIGHUP and
SIGUSR1, and shows at `/seen` what it was asked to do.
"""

from __future__ import annotations

import json
import signal
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_ASKED: list[str] = []
_CALLS = {
    "POST /admin/circuit-breaker/enable",
    "POST /admin/circuit-breaker/disable",
    "POST /admin/rate-limit",
    "DELETE /admin/rate-limit",
    "POST /admin/cache/clear",
    "POST /admin/rebuild-indices",
    "POST /admin/sync/force",
}


class _Answers(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/health":
            self._say(200, {"status": "healthy", "components": []})
        elif self.path == "/seen":
            self._say(200, _ASKED)
        else:
            self._say(404, {})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0"))).decode()
        asked = f"{self.command} {self.path}"
        if asked in _CALLS:
            _ASKED.append(f"{asked} {body}".strip())
        self._say(200 if asked in _CALLS else 404, {})

    do_DELETE = do_POST  # noqa: N815 - http.server's name

    def _say(self, status: int, document: object) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
        del format, args


def main() -> None:
    """Serve until SIGTERM."""
    for number in (signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, lambda number, _: _ASKED.append(signal.Signals(number).name))
    with ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), _Answers) as server:
        print("listening", flush=True)  # noqa: T201 - whoever starts it waits for this
        server.serve_forever()


if __name__ == "__main__":
    main()

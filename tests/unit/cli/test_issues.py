"""A postmortem opened as an issue, on a double of GitHub; the review's clock stops then."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from tocsin_cli.__main__ import app
from tocsin_replay import open_bundle

RECORDING = Path(__file__).resolve().parents[2] / "recordings" / "mpcstudy.tocsin"
INCIDENT = open_bundle(RECORDING).incidents[0]
TOKEN = "ghp-not-a-real-one"


class Double(BaseHTTPRequestHandler):
    """GitHub's issues and ingestion's door, as far as the command calls them."""

    issues: list[dict[str, Any]]
    reviews: list[tuple[str, dict[str, Any]]]

    def do_GET(self) -> None:
        self._answer(200, self.issues)

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path.startswith("/v1/incidents/"):
            self.reviews.append((self.path, body))
            self._answer(202, {"id": "1"})
        elif self.headers["Authorization"] != f"Bearer {TOKEN}":
            self._answer(401, {"message": "Bad credentials"})
        else:
            number = len(self.issues) + 1
            self.issues.append(body | {"html_url": f"https://github.test/a/b/issues/{number}"})
            self._answer(201, self.issues[-1])

    def _answer(self, status: int, document: object) -> None:
        content = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's
        del format, args


@pytest.fixture
def double(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Double]]:
    handler = type("Handler", (Double,), {"issues": [], "reviews": []})
    server = HTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}"
    for name, value in {
        "TOCSIN_REVIEW_URL": url,
        "TOCSIN_REVIEW_HOSTS": "127.0.0.1",
        "TOCSIN_REVIEW_REPOSITORY": "a/b",
        "TOCSIN_REVIEW_TOKEN": TOKEN,
        "TOCSIN_INGESTION_URL": url,
        "TOCSIN_API_TOKEN": "x",
        "TOCSIN_KAFKA_BOOTSTRAP": "127.0.0.1:1",
        "TOCSIN_WEBHOOK_TOKEN": "x",
    }.items():
        monkeypatch.setenv(name, value)
    yield handler
    server.shutdown()
    thread.join()
    server.server_close()


def _open(*more: str) -> Result:
    arguments = ["postmortem", INCIDENT, "--from", str(RECORDING), "--open-issue", *more]
    return CliRunner().invoke(app, arguments)


def test_an_issue_holds_the_postmortem_and_stops_the_reviews_clock(double: type[Double]) -> None:
    result = _open("--by", "primary")
    assert result.exit_code == 0, result.output
    (issue,) = double.issues
    assert INCIDENT in issue["title"]
    assert "For people to write" in issue["body"]
    assert issue["labels"] == ["postmortem"]
    ((path, said),) = double.reviews
    assert path == f"/v1/incidents/{INCIDENT}/review"
    assert said == {"by": "primary", "url": issue["html_url"], "via": "cli"}


def test_a_second_time_opens_no_second_issue(double: type[Double]) -> None:
    assert _open("--by", "primary").exit_code == 0
    assert _open("--by", "primary").exit_code == 0
    assert len(double.issues) == 1
    assert double.reviews[0] == double.reviews[1]


def test_a_token_is_read_from_a_file(
    double: type[Double], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    monkeypatch.delenv("TOCSIN_REVIEW_TOKEN")
    monkeypatch.setenv("TOCSIN_REVIEW_TOKEN_FILE", str(tmp_path / "token"))
    assert _open("--by", "primary").exit_code == 0
    assert len(double.issues) == 1


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("TOCSIN_REVIEW_HOSTS", "api.github.com", "is not in TOCSIN_REVIEW_HOSTS"),
        ("TOCSIN_REVIEW_REPOSITORY", "", "no repository"),
        ("TOCSIN_REVIEW_TOKEN", "another", "refused it: 401"),
        ("TOCSIN_REVIEW_URL", "http://github.test", "is not in TOCSIN_REVIEW_HOSTS"),
    ],
)
def test_what_is_not_allowed_opens_nothing_and_stops_no_clock(
    double: type[Double], monkeypatch: pytest.MonkeyPatch, name: str, value: str, why: str
) -> None:
    monkeypatch.setenv(name, value)
    result = _open("--by", "primary")
    assert result.exit_code != 0
    assert why in f"{result.output} {result.exception}"
    assert (double.issues, double.reviews) == ([], [])


def test_a_token_goes_nowhere_in_the_open(
    double: type[Double], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOCSIN_REVIEW_URL", "http://github.test")
    monkeypatch.setenv("TOCSIN_REVIEW_HOSTS", "github.test")
    result = _open("--by", "primary")
    assert "only https" in f"{result.output} {result.exception}"
    assert (double.issues, double.reviews) == ([], [])


def test_nothing_is_opened_in_nobodys_name(double: type[Double]) -> None:
    assert "--by" in f"{(result := _open()).output} {result.exception}"
    assert (double.issues, double.reviews) == ([], [])

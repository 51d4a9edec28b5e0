"""GitHub Actions: workflows that are dispatched, and their runs."""

from __future__ import annotations

import re
from typing import Any

from tocsin_testkit.providers.serving import Provider, Reply, Request

_HEAD = "9d0d7b0e8f4c2a6b1e3d5f7a9c0b2d4e6f8a0c1e"


class GitHubActions(Provider):
    """One repository with one workflow, `rollback.yml`, that takes the input `environment`.

    A run is queued when it is dispatched, and has ended when it is asked for a second time.

    Attributes:
        runs: Oldest first.
        names_run: Whether it knows `return_run_details`; older servers do not.
        conclusion: How runs end.
        ends: Whether they do.
        state: Of the workflow.
        meanwhile: Runs somebody else dispatches at the same time as ours.
    """

    def __init__(self, repository: str, token: str) -> None:
        super().__init__()
        self._root = f"/repos/{repository}"
        self._token = token
        self.runs: list[dict[str, Any]] = []
        self.names_run = True
        self.conclusion = "success"
        self.ends = True
        self.state = "active"
        self.meanwhile = 0

    def effects(self, request: Request) -> bool:
        """What starts a run."""
        return request.method == "POST"

    def take(self, request: Request) -> Reply:
        """The calls of workflows and runs, as the REST API of 2022-11-28 has them."""
        if request.headers.get("authorization") != f"Bearer {self._token}":
            return Reply.of(401, {"message": "Bad credentials"})
        self.require(request.headers.get("user-agent"), "User-Agent is required")
        self.require(request.headers.get("accept") == "application/vnd.github+json", "Accept")
        self.require(request.headers.get("x-github-api-version") == "2022-11-28", "API version")
        path = request.path.removeprefix(self._root)
        match (request.method, path):
            case ("GET", "/actions/workflows/rollback.yml"):
                path = ".github/workflows/rollback.yml"
                return Reply.of(200, {"name": "Rollback", "path": path, "state": self.state})
            case ("GET", "/commits/main"):
                return Reply.of(200, {"sha": _HEAD})
            case ("POST", "/actions/workflows/rollback.yml/dispatches"):
                return self._dispatch(request)
            case ("GET", "/actions/workflows/rollback.yml/runs"):
                self.require(request.query.get("event") == "workflow_dispatch", "event")
                newest = list(reversed(self.runs))[: int(request.query.get("per_page", "30"))]
                return Reply.of(200, {"total_count": len(self.runs), "workflow_runs": newest})
        if (found := re.fullmatch(r"/actions/runs/(\d+)", path)) is not None:
            return self._run(int(found[1]))
        return Reply.of(404, {"message": "Not Found"})

    def _dispatch(self, request: Request) -> Reply:
        asked = request.document()
        known = {"ref", "inputs", "return_run_details"}
        self.require(asked.keys() <= known, f"unknown fields: {sorted(asked.keys() - known)}")
        inputs = asked.get("inputs", {})
        if asked.get("ref") != "main":
            return Reply.of(422, {"message": f"No ref found for: {asked.get('ref')}"})
        if inputs.keys() - {"environment"}:
            unexpected = sorted(inputs.keys() - {"environment"})
            return Reply.of(422, {"message": f"Unexpected inputs provided: {unexpected}"})
        self.require(all(isinstance(value, str) for value in inputs.values()), "inputs are text")
        ours = self._add(inputs)
        for _ in range(self.meanwhile):
            self._add({})
        if self.names_run and asked.get("return_run_details") is True:
            url = f"{self.url}{self._root}/actions/runs/{ours}"
            return Reply.of(
                200, {"workflow_run_id": ours, "run_url": url, "html_url": f"{url}/html"}
            )
        return Reply(204)

    def _add(self, inputs: dict[str, str]) -> int:
        number = 1001 + len(self.runs)
        self.runs.append(
            {
                "id": number,
                "status": "queued",
                "conclusion": None,
                "event": "workflow_dispatch",
                "head_branch": "main",
                "head_sha": _HEAD,
                "html_url": f"{self.url}/runs/{number}",
                "inputs": inputs,
            }
        )
        return number

    def _run(self, number: int) -> Reply:
        run = next((one for one in self.runs if one["id"] == number), None)
        if run is None:
            return Reply.of(404, {"message": "Not Found"})
        told = dict(run)
        if self.ends:
            run.update(status="completed", conclusion=self.conclusion)
        return Reply.of(200, told)

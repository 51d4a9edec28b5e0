"""Trackers: issues of a GitHub repository, and of a Jira project."""

from __future__ import annotations

import base64
import json
from typing import Any

from tocsin_testkit.providers.serving import Provider, Reply, Request, Shown


class GitHub(Provider):
    """One repository.

    Attributes:
        issues: Each with its `comments`.
    """

    def __init__(self, repository: str, token: str) -> None:
        super().__init__()
        self._root = f"/repos/{repository}/issues"
        self._token = token
        self.issues: list[dict[str, Any]] = []

    def effects(self, request: Request) -> bool:
        """What is created; closing twice is closing, and a label is there once."""
        return request.method == "POST" and not request.path.endswith("/labels")

    def take(self, request: Request) -> Reply:
        """The calls of issues and comments."""
        if request.headers.get("authorization") != f"Bearer {self._token}":
            return Reply.of(401, {"message": "Bad credentials"})
        self.require(request.headers.get("user-agent"), "User-Agent is required")
        self.require(request.headers.get("accept") == "application/vnd.github+json", "Accept")
        self.require(request.headers.get("x-github-api-version"), "X-GitHub-Api-Version")
        if request.path == self._root:
            return self._list(request) if request.method == "GET" else self._create(request)
        number, _, rest = request.path.removeprefix(f"{self._root}/").partition("/")
        if not number.isdigit() or not 0 < int(number) <= len(self.issues):
            return Reply.of(404, {"message": "Not Found"})
        issue = self.issues[int(number) - 1]
        if rest == "comments":
            return self._comments(request, issue)
        if rest == "labels":
            issue["labels"] = list(dict.fromkeys([*issue["labels"], *request.document()["labels"]]))
            return Reply.of(200, [{"name": label} for label in issue["labels"]])
        if request.method == "PATCH":
            self.require(request.document().keys() <= {"state", "state_reason"}, "unknown fields")
            issue.update(request.document())
        return Reply.of(200, issue)

    def _list(self, request: Request) -> Reply:
        labels = set(filter(None, request.query.get("labels", "").split(",")))
        found = [
            issue
            for issue in reversed(self.issues)
            if labels <= set(issue["labels"])
            and request.query.get("state", "open") in {"all", issue["state"]}
        ]
        return Reply.of(200, found)

    def _create(self, request: Request) -> Reply:
        issue = request.document()
        if not issue.get("title") or len(issue["title"]) > 256:
            return Reply.of(422, {"message": "Validation Failed"})
        if len(issue.get("body", "")) > 65_536:
            return Reply.of(422, {"message": "body is too long (maximum is 65536 characters)"})
        held = {
            "number": len(self.issues) + 1,
            "state": "open",
            "labels": [],
            **issue,
            "comments_held": [],
        }
        held["html_url"] = f"https://github.test/issues/{held['number']}"
        self.issues.append(held)
        self.shown.append(Shown(f"{issue['title']}\n{issue.get('body', '')}"))
        return Reply.of(201, held)

    def _comments(self, request: Request, issue: dict[str, Any]) -> Reply:
        if request.method == "GET":
            return Reply.of(200, issue["comments_held"])
        body = request.document().get("body", "")
        if not 0 < len(body) <= 65_536:
            return Reply.of(422, {"message": "Validation Failed"})
        comment = {"id": len(issue["comments_held"]) + 1, "body": body}
        issue["comments_held"].append(comment)
        self.shown.append(Shown(body))
        return Reply.of(201, comment)


class Jira(Provider):
    """One site with one project."""

    def __init__(self, project: str, user: str, token: str) -> None:
        super().__init__()
        self._project = project
        self._basic = base64.b64encode(f"{user}:{token}".encode()).decode()
        self.issues: dict[str, dict[str, Any]] = {}

    def effects(self, request: Request) -> bool:
        """What is created; a search is a POST too."""
        return request.method == "POST" and "search" not in request.path

    def take(self, request: Request) -> Reply:
        """The calls of issues, comments, transitions and search."""
        if request.headers.get("authorization") != f"Basic {self._basic}":
            return Reply.of(401, {"errorMessages": ["no"], "errors": {}})
        if request.path == "/rest/api/3/issue":
            return self._create(request)
        if request.path == "/rest/api/3/search/jql":
            return self._search(request)
        key, _, rest = request.path.removeprefix("/rest/api/3/issue/").partition("/")
        issue = self.issues.get(key)
        if issue is None:
            return Reply.of(404, {"errorMessages": ["Issue does not exist"], "errors": {}})
        if not rest and request.method == "GET":
            self.require(request.query.get("fields") == "description", "a look names its fields")
            return Reply.of(200, {"key": key, "fields": {"description": issue["description"]}})
        if rest == "comment":
            return self._comment(request, issue)
        if rest == "transitions":
            return self._transition(request, issue)
        return Reply.of(404, {"errorMessages": ["no such thing"], "errors": {}})

    def _create(self, request: Request) -> Reply:
        fields = request.document().get("fields", {})
        errors = {}
        if fields.get("project", {}).get("key") != self._project:
            errors["project"] = "valid project is required"
        summary = fields.get("summary", "")
        if not 0 < len(summary) <= 255 or "\n" in summary:
            errors["summary"] = "one line of at most 255 characters"
        errors |= _document_errors("description", fields.get("description"))
        if any(" " in label for label in fields.get("labels", ())):
            errors["labels"] = "The label contains spaces"
        if errors:
            return Reply.of(400, {"errorMessages": [], "errors": errors})
        key = f"{self._project}-{len(self.issues) + 1}"
        self.issues[key] = {"key": key, **fields, "status": "To Do", "comments": []}
        self.shown.append(Shown(f"{summary}\n{_text(fields['description'])}"))
        return Reply.of(201, {"id": "10000", "key": key, "self": f"{self.url}/issue/10000"})

    def _search(self, request: Request) -> Reply:
        document = request.document()
        self.require("fields" in document, "a search names its fields")
        label = document["jql"].partition('labels = "')[2].partition('"')[0]
        found = [key for key, one in self.issues.items() if label in one.get("labels", ())]
        return Reply.of(200, {"issues": [{"key": key} for key in found], "isLast": True})

    def _comment(self, request: Request, issue: dict[str, Any]) -> Reply:
        if request.method == "GET":
            return Reply.of(200, {"comments": issue["comments"], "total": len(issue["comments"])})
        body = request.document().get("body", {})
        errors = _document_errors("comment", body)
        if errors:
            return Reply.of(400, {"errorMessages": [], "errors": errors})
        issue["comments"].append({"id": str(len(issue["comments"]) + 1), "body": body})
        self.shown.append(Shown(_text(body)))
        return Reply.of(201, issue["comments"][-1])

    @staticmethod
    def _transition(request: Request, issue: dict[str, Any]) -> Reply:
        if request.method == "GET":
            there = [
                {"id": "11", "name": "Start", "to": {"statusCategory": {"key": "indeterminate"}}},
                {"id": "31", "name": "Done", "to": {"statusCategory": {"key": "done"}}},
            ]
            return Reply.of(200, {"transitions": there})
        moved = request.document().get("transition", {}).get("id")
        issue["status"] = {"11": "In Progress", "31": "Done"}.get(moved, issue["status"])
        return Reply(204)


def _document_errors(name: str, document: object) -> dict[str, str]:
    """What is wrong with a document in Atlassian's format."""
    if not isinstance(document, dict) or document.get("type") != "doc":
        return {name: "Operation value must be an Atlassian Document"}
    if document.get("version") != 1 or len(json.dumps(document)) > 32_767:
        return {name: "The entered text is too long, or of another version"}
    return {}


def _text(node: dict[str, Any]) -> str:
    """The text a person reads in a document of Atlassian's format."""
    if node["type"] == "text":
        return str(node["text"])
    inner = "".join(_text(one) for one in node.get("content", ()))
    return inner + ("\n" if node["type"] == "paragraph" else "")

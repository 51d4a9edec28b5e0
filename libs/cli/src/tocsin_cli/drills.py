"""`tocsin drill`: a rehearsal by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from tocsin_cli import connection
from tocsin_cli.exits import NotFound
from tocsin_cli.printing import console
from tocsin_contracts.codec import rfc3339
from tocsin_policy import drill_alert, load_policy
from tocsin_runtime.clock import SystemClock


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("drill")(drill)


def drill(
    policy: Annotated[Path, typer.Argument(help="The policy's file.")],
    name: Annotated[str, typer.Argument(help="One of its drills.")],
) -> None:
    """Begin a drill now: its pages are marked, its playbook is proposed and never run."""
    held = load_policy(policy)
    if name not in held.drills:
        known = ", ".join(held.drills) or "none"
        raise NotFound(f"{held.system} has no drill {name!r}; it has: {known}")
    labels, annotations = drill_alert(held, name)
    alert = {
        "status": "firing",
        "labels": labels,
        "annotations": annotations,
        "startsAt": rfc3339(SystemClock().now()),
        "endsAt": "0001-01-01T00:00:00Z",
        "generatorURL": "",
    }
    body = json.dumps({"version": "4", "alerts": [alert]}).encode()
    token = connection.connect().webhook_token
    connection.post("/v1/webhooks/alertmanager", content=body, token=token)
    console.print(f"the drill {name} of {held.system} has begun")

"""The `tocsin` command.

Tables for people, `--json` for machines, and exit codes that mean something (`exits`).
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from pathlib import Path
from typing import Annotated, Any

import structlog
import typer
from aiokafka.errors import KafkaError
from rich.table import Table
from rich.text import Text as RichText

from tocsin_cli import (
    archives,
    audits,
    bundles,
    connection,
    drills,
    explanations,
    freezing,
    letters,
    menu,
    notifying,
    playbooks,
    policy_comparing,
    policy_importing,
    policy_reading,
    policy_tests,
    postmortems,
    replaying,
    reports,
    rosters,
    silencing,
    whatifs,
)
from tocsin_cli.exits import Exit, NotFound, Unreachable
from tocsin_cli.printing import Incident, Json, console, errors, print_json
from tocsin_cli.stack.problems import StackProblem
from tocsin_incident import IncidentState, explain, state_document
from tocsin_policy import (
    Policy,
    PolicyRefused,
    levels_for,
    load_policy,
    policy_document,
    policy_hash,
    scaled,
)
from tocsin_replay import BadArchive, BadBundle
from tocsin_runtime.clock import SystemClock
from tocsin_runtime.failures import Transient

app = typer.Typer(cls=menu.Menu, no_args_is_help=True, add_completion=False)
policy_app = typer.Typer(
    help="What each system promises, and who is woken: write, try, publish, import.",
    no_args_is_help=True,
)
incident_app = typer.Typer(
    help="Look at incidents, and answer: ack, resolve, escalate, handover, mute, note.",
    no_args_is_help=True,
)
topics_app = typer.Typer(
    help="Kafka topics: make them as the registry says, and see where they differ.",
    no_args_is_help=True,
)
letters_app = typer.Typer(
    help="Records that could not be handled: list, show, edit, redrive.", no_args_is_help=True
)
app.add_typer(policy_app, name="policy")
app.add_typer(incident_app, name="incident")
app.add_typer(topics_app, name="topics")
app.add_typer(letters_app, name="dead-letters")
replaying.register(app)
drills.register(app)
letters.register(letters_app)
notifying.register(app)
bundles.register(app)
postmortems.register(app)
reports.register(app)
archives.register(app)
audits.register(app)
explanations.register(app)
whatifs.register(app)
rosters.register(app, policy_app)
policy_tests.register(policy_app)
policy_reading.register(policy_app)
policy_comparing.register(policy_app)
policy_importing.register(policy_app)
playbooks.register(app)
freezing.register(app)
silencing.register(app)


@app.callback()
def _quiet() -> None:
    """Alerts become incidents, page people and are read back: the command of Tocsin."""
    # What handlers say while they live through a recording is no answer to anybody.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))


By = Annotated[str, typer.Option("--by", help="Who answers: a contact id of the policy.")]
PolicyFiles = Annotated[list[Path], typer.Argument(help="YAML files.", metavar="POLICY.yaml...")]
Text = Annotated[str, typer.Option("--text", "-m", help="What to say.")]


def main() -> None:
    """Run the command; every failure people can do something about is one line and a code."""
    try:
        app()
    except NotFound as error:
        _end(str(error), Exit.NOT_FOUND)
    except (Unreachable, StackProblem, KafkaError, Transient) as error:
        _end(str(error), Exit.UNREACHABLE)
    except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
        _end(f"cannot open {error.filename}: {error.strerror}", Exit.USAGE)
    except (PolicyRefused, BadBundle, BadArchive) as error:
        _end(str(error), Exit.FAILED)
    except ValueError as error:
        _end(str(error), Exit.USAGE)
    except ModuleNotFoundError as error:
        if error.name != "duckdb":  # the one extra a command may lack
            raise
        _end(str(error), Exit.USAGE)


def _end(message: str, code: Exit) -> None:
    errors.print(message, style="red", markup=False, highlight=False, soft_wrap=True)
    sys.exit(code)


def _root() -> Path:
    found = connection.root()
    if found is None:
        raise NotFound("run this inside the repository: it needs deploy/policies")
    return found


@app.command()
def up() -> None:
    """Start Kafka, Valkey and the five services on this machine, and keep them running."""
    from tocsin_cli.stack.stack import Stack  # noqa: PLC0415 - only these commands need it

    stack = Stack(_root())
    stack.start(lambda line: console.print(line, highlight=False))
    asyncio.run(_publish_missing(stack.root))
    console.print(f"ingestion takes alerts at [bold]{stack.ingestion_url}[/bold]")


async def _publish_missing(root: Path) -> None:
    """Put the shipped policies in force where their system has none yet."""
    from tocsin_cli.publishing import published_systems  # noqa: PLC0415

    present = await connection.with_reader(published_systems)
    paths = sorted((root / "deploy" / "policies").glob("*/policy.yaml"))
    missing = [p for p in map(load_policy, paths) if p.system not in present]
    for policy in missing:
        await _publish_one(policy)
        console.print(f"published {policy.system}")


@app.command()
def down() -> None:
    """Stop what `up` started; incidents stay on disk."""
    from tocsin_cli.stack.stack import Stack  # noqa: PLC0415

    Stack(_root()).stop()
    console.print("stopped")


@app.command()
def status(as_json: Json = False) -> None:
    """How each service is, asked now. Exit code 4 if nothing runs, 1 if one is not ready."""
    from tocsin_cli.stack.stack import Stack  # noqa: PLC0415

    found = Stack(_root()).status()
    if as_json:
        print_json([{"service": s.name, "health": s.health} for s in found])
    else:
        table = Table("service", "health", box=None)
        for service in found:
            colour = "green" if service.health == "ready" else "red"
            table.add_row(service.name, f"[{colour}]{service.health}[/{colour}]")
        console.print(table if found else "nothing is running; start it with `make up`")
    if not found:
        raise typer.Exit(Exit.UNREACHABLE)
    if any(service.health != "ready" for service in found):
        raise typer.Exit(Exit.FAILED)


@app.command()
def demo(
    system: Annotated[str, typer.Option(help="Whose runbook.")] = "mpc-transformer",
    as_json: Json = False,
) -> None:
    """One incident, all the way, on a real Kafka of its own; leaves nothing running."""
    from tocsin_cli.demo import run_demo  # noqa: PLC0415 - and its receiver

    raise typer.Exit(run_demo(system, as_json=as_json))


def _recorded(incident: str) -> Any:  # noqa: ANN401 - replay's own
    from tocsin_replay import read_incident  # noqa: PLC0415

    recorded = asyncio.run(connection.with_reader(lambda reader: read_incident(reader, incident)))
    if not recorded:
        raise NotFound(f"the log does not know incident {incident}")
    return recorded


@app.command()
def send(
    file: Annotated[
        Path | None, typer.Argument(help="A webhook body, or a recorded exchange with one.")
    ] = None,
    label: Annotated[
        list[str] | None, typer.Option("--label", "-l", help="name=value, for a made-up alert.")
    ] = None,
    summary: Annotated[str, typer.Option(help="Summary of a made-up alert.")] = "",
    resolved: Annotated[bool, typer.Option(help="Say that it is over.")] = False,
) -> None:
    """Post an Alertmanager webhook: a recorded one, or one made up from labels."""
    body = _body(file) if file is not None else _made_up(label or [], summary, resolved=resolved)
    token = connection.connect().webhook_token
    answer = connection.post("/v1/webhooks/alertmanager", content=body, token=token)
    console.print(f"accepted, {answer['alerts']} alerts")


def _body(file: Path) -> bytes:
    content = file.read_bytes()
    document = json.loads(content)
    if isinstance(document, dict) and "body_raw" in document:
        return str(document["body_raw"]).encode()
    return content


def _made_up(labels: list[str], summary: str, *, resolved: bool) -> bytes:
    pairs = dict(text.partition("=")[::2] for text in labels)
    if "alertname" not in pairs:
        raise ValueError("name a file, or a made-up alert: --label alertname=HighErrorRate …")
    now = SystemClock().now().isoformat()
    started = pairs.pop("startsAt", now)
    alert = {
        "status": "resolved" if resolved else "firing",
        "labels": pairs,
        "annotations": {"summary": summary or pairs["alertname"]},
        "startsAt": started,
        "endsAt": now if resolved else "0001-01-01T00:00:00Z",
        "generatorURL": "",
    }
    return json.dumps({"version": "4", "alerts": [alert]}).encode()


@app.command()
def generate(
    check: Annotated[bool, typer.Option(help="Only say what has drifted.")] = False,
) -> None:
    """Write the files that are generated from code. With --check, exit 1 if one has drifted."""
    from tocsin_cli.generating import drifted, write_all  # noqa: PLC0415

    if not check:
        for path in write_all(_root()):
            console.print(f"wrote {path}", highlight=False)
        return
    found = drifted(_root())
    for path in found:
        errors.print(f"{path} is not what the code says; run `tocsin generate`", style="red")
    if found:
        raise typer.Exit(Exit.FAILED)


@topics_app.command("apply")
def topics_apply(
    partitions: Annotated[
        int | None, typer.Option(help="Of every keyed topic; the registry's without it.")
    ] = None,
    replication: Annotated[int, typer.Option(help="Replicas of each partition.")] = 1,
) -> None:
    """Create the registry's topics; name those that differ from it. Changes nothing there is."""
    from tocsin_cli.stack.topics import apply_topics  # noqa: PLC0415
    from tocsin_contracts.registry import PARTITIONS  # noqa: PLC0415

    bootstrap = connection.connect().bootstrap
    if not bootstrap:
        raise Unreachable("set TOCSIN_KAFKA_BOOTSTRAP, or start a system with `make up`")
    applied = asyncio.run(
        apply_topics(bootstrap, partitions or PARTITIONS, replication=replication)
    )
    console.print(f"created {len(applied.created)} topics: {', '.join(applied.created) or '-'}")
    for drift in applied.drifts:
        errors.print(str(drift), style="yellow")
    if applied.drifts:
        raise typer.Exit(Exit.FAILED)


@policy_app.command("validate")
def policy_validate(paths: PolicyFiles) -> None:
    """Say what is wrong with policy files, each problem with its line and column."""
    bad = 0
    for path in paths:
        try:
            policy = load_policy(path)
        except PolicyRefused as error:
            bad += 1
            for problem in error.problems:
                errors.print(str(problem), style="red", markup=False, highlight=False)
        else:
            console.print(f"{path}: {policy.system} {policy_hash(policy)[:12]}", highlight=False)
            rosters.warn_of_gaps(policy, path)
    if bad:
        raise typer.Exit(Exit.FAILED)


@policy_app.command("publish")
def policy_publish(
    paths: PolicyFiles,
    scale: Annotated[int, typer.Option(min=1, help="Divide every duration by this.")] = 1,
) -> None:
    """Put policies in force. None is published unless all validate."""
    for policy in [scaled(load_policy(path), scale) for path in paths]:
        content_hash = asyncio.run(_publish_one(policy))
        console.print(f"{policy.system} {content_hash}", highlight=False)


async def _publish_one(policy: Policy) -> str:
    from tocsin_cli.publishing import publish_policy  # noqa: PLC0415

    return await connection.with_publisher(
        lambda publisher, clock: publish_policy(publisher, clock, policy)
    )


@policy_app.command("show")
def policy_show(path: Annotated[Path, typer.Argument()], as_json: Json = False) -> None:
    """What a policy does: severities, levels, rules."""
    policy = load_policy(path)
    if as_json:
        print_json(policy_document(policy))
        return
    table = Table("severity", "response", "levels", title=policy.system, title_justify="left")
    for severity in policy.severities:
        levels = "\n".join(
            f"{level.number}. after {level.after}: {', '.join(level.targets)}"
            for level in levels_for(policy, severity.name)
        )
        table.add_row(severity.name, str(severity.response_target or "-"), levels)
    console.print(table)
    rules = Table("rule", "severity", "when", box=None)
    for rule in policy.classification.rules:
        rules.add_row(rule.name, rule.severity, " ".join(map(str, rule.match)))
    console.print(rules)


@incident_app.command("list")
def incident_list(
    as_json: Json = False,
    everything: Annotated[bool, typer.Option("--all", help="Ended ones too.")] = False,
) -> None:
    """Open incidents, oldest first."""
    from tocsin_replay import read_all, states_of  # noqa: PLC0415

    states = states_of(asyncio.run(connection.with_reader(read_all)))
    found = [s for s in states.values() if everything or s.status.live]
    found.sort(key=lambda state: (state.opened_at, state.incident))
    if as_json:
        print_json([state_document(state) for state in found])
        return
    table = Table(box=None, padding=(0, 1, 0, 0))
    table.add_column("incident, title", overflow="fold", ratio=1, min_width=32)  # people copy it
    for column in ("severity", "status", "opened (UTC)", "taken by"):
        table.add_column(column, no_wrap=True)
    for state in found:
        by = state.acknowledged_by.name if state.acknowledged_by else "-"
        named = RichText.assemble(state.incident, "\n", (state.title, "dim"))
        opened = f"{state.opened_at:%m-%d %H:%M:%S}"
        table.add_row(named, state.severity, state.status, opened, by)
    console.print(table if found else "no incident")


@incident_app.command("show")
def incident_show(incident: Incident, as_json: Json = False) -> None:
    """What is known of an incident, and why it is so."""
    from tocsin_replay import state_of  # noqa: PLC0415

    state: IncidentState | None = state_of(_recorded(incident))
    if state is None:
        raise NotFound(f"nobody opened {incident}")
    if as_json:
        print_json(state_document(state))
        return
    console.print(f"[bold]{state.severity} {state.title}[/bold]  {state.status}")
    for line in explain(state):
        console.print(f"- {line}", markup=False)
    for remediation in state.remediations.values():
        console.print(f"playbook {remediation.playbook} ({remediation.remediation})")
        for step in remediation.steps:
            console.print(
                f"  {step.proposed.step}: {step.proposed.title}: {step.status}"
                f" (approval: {step.proposed.approval})",
                markup=False,
            )


def _answer(incident: str, verb: str, **body: str) -> None:
    token = connection.connect().api_token
    content = json.dumps({**body, "via": "cli"}).encode()
    connection.post(f"/v1/incidents/{incident}/{verb}", content=content, token=token)
    console.print(f"{verb}: in the log")


@incident_app.command("ack")
def incident_ack(incident: Incident, by: By) -> None:
    """Take the incident: the escalation stands still."""
    _answer(incident, "acknowledge", by=by)


@incident_app.command("resolve")
def incident_resolve(incident: Incident, by: By, text: Text = "") -> None:
    """Say that it is over."""
    _answer(incident, "resolve", by=by, text=text)


@incident_app.command("escalate")
def incident_escalate(incident: Incident, by: By, text: Text = "") -> None:
    """Have the next level paged now."""
    _answer(incident, "escalate", by=by, text=text)


@incident_app.command("handover")
def incident_handover(
    incident: Incident,
    by: By,
    to: Annotated[str, typer.Option(help="Contact id of whose it is from here on.")],
    text: Text = "",
) -> None:
    """Give the incident to somebody, who is paged for it."""
    _answer(incident, "handover", by=by, contact=to, text=text)


@incident_app.command("mute")
def incident_mute(
    incident: Incident,
    by: By,
    minutes: Annotated[int, typer.Option(min=1, max=24 * 60, help="For how long.")] = 60,
    text: Text = "",
) -> None:
    """Page and remind nobody for a while; then again, if nobody has answered."""
    _answer(incident, "mute", by=by, minutes=str(minutes), text=text)


@incident_app.command("unmute")
def incident_unmute(incident: Incident, by: By) -> None:
    """End a mute before its time."""
    _answer(incident, "unmute", by=by)


@incident_app.command("mitigate")
def incident_mitigate(incident: Incident, by: By, text: Text = "") -> None:
    """Say that users no longer feel it."""
    _answer(incident, "mitigate", by=by, text=text)


@incident_app.command("reopen")
def incident_reopen(incident: Incident, by: By, text: Text = "") -> None:
    """Say that it is not over."""
    _answer(incident, "reopen", by=by, text=text)


@incident_app.command("note")
def incident_note(incident: Incident, by: By, text: Text) -> None:
    """Write something down."""
    _answer(incident, "notes", by=by, text=text)


@incident_app.command("update")
def incident_update(
    incident: Incident,
    by: By,
    text: Text,
    audience: Annotated[str, typer.Option(help="For whom.")] = "internal",
) -> None:
    """Tell people how it stands."""
    _answer(incident, "updates", by=by, text=text, audience=audience)


@incident_app.command("role")
def incident_role(
    incident: Incident,
    by: By,
    role: Annotated[str, typer.Option(help="As the policy names it.")],
    contact: Annotated[str, typer.Option(help="Contact id of who has it.")],
) -> None:
    """Give a person a role in the incident."""
    _answer(incident, "roles", by=by, role=role, contact=contact)


@incident_app.command("severity")
def incident_severity(
    incident: Incident,
    by: By,
    to: Annotated[str, typer.Option(help="The severity it should have.")],
    text: Text = "",
) -> None:
    """Ask for another severity."""
    _answer(incident, "severity", by=by, severity=to, reason=text)


@incident_app.command("approve")
def incident_approve(
    incident: Incident,
    by: By,
    remediation: Annotated[str, typer.Option(help="As `incident show` names it.")],
    step: Annotated[str, typer.Option(help="As `incident show` names it.")],
) -> None:
    """Let a step run."""
    _answer(incident, "approve", by=by, remediation=remediation, step=step)


@incident_app.command("reject")
def incident_reject(
    incident: Incident,
    by: By,
    remediation: Annotated[str, typer.Option(help="As `incident show` names it.")],
    text: Text = "",
) -> None:
    """Say no to a remediation."""
    _answer(incident, "reject", by=by, remediation=remediation, reason=text)


@incident_app.command("merge")
def incident_merge(
    incident: Incident,
    by: By,
    into: Annotated[str, typer.Option(help="The incident it goes on as.")],
) -> None:
    """Make two incidents one."""
    _answer(incident, "merge", by=by, into=into)


@incident_app.command("review")
def incident_review(
    incident: Incident, by: By, url: Annotated[str, typer.Option(help="Of the review.")] = ""
) -> None:
    """Say that the review is published."""
    _answer(incident, "review", by=by, url=url)


@incident_app.command("close")
def incident_close(incident: Incident, by: By) -> None:
    """Say that nothing more will happen to it."""
    _answer(incident, "close", by=by)


menu.arrange(app)

if __name__ == "__main__":
    main()

"""Exchanges of amtool and Prometheus with a real Alertmanager, replayed against the door.

Each answer is compared with Alertmanager's own. What differs on purpose stands in `DIFFERENT`,
with why; anything else that differs fails.
"""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tocsin_contracts.alerts import ObservationStatus
from tocsin_simulation.clock import ManualClock
from tocsin_testkit.door import API_TOKEN, DoorUnderTest
from tocsin_testkit.policies import a_policy

CAPTURED = Path(__file__).parent / "captured"

DIFFERENT: dict[str, str] = {
    "status": "it says what we are: no peers, our receivers, no build",
    "g02-receivers": "our receivers are the systems that have a policy",
    "e01-bad-json": "the words of another JSON parser, in the same shape",
    "e03-object-not-array": "the words of another JSON parser, in the same shape",
    "e09-bad-time": "the words of another parser of times, in the same shape",
    "e37-offset-no-colon": "a zone without its colon is understood; PagerDuty's examples have it",
    "e19-bad-bool": "recorded was an inhibition by another team; here those are two systems",
    "e29-silence-bad-regex": "the words of RE2 in C++, in the same shape",
    "e31-v1-post": "the same body, without the old headers for browsers",
    "e35-cors-preflight": "pages of other sites may not ask here",
    "s10-silence-expire-unknown": "404, as Alertmanager answers since 0.26",
    "g10-v1-alerts": "the old API is there to post to, for Prometheus 2",
    "g11-v1-status": "the old API is there to post to, for Prometheus 2",
}
"""Scenarios whose answer differs, each with its reason."""

SAME_STATUS = {"e01-bad-json", "e03-object-not-array", "e09-bad-time", "e29-silence-bad-regex"}
"""Of these only the words differ."""

NO_PREFLIGHT = 405


def exchanges(*folders: str) -> list[dict[str, Any]]:
    """What was recorded, in the order in which it was."""
    paths = [path for folder in folders for path in (CAPTURED / folder).glob("[0-9]*.json")]
    return [json.loads(path.read_text()) for path in sorted(paths, key=lambda path: path.name)]


def a_policy_of(system: str, claim: str) -> Any:
    return a_policy(system, claims=[[claim]])


def comparable(text: str, ids: dict[str, str]) -> Any:
    """An answer without what no two servers share: ids, instants of its own clock, inhibition.

    Recorded was an inhibition across what are two systems here, where there is none.
    """
    for recorded, ours in ids.items():
        text = text.replace(ours, recorded)
    if not text.strip():
        return ""
    document = json.loads(text)
    for part in document if isinstance(document, list) else [document]:
        for alert in part.get("alerts", [part]) if isinstance(part, dict) else []:
            alert.pop("updatedAt", None)
            if "receivers" in alert:
                alert["status"]["inhibitedBy"] = []
                if not alert["status"]["silencedBy"]:
                    alert["status"]["state"] = "active"
            elif "matchers" in alert and alert["status"]["state"] != "pending":
                # Alertmanager raised the start, and ended it, a moment after it was asked.
                alert.pop("startsAt")
                alert.pop("endsAt")
            for name in ("startsAt", "endsAt"):
                if name in alert:
                    alert[name] = alert[name][:19]
    return document


def without_alerts_that_are_over_there(document: Any, scenario: str) -> Any:
    """Real Alertmanager also inhibited one of the two alerts; here both are active."""
    if scenario.startswith(("a03", "a05", "a06", "g04", "g14")) and isinstance(document, list):
        return [part for part in document if "NodeDown" not in json.dumps(part)]
    return document


async def test_amtool_and_others_hear_what_alertmanager_told_them() -> None:
    recorded = exchanges("amtool", "api_v2", "api_v2_errors")
    clock = ManualClock(datetime.fromisoformat(recorded[0]["recorded_at"]) - timedelta(seconds=1))
    policies = [
        a_policy_of("team-b", 'severity="critical"'),
        a_policy_of("team-a", 'severity!="critical"'),
    ]
    door = DoorUnderTest(clock=clock, policies=policies)
    ids: dict[str, str] = {}
    differing = set()
    for exchange in recorded:
        at = datetime.fromisoformat(exchange["recorded_at"])
        clock.advance(max(timedelta(0), at - clock.now()))
        path, body = exchange["path"], exchange["body_raw"]
        for theirs, ours in ids.items():
            path, body = path.replace(theirs, ours), body.replace(theirs, ours)
        headers = {n: v for n, v in exchange["headers"] if n in {"Content-Type", "Accept"}}
        answer = await door.send(
            exchange["method"], path, body, token=API_TOKEN, headers=headers | {"Host": "door"}
        )
        said, scenario = exchange["response"], exchange["scenario"]
        if "silenceID" in (said["body_raw"] or "") and answer.is_success:
            ids[json.loads(said["body_raw"])["silenceID"]] = answer.json()["silenceID"]
        same = answer.status_code == said["status"]
        if path.startswith("/-/"):
            same = same and answer.text == said["body_raw"]
        elif same:
            ours_is, theirs_is = (
                without_alerts_that_are_over_there(comparable(text, ids), scenario)
                for text in (answer.text, said["body_raw"] or "")
            )
            same = ours_is == theirs_is
            headers_said = {n.lower() for n, _ in said["headers"]} - {"date", "content-length"}
            same = same and headers_said <= set(answer.headers)
        if not same:
            name = "status" if "/status" in path and "/v1/" not in path else scenario
            assert name in DIFFERENT, (scenario, answer.status_code, answer.text, said)
            assert name not in SAME_STATUS or answer.status_code == said["status"]
            differing.add(name)
    assert differing == set(DIFFERENT)


async def test_what_is_inhibited_is_shown_as_such_with_what_inhibits_it() -> None:
    rule = {"source": ['severity="critical"'], "target": ['severity="warning"'], "equal": ["site"]}
    policy = a_policy(claims=[['alertname=~".+"']], inhibition={"rules": {"worse": rule}})
    door = DoorUnderTest(policies=[policy])
    alerts = [
        {"labels": {"alertname": "NodeDown", "site": "eu", "severity": "critical"}},
        {"labels": {"alertname": "Slow", "site": "eu", "severity": "warning"}},
        {"labels": {"alertname": "Slow", "site": "us", "severity": "warning"}},
    ]
    await door.send("POST", "/api/v2/alerts", json.dumps(alerts))

    async def shown(query: str) -> dict[str, dict[str, Any]]:
        answer = await door.send("GET", f"/api/v2/alerts{query}", token=API_TOKEN)
        return {f"{a['labels']['alertname']} {a['labels']['site']}": a for a in answer.json()}

    every = await shown("")
    source = every["NodeDown eu"]["fingerprint"]
    states = {name: alert["status"]["state"] for name, alert in every.items()}
    assert states == {"NodeDown eu": "active", "Slow eu": "suppressed", "Slow us": "active"}
    assert every["Slow eu"]["status"]["inhibitedBy"] == [source]
    assert set(await shown("?inhibited=false")) == {"NodeDown eu", "Slow us"}
    assert set(await shown("?active=false")) == {"Slow eu"}


async def test_prometheus_is_understood_and_its_lease_is_kept() -> None:
    recorded = exchanges("prometheus")
    clock = ManualClock(datetime.fromisoformat(recorded[0]["recorded_at"]) - timedelta(seconds=1))
    door = DoorUnderTest(clock=clock)
    sent: list[tuple[dict[str, Any], datetime]] = []
    for exchange in recorded:
        clock.advance(datetime.fromisoformat(exchange["recorded_at"]) - clock.now())
        answer = await door.send("POST", exchange["path"], exchange["body_raw"])
        assert (answer.status_code, answer.content) == (200, b"")
        sent += [(alert, clock.now()) for alert in exchange["body_json"]]
    seen = [observation for _, observation in door.observed()]
    assert len(seen) == len(sent)
    assert all(one.ends_at is not None for one in seen)
    got = [(one.ends_at, one.status, one.labels) for one in seen]
    for alert, at in sent:
        ends_at = datetime.fromisoformat(alert["endsAt"])
        fires = ObservationStatus.FIRING if ends_at > at else ObservationStatus.RESOLVED
        assert (ends_at, fires, alert["labels"]) in got
    assert {status for _, status, _ in got} == set(ObservationStatus)


@pytest.mark.parametrize("folder", ["amtool", "prometheus", "api_v2", "api_v2_errors"])
def test_there_are_recordings(folder: str) -> None:
    assert exchanges(folder)

"""The door's edge: bombs, floods, replays, poison, and who hears what."""

from __future__ import annotations

import gzip
import hashlib
import hmac
import json
import zlib
from base64 import b64encode
from datetime import UTC, datetime, timedelta
from functools import cache
from urllib.parse import urlencode

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import NameOID
from pydantic import SecretStr

from ingestion.domain.authentication import BadCertificate, Key, sns_signed_text
from ingestion.domain.limiting import Bucket, Remembered
from tocsin_contracts.alerts import ObservationStatus
from tocsin_contracts.incidents import Acknowledged
from tocsin_simulation.clock import EPOCH
from tocsin_simulation.webhooks import a_webhook
from tocsin_testkit.builders import an_alert
from tocsin_testkit.door import DoorUnderTest

MOST = 100_000
WEBHOOK = "/v1/webhooks/alertmanager"
GOOD = a_webhook(an_alert(system="shop", severity="minor"))
INCIDENT = "shop-7yj3kq0w2m"


def keys(**secrets: str) -> dict[str, list[Key]]:
    return {
        name.replace("_", "-"): [Key(SecretStr(s), {"system": "shop"})]
        for name, s in secrets.items()
    }


async def test_a_compressed_body_is_read_and_kept_as_it_was_before() -> None:
    door = DoorUnderTest()
    answer = await door.send(
        "POST", WEBHOOK, gzip.compress(GOOD), headers={"Content-Encoding": "gzip"}
    )
    assert answer.status_code == 202
    assert [record.value for record in door.raw()] == [GOOD]


@pytest.mark.parametrize(
    ("body", "encoding", "status"),
    [
        (gzip.compress(b" " * 50_000_000), "gzip", 413),
        (gzip.compress(b" " * (MOST + 1)), "gzip", 413),
        (gzip.compress(GOOD)[:-4], "gzip", 400),
        (gzip.compress(GOOD) + gzip.compress(GOOD), "gzip", 400),
        (b"no gzip", "gzip", 400),
        (zlib.compress(GOOD), "deflate", 415),
        (GOOD, "br", 415),
    ],
)
async def test_a_bomb_or_a_broken_stream_is_refused_and_leaves_nothing(
    body: bytes, encoding: str, status: int
) -> None:
    door = DoorUnderTest()
    answer = await door.send("POST", WEBHOOK, body, headers={"Content-Encoding": encoding})
    assert answer.status_code == status
    assert door.written() == 0


async def test_a_stranger_who_would_have_to_sign_sends_no_more_than_a_mebibyte() -> None:
    door = DoorUnderTest(keys=keys(github="s"), max_body_bytes=4_000_000)
    answer = await door.send("POST", "/v1/webhooks/github", b" " * 1_100_000, token=None)
    assert answer.status_code == 413


async def test_nesting_has_an_end() -> None:
    door = DoorUnderTest()
    deep = b'{"alerts":' + b"[" * 40_000 + b"]" * 40_000 + b"}"
    answer = await door.send("POST", WEBHOOK, deep)
    assert answer.json()["status"] == "kept"
    assert len(door.dead_letters) == 1


async def test_a_delivery_has_a_most_of_alerts() -> None:
    door = DoorUnderTest(max_body_bytes=5_000_000)
    one = json.dumps(an_alert(system="shop").document())
    many = b'{"alerts":[' + ",".join([one] * 10_001).encode() + b"]}"
    answer = await door.send("POST", WEBHOOK, many, headers={"Prefer": "handling=strict"})
    assert (answer.status_code, answer.json()["error"]["field"]) == (422, "alerts")
    assert door.written() == 0


async def test_beyond_its_rate_a_source_is_told_to_come_again_and_others_are_heard() -> None:
    door = DoorUnderTest(per_second=1, keys=keys(opsgenie="k"))
    statuses = [(await door.send("POST", WEBHOOK, GOOD)).status_code for _ in range(4)]
    assert statuses == [202, 202, 503, 503]
    answer = await door.send("POST", WEBHOOK, GOOD)
    assert int(answer.headers["Retry-After"]) > 0
    other = await door.send(
        "POST", "/v2/alerts", b'{"message": "x"}', headers={"Authorization": "GenieKey k"}
    )
    assert other.status_code == 202
    door.clock.advance(timedelta(seconds=1))
    assert (await door.send("POST", WEBHOOK, GOOD)).status_code == 202


async def test_strangers_use_up_nobodys_rate() -> None:
    door = DoorUnderTest(per_second=1)
    for _ in range(5):
        assert (await door.send("POST", WEBHOOK, GOOD, token="wrong")).status_code == 401
    assert (await door.send("POST", WEBHOOK, GOOD)).status_code == 202


def test_a_bucket_fills_with_time_and_never_over() -> None:
    bucket = Bucket(10)
    assert sum(bucket.take(0.0) for _ in range(50)) == 20
    assert sum(bucket.take(0.5) for _ in range(50)) == 5
    assert sum(bucket.take(100.0) for _ in range(50)) == 20


def test_what_is_remembered_is_bounded() -> None:
    remembered = Remembered(most=3)
    for number in range(5):
        remembered.add(str(number))
    assert len(remembered) == 3
    assert "1" not in remembered
    assert "4" in remembered


def signed_for_slack(door: DoorUnderTest, body: str) -> dict[str, str]:
    at = str(int(door.clock.now().timestamp()))
    made = hmac.new(b"s", f"v0:{at}:{body}".encode(), hashlib.sha256).hexdigest()
    return {
        "Content-Type": "application/x-www-form-urlencoded",
        "X-Slack-Request-Timestamp": at,
        "X-Slack-Signature": f"v0={made}",
    }


COMMAND = urlencode(
    {
        "command": "/incident",
        "text": f"resolve {INCIDENT} rolled back",
        "user_id": "U1",
        "user_name": "roadrunner",
    }
)


async def test_a_replayed_signature_is_refused() -> None:
    door = DoorUnderTest(keys=keys(slack="s"), people={"slack:U1": "alice"})
    headers = signed_for_slack(door, COMMAND)
    path = "/v1/webhooks/slack"
    first = await door.send("POST", path, COMMAND, token=None, headers=headers)
    assert (first.status_code, len(door.facts("incidents"))) == (200, 1)
    replayed = await door.send("POST", path, COMMAND, token=None, headers=headers)
    assert replayed.status_code == 401
    door.clock.advance(timedelta(minutes=6))
    stale = await door.send("POST", path, COMMAND, token=None, headers=headers)
    assert stale.status_code == 401
    assert len(door.facts("incidents")) == 1


def signed_for_pagerduty(body: bytes, delivery: str) -> dict[str, str]:
    made = hmac.new(b"s", body, hashlib.sha256).hexdigest()
    return {"X-PagerDuty-Signature": f"v1={made}", "X-Webhook-Id": delivery}


def acknowledged_at_pagerduty(**agent: str) -> bytes:
    return json.dumps(
        {
            "event": {
                "id": "1",
                "event_type": "incident.acknowledged",
                "agent": {"id": "P1", "type": "user_reference", "summary": "Alice", **agent},
                "data": {"incident_key": f"{INCIDENT}:1:critical:1:0:alice"},
            }
        }
    ).encode()


async def test_a_delivery_that_is_tried_again_is_taken_and_has_one_effect() -> None:
    door = DoorUnderTest(keys=keys(pagerduty="s"))
    body = acknowledged_at_pagerduty()
    headers = signed_for_pagerduty(body, "d-1")
    for expected in ("accepted", "repeated"):
        answer = await door.send(
            "POST", "/v1/webhooks/pagerduty", body, token=None, headers=headers
        )
        assert (answer.status_code, answer.json()["status"]) == (202, expected)
    assert len(door.facts("incidents")) == 1


async def test_at_another_door_the_second_attempt_is_the_same_fact() -> None:
    body = acknowledged_at_pagerduty()
    headers = signed_for_pagerduty(body, "d-1")
    ids = set()
    for _ in range(2):
        door = DoorUnderTest(keys=keys(pagerduty="s"))
        await door.send("POST", "/v1/webhooks/pagerduty", body, token=None, headers=headers)
        ids |= {event.id for event in door.facts("incidents")}
    assert len(ids) == 1


async def test_what_an_integration_did_at_pagerduty_does_not_echo() -> None:
    door = DoorUnderTest(keys=keys(pagerduty="s"))
    body = acknowledged_at_pagerduty(type="integration_reference")
    headers = signed_for_pagerduty(body, "d-2")
    answer = await door.send("POST", "/v1/webhooks/pagerduty", body, token=None, headers=headers)
    assert answer.status_code == 202
    assert door.facts("incidents") == []


async def test_a_person_is_called_by_the_name_the_policies_have() -> None:
    door = DoorUnderTest(keys=keys(pagerduty="s"), people={"pagerduty:P1": "alice"})
    body = acknowledged_at_pagerduty()
    await door.send(
        "POST",
        "/v1/webhooks/pagerduty",
        body,
        token=None,
        headers=signed_for_pagerduty(body, "d-3"),
    )
    [event] = door.facts("incidents")
    assert isinstance(event.fact, Acknowledged)
    assert (event.fact.by.name, event.fact.by.via) == ("alice", "pagerduty")


async def test_what_the_notifier_did_in_a_users_name_is_nobodys_answer() -> None:
    door = DoorUnderTest(keys=keys(pagerduty="s"), people={"pagerduty:P1": ""})
    body = acknowledged_at_pagerduty()
    headers = signed_for_pagerduty(body, "d-4")
    answer = await door.send("POST", "/v1/webhooks/pagerduty", body, token=None, headers=headers)
    assert answer.status_code == 202
    assert door.facts("incidents") == []


async def test_a_source_that_can_show_a_token_takes_the_one_of_all_sources() -> None:
    door = DoorUnderTest()
    body = a_webhook(an_alert("Down", system="shop"))
    answer = await door.send("POST", "/v1/webhooks/grafana", body)
    assert answer.status_code == 202, answer.text
    answer = await door.send("POST", "/v1/webhooks/grafana", body, token="another")
    assert answer.status_code == 401


async def test_a_source_without_a_key_takes_nothing() -> None:
    door = DoorUnderTest()
    answer = await door.send("POST", "/v1/webhooks/github", b"{}", token=None)
    assert answer.status_code == 401
    assert answer.json()["error"]["reason"] == "not_configured"
    assert door.written() == 0


def an_event(action: str, **more: object) -> bytes:
    return json.dumps(
        {"routing_key": "k", "event_action": action, "dedup_key": "disk", **more}
    ).encode()


TRIGGER = an_event("trigger", payload={"summary": "full", "source": "db-1", "severity": "critical"})


async def test_what_is_closed_by_key_ends_under_the_labels_it_fired_with() -> None:
    door = DoorUnderTest(keys=keys(pagerduty_events="k"))
    for body in (TRIGGER, an_event("resolve")):
        assert (await door.send("POST", "/v2/enqueue", body)).status_code == 202
    (system, fired), (same, ended) = door.observed()
    assert (system, same) == ("shop", "shop")
    assert ended.labels == fired.labels
    assert ended.fingerprint == fired.fingerprint
    assert ended.status is ObservationStatus.RESOLVED


async def test_a_door_that_has_forgotten_looks_in_the_log() -> None:
    first = DoorUnderTest(keys=keys(pagerduty_events="k"))
    await first.send("POST", "/v2/enqueue", TRIGGER)
    second = DoorUnderTest(keys=keys(pagerduty_events="k"), clock=first.clock, log=first.log)
    await second.send("POST", "/v2/enqueue", an_event("resolve"))
    (_, fired), (_, ended) = second.observed()
    assert ended.labels == fired.labels


async def test_the_end_of_what_never_fired_is_a_dead_letter_and_pages_nobody() -> None:
    door = DoorUnderTest(keys={"pagerduty-events": [Key(SecretStr("k"))]})
    answer = await door.send("POST", "/v2/enqueue", an_event("resolve"))
    assert answer.status_code == 202
    assert door.observed() == []
    [(_, why)] = door.dead_letters
    assert why.reason == "unknown_alert"


async def test_repeats_without_a_start_are_one_episode_for_a_while_and_not_for_ever() -> None:
    door = DoorUnderTest(keys=keys(pagerduty_events="k"))
    for minutes in (0, 5, 4, 5):
        door.clock.advance(timedelta(minutes=minutes))
        await door.send("POST", "/v2/enqueue", TRIGGER)
    starts = [seen.starts_at for _, seen in door.observed()]
    assert starts == [EPOCH, EPOCH, EPOCH, EPOCH + timedelta(minutes=14)]


async def test_the_same_key_of_two_integrations_is_two_alerts() -> None:
    both = [Key(SecretStr("k")), Key(SecretStr("l"))]
    door = DoorUnderTest(keys={"pagerduty-events": both})
    for key in ("k", "l"):
        await door.send("POST", "/v2/enqueue", TRIGGER.replace(b'"k"', f'"{key}"'.encode()))
    assert len({seen.fingerprint for _, seen in door.observed()}) == 2


@pytest.mark.parametrize(
    "body",
    [
        an_event("explode"),
        an_event("trigger"),
        json.dumps({"routing_key": "k", "event_action": "resolve"}).encode(),
        an_event("trigger", payload={"summary": "x", "source": "y", "severity": "bad"}),
    ],
)
async def test_pagerdutys_callers_are_refused_in_its_own_shape(body: bytes) -> None:
    door = DoorUnderTest(keys=keys(pagerduty_events="k"))
    answer = await door.send("POST", "/v2/enqueue", body)
    assert answer.status_code == 400
    assert answer.json()["status"] == "invalid event"
    assert answer.json()["errors"]
    assert door.written() == 0


TOPIC = "arn:aws:sns:eu-south-1:123456789012:alarms"
ADDRESS = "https://sns.eu-south-1.amazonaws.com/x.pem"


@cache
def amazons_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


class AmazonOfTheTest:
    """Holds one certificate, and notes who confirmed what."""

    def __init__(self, *, away: bool = False) -> None:
        self.key = amazons_key()
        self.confirmed: list[str] = []
        self.fails = 0
        self._away = away
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sns.amazonaws.com")])
        made = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(self.key.public_key())
            .serial_number(1)
            .not_valid_before(datetime(2026, 1, 1, tzinfo=UTC))
            .not_valid_after(datetime(2036, 1, 1, tzinfo=UTC))
            .sign(self.key, hashes.SHA256())
        )
        self.pem = made.public_bytes(serialization.Encoding.PEM)

    async def certificate(self, url: str) -> bytes:
        assert url == ADDRESS
        if self._away:
            raise BadCertificate("away")
        return self.pem

    async def confirm(self, url: str) -> None:
        self.confirmed.append(url)
        if len(self.confirmed) <= self.fails:
            raise BadCertificate("away")

    def message(self, kind: str, text: str, **more: str) -> dict[str, str]:
        envelope = {
            "Type": kind,
            "MessageId": "165545c9",
            "TopicArn": TOPIC,
            "Message": text,
            "Timestamp": "2026-03-02T09:00:00.000Z",
            "SignatureVersion": "2",
            "SigningCertURL": ADDRESS,
            **more,
        }
        signature = self.key.sign(sns_signed_text(envelope), padding.PKCS1v15(), hashes.SHA256())
        return envelope | {"Signature": b64encode(signature).decode()}


ALARM = json.dumps({"AlarmName": "errors", "NewStateValue": "ALARM", "AlarmArn": "arn:x"})


async def an_answer_to(door: DoorUnderTest, envelope: dict[str, str]) -> int:
    answer = await door.send(
        "POST",
        "/v1/webhooks/cloudwatch",
        json.dumps(envelope),
        token=None,
        headers={"Content-Type": "text/plain; charset=UTF-8"},
    )
    return answer.status_code


async def test_an_alarm_signed_by_amazon_of_a_known_topic_is_taken() -> None:
    amazon = AmazonOfTheTest()
    door = DoorUnderTest(keys=keys(cloudwatch=TOPIC), amazon=amazon)
    assert await an_answer_to(door, amazon.message("Notification", ALARM)) == 202
    [(system, seen)] = door.observed()
    assert (system, seen.labels["alertname"]) == ("shop", "errors")


async def test_a_subscription_is_confirmed_once_its_message_is_believed() -> None:
    amazon = AmazonOfTheTest()
    door = DoorUnderTest(keys=keys(cloudwatch=TOPIC), amazon=amazon)
    visit = "https://sns.eu-south-1.amazonaws.com/?Action=ConfirmSubscription&Token=t"
    confirmation = amazon.message(
        "SubscriptionConfirmation", "You have chosen to subscribe", SubscribeURL=visit, Token="t"
    )
    assert await an_answer_to(door, confirmation) == 202
    assert amazon.confirmed == [visit]


async def test_a_visit_that_failed_is_made_again_with_the_next_attempt() -> None:
    amazon = AmazonOfTheTest()
    amazon.fails = 1
    door = DoorUnderTest(keys=keys(cloudwatch=TOPIC), amazon=amazon)
    visit = "https://sns.eu-south-1.amazonaws.com/?Action=ConfirmSubscription"
    message = amazon.message("SubscriptionConfirmation", "x", SubscribeURL=visit, Token="t")
    assert [await an_answer_to(door, message) for _ in range(3)] == [503, 202, 202]
    assert amazon.confirmed == [visit, visit]


@pytest.mark.parametrize(
    "change",
    [
        {"Message": ALARM.replace("ALARM", "OK")},
        {"TopicArn": "arn:aws:sns:eu-south-1:666666666666:theirs"},
        {"SigningCertURL": "https://evil.example/x.pem"},
        {"Signature": "bm90IHNpZ25lZA=="},
        {"Signature": "?"},
        {"SignatureVersion": "3"},
    ],
)
async def test_what_amazon_did_not_sign_is_refused(change: dict[str, str]) -> None:
    amazon = AmazonOfTheTest()
    door = DoorUnderTest(keys=keys(cloudwatch=TOPIC), amazon=amazon)
    envelope = amazon.message("Notification", ALARM) | change
    assert await an_answer_to(door, envelope) == 401
    assert door.written() == 0
    assert amazon.confirmed == []


async def test_while_the_certificate_is_not_to_be_had_amazon_is_asked_to_come_again() -> None:
    amazon = AmazonOfTheTest(away=True)
    door = DoorUnderTest(keys=keys(cloudwatch=TOPIC), amazon=amazon)
    assert await an_answer_to(door, amazon.message("Notification", ALARM)) == 503
    assert door.written() == 0

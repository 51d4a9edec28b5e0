"""Who may send: the vendors' own vectors, and what is refused."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest
from pydantic import SecretStr

from ingestion.domain.authentication import (
    TOLERANCE,
    AnyOf,
    Key,
    Scheme,
    Signature,
    Token,
    Unauthenticated,
    is_sns_address,
    sns_signed_text,
)
from ingestion.domain.delivery import Received
from ingestion.domain.sources import (
    Sources,
    github,
    grafana,
    opsgenie,
    pagerduty_webhooks,
    sentry,
    slack,
    twilio,
    zendesk,
)

VECTORS: dict[str, Any] = json.loads((Path(__file__).parent / "signature_vectors.json").read_text())
NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)


def key(secret: str) -> Key:
    return Key(SecretStr(secret), {"system": "shop"})


def a_vector(name: str) -> tuple[Scheme, Received, str, datetime]:
    """A scheme, what a vendor signed, with which secret, and when."""
    vector = VECTORS.get(name, {})
    body = vector.get("body", "").encode()

    def received(*headers: tuple[str, str], url: str = "", form: bytes = body) -> Received:
        path = url.partition(urlsplit(url).netloc)[2] if url else ""
        return Received(form, NOW, {k.lower(): v for k, v in headers}, path, url)

    match name:
        case "pagerduty_v3":
            signed = received((vector["header"], vector["value"]))
            return pagerduty_webhooks.SOURCE.scheme, signed, vector["secrets"][1], NOW
        case "slack_v0":
            headers = vector["headers"]
            at = datetime.fromtimestamp(int(headers["X-Slack-Request-Timestamp"]), UTC)
            signed = received(*headers.items())
            return slack.SOURCE.scheme, signed, vector["signing_secret"], at
        case "twilio_form":
            form = urlencode(vector["params"]).encode()
            signed = received((vector["header"], vector["value"]), url=vector["url"], form=form)
            return twilio.SOURCE.scheme, signed, vector["auth_token"], NOW
        case "github":
            signed = received((vector["header"], vector["value"]))
            return github.SOURCE.scheme, signed, vector["secret"], NOW
        case "sentry":
            signed = received((vector["header"], vector["value"]))
            return sentry.SOURCE.scheme, signed, vector["client_secret"], NOW
        case "zendesk":
            at = datetime.fromisoformat(vector["headers"][zendesk_header()])
            return (
                zendesk.SOURCE.scheme,
                received(*vector["headers"].items()),
                vector["secret"],
                at,
            )
        case _:
            vector = VECTORS["grafana"]
            body = vector["body"].encode()
            with_time = name.endswith("timestamp")
            value = vector[f"value_with{'' if with_time else 'out'}_timestamp_header"]
            given = [(vector["default_header"], value)]
            if with_time:
                given.append((grafana.TIMESTAMP, vector["timestamp"]))
            at = datetime.fromtimestamp(int(vector["timestamp"]), UTC)
            signed = received(*given, form=body)
            return grafana.SOURCE.scheme, signed, vector["secret"], at


def zendesk_header() -> str:
    return "X-Zendesk-Webhook-Signature-Timestamp"


SIGNED = [
    "pagerduty_v3",
    "slack_v0",
    "twilio_form",
    "github",
    "sentry",
    "zendesk",
    "grafana",
    "grafana with a timestamp",
]
DATED = ["slack_v0", "zendesk", "grafana with a timestamp"]


@pytest.mark.parametrize("name", SIGNED)
def test_what_a_vendor_signed_is_believed_and_brings_its_keys_labels(name: str) -> None:
    scheme, received, secret, at = a_vector(name)
    verified = scheme.verify(received, [key("another"), key(secret)], at)
    assert verified.labels == {"system": "shop"}


@pytest.mark.parametrize("name", SIGNED)
def test_one_changed_byte_is_refused(name: str) -> None:
    scheme, received, secret, at = a_vector(name)
    forged = Received(received.body[:-1] + b"~", NOW, received.headers, received.path, received.url)
    with pytest.raises(Unauthenticated):
        scheme.verify(forged, [key(secret)], at)


@pytest.mark.parametrize("name", SIGNED)
def test_another_secret_is_refused(name: str) -> None:
    scheme, received, secret, at = a_vector(name)
    with pytest.raises(Unauthenticated):
        scheme.verify(received, [key(secret + "x")], at)


@pytest.mark.parametrize("name", SIGNED)
def test_without_a_signature_nobody_is_believed(name: str) -> None:
    scheme, received, secret, at = a_vector(name)
    with pytest.raises(Unauthenticated):
        scheme.verify(Received(received.body, NOW), [key(secret)], at)


@pytest.mark.parametrize("name", DATED)
@pytest.mark.parametrize("off", [TOLERANCE + timedelta(seconds=1), -TOLERANCE * 2])
def test_a_signature_of_another_time_is_refused(name: str, off: timedelta) -> None:
    scheme, received, secret, at = a_vector(name)
    with pytest.raises(Unauthenticated) as refused:
        scheme.verify(received, [key(secret)], at + off)
    assert refused.value.reason == "stale_signature"


@pytest.mark.parametrize("name", DATED)
def test_a_dated_signature_is_known_when_it_comes_again(name: str) -> None:
    scheme, received, secret, at = a_vector(name)
    assert scheme.verify(received, [key(secret)], at).once


@pytest.mark.parametrize(
    ("header", "believed"),
    [
        ("Bearer s3cret", True),
        ("bearer s3cret", True),
        ("Basic YW55b25lOnMzY3JldA==", True),  # anyone:s3cret
        ("Basic czNjcmV0Og==", True),  # s3cret: alone
        ("Basic s3cret", False),
        ("Basic ====", False),
        ("GenieKey s3cret", False),
        ("Bearer s3cre", False),
        ("Bearer ", False),
        ("s3cret", False),
        ("", False),
    ],
)
def test_a_token_counts_as_bearer_or_as_password(*, header: str, believed: bool) -> None:
    received = Received(b"", NOW, {"authorization": header})
    if believed:
        assert Token().verify(received, [key("s3cret")], NOW).labels == {"system": "shop"}
    else:
        with pytest.raises(Unauthenticated):
            Token().verify(received, [key("s3cret")], NOW)


def test_opsgenies_key_has_its_own_scheme() -> None:
    received = Received(b"", NOW, {"authorization": "GenieKey s3cret"})
    assert opsgenie.SOURCE.scheme.verify(received, [key("s3cret")], NOW)


def test_a_parameter_counts_only_where_a_source_says_so() -> None:
    received = Received(b"", NOW, {}, "/v1/webhooks/pingdom?a=b&token=s3cret")
    assert Token(parameter="token").verify(received, [key("s3cret")], NOW)
    with pytest.raises(Unauthenticated):
        Token().verify(received, [key("s3cret")], NOW)


def test_of_several_ways_the_first_refusal_is_told() -> None:
    scheme = AnyOf((Token(), Signature("x-signature", signed=lambda received: received.body)))
    with pytest.raises(Unauthenticated, match="bearer token"):
        scheme.verify(Received(b"", NOW), [key("s3cret")], NOW)


def test_sns_signs_the_fields_amazon_says() -> None:
    vector = VECTORS["aws_sns_string_to_sign"]
    assert sns_signed_text(vector["message"]).decode() == vector["string"]


@pytest.mark.parametrize(
    "url",
    [
        "http://sns.eu-west-1.amazonaws.com/x.pem",
        "https://sns.eu-west-1.amazonaws.com.evil.example/x.pem",
        "https://evil.example/sns.eu-west-1.amazonaws.com",
        "https://sns.eu-west-1.amazonaws.com@evil.example/",
        "https://sns.eu-west-1.amazonaws.com:444/x.pem",
        "https://s3.amazonaws.com/x.pem",
        "https://sns.eu-west-1.amazonaws.com:x/",
        "https://[/",
        "",
    ],
)
def test_nothing_but_amazons_sns_is_ever_asked(url: str) -> None:
    assert not is_sns_address(url)


def test_a_secret_shows_in_no_representation() -> None:
    assert "s3cret" not in repr(key("s3cret"))


def test_a_key_for_no_source_is_a_mistake_that_is_told() -> None:
    with pytest.raises(ValueError, match="githbu"):
        Sources().check(["githbu"])

"""What is never told."""

from __future__ import annotations

import pytest

from tocsin_policy.redacting import MASK, Redactor

SECRETS = [
    "xoxb-123456789012-abcdefghijkl",
    "ghp_0123456789abcdefghij0123",
    "AKIAIOSFODNN7EXAMPLE",
    "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
    "https://hooks.slack.com/services/T00/B00/XXXXXXXX",
    "Authorization: Bearer abcdef0123456789",
    "API_KEY='abcd1234'",
    '"db_password": "hunter22"',
    "postgres://app:hunter22@db.internal/prod",
    "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\n-----END RSA PRIVATE KEY-----",
]


@pytest.mark.parametrize("secret", SECRETS)
def test_what_looks_like_a_secret_is_masked(secret: str) -> None:
    redacted = Redactor()(f"disk full on db-1, {secret}")
    assert redacted.startswith("disk full on db-1, ")
    assert MASK in redacted
    for word in ("hunter22", "abcdef0123456789", "abcd1234", "MIIEow", "XXXXXXXX", secret):
        assert word not in redacted


def test_ordinary_words_are_left() -> None:
    told = (
        "tokens per second: 1500 on https://grafana.example.com/d/abc?x=1, basic auth off; "
        "the secret ingredient is @alice"
    )
    assert Redactor()(told) == told


def test_an_operators_own_pattern_masks_too() -> None:
    assert Redactor([r"ACME-\d+"])("see ACME-4711") == f"see {MASK}"


def test_a_known_secret_is_masked_though_it_looks_like_nothing() -> None:
    assert Redactor(secrets=["tulip field"])("by tulip field!") == f"by {MASK}!"
    assert Redactor(secrets=["a"])("an apple") == "an apple"

"""Who sent it: tokens, keys and signatures, compared in constant time.

A scheme is a value a source names; secrets come from settings. Several keys of one source are
allowed, so that one can be replaced while the other still counts, and each may bring labels.
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
import re
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol
from urllib.parse import parse_qsl, urlsplit

from pydantic import SecretStr

from ingestion.domain.delivery import Malformed, Received
from ingestion.domain.reading import read_json

TOLERANCE = timedelta(minutes=5)
"""How old, or how far ahead, a signed timestamp may be."""

_SIGNED_IN_NOTIFICATIONS = ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type")
_SIGNED_IN_CONFIRMATIONS = (
    "Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type",
)  # fmt: skip
_CERTIFICATE_HOST = re.compile(r"sns\.[a-z0-9-]{3,}\.amazonaws\.com(\.cn)?")


class Unauthenticated(Exception):
    """Nobody we know sent this.

    Attributes:
        reason: One `snake_case` word for counting.
        detail: What is wrong, without saying anything of the secret.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Key:
    """A secret that a sender has, and labels that its alerts get."""

    secret: SecretStr
    labels: Mapping[str, str] = field(default_factory=dict)

    def is_one_of(self, given: Sequence[str]) -> bool:
        """Whether any of these is the secret; each is compared whole."""
        expected = self.secret.get_secret_value().encode()
        return any(hmac.compare_digest(each.encode(errors="replace"), expected) for each in given)


@dataclass(frozen=True, slots=True)
class Verified:
    """A sender we know.

    Attributes:
        labels: What its key adds to alerts.
        once: What is the same in every attempt at this delivery, if anything is.
        retried: Whether this sender makes several attempts; if not, a second one is a replay.
    """

    labels: Mapping[str, str] = field(default_factory=dict)
    once: str | None = None
    retried: bool = True


class Scheme(Protocol):
    """How a source proves who it is."""

    @property
    def challenge(self) -> str:
        """What `WWW-Authenticate` says."""
        ...

    def verify(self, received: Received, keys: Sequence[Key], now: datetime) -> Verified:
        """The sender.

        Raises:
            Unauthenticated: It is none of those who have a key.
        """
        ...


@dataclass(frozen=True, slots=True)
class Token:
    """The secret itself: `Authorization: Bearer …`, or the password of basic authentication.

    Attributes:
        schemes: Which are taken, in lower case.
        parameter: A query parameter that may hold it, for senders that can only be given a URL.
    """

    schemes: tuple[str, ...] = ("bearer", "basic")
    parameter: str | None = None

    @property
    def challenge(self) -> str:
        """The first of the schemes."""
        return {"geniekey": "GenieKey"}.get(self.schemes[0], self.schemes[0].title())

    def verify(self, received: Received, keys: Sequence[Key], now: datetime) -> Verified:
        """See `Scheme`."""
        del now  # a token has no date
        given = tuple(self._given(received))
        for key in keys:
            if key.is_one_of(given):
                return Verified(key.labels)
        raise Unauthenticated("unauthenticated", f"the {self.schemes[0]} token is missing or wrong")

    def _given(self, received: Received) -> Iterator[str]:
        scheme, _, value = received.header("authorization").partition(" ")
        if scheme.lower() in self.schemes:
            yield _password(value) if scheme.lower() == "basic" else value.strip()
        if self.parameter is not None:
            for name, each in parse_qsl(urlsplit(received.path).query, errors="replace"):
                if name == self.parameter:
                    yield each


def _password(value: str) -> str:
    try:
        user, _, password = b64decode(value.strip(), validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        return ""
    return password or user


@dataclass(frozen=True, slots=True)
class KeyInBody:
    """The secret is a field of the JSON body, as PagerDuty's routing key is."""

    name: str

    @property
    def challenge(self) -> str:
        """The field's name."""
        return self.name

    def verify(self, received: Received, keys: Sequence[Key], now: datetime) -> Verified:
        """See `Scheme`. A body that is no JSON has no key."""
        del now  # a key has no date
        try:
            body = read_json(received.body)
        except Malformed as error:
            raise Unauthenticated("unauthenticated", f"no {self.name}: {error.detail}") from error
        given = body.get(self.name) if isinstance(body, dict) else None
        for key in keys:
            if isinstance(given, str) and key.is_one_of((given,)):
                return Verified(key.labels)
        raise Unauthenticated("unauthenticated", f"{self.name} is missing or not known")


@dataclass(frozen=True, slots=True)
class Signature:
    """A keyed hash over the raw bytes.

    Attributes:
        header: Holds one signature, or several with commas while a secret is replaced.
        signed: The text that is signed; `None` if the request lacks a part of it.
        prefix: What stands before each signature.
        base64: How the hash is written; else in hexadecimal digits.
        dated: When it was signed, for schemes that say so: an old one is refused.
        must_be_dated: Whether one without a date is refused too.
        once: Header that names the delivery and is the same in every attempt.
        once_signed: The same from what is signed, where that names it: a header is anybody's.
        retried: Whether the sender repeats an attempt with the same signature.
    """

    header: str
    signed: Callable[[Received], bytes | None]
    prefix: str = ""
    digest: str = "sha256"
    base64: bool = False
    dated: Callable[[Received], datetime | None] | None = None
    must_be_dated: bool = True
    once: str | None = None
    once_signed: Callable[[Received], str] | None = None
    retried: bool = True

    @property
    def challenge(self) -> str:
        """The header's name."""
        return self.header

    def verify(self, received: Received, keys: Sequence[Key], now: datetime) -> Verified:
        """See `Scheme`."""
        message = self.signed(received)
        given = [
            each.strip().removeprefix(self.prefix)
            for each in received.header(self.header).split(",")
            if each.strip().startswith(self.prefix)
        ]
        if message is None or not any(given):
            raise Unauthenticated("unsigned", f"{self.header} or what it signs is missing")
        key = next((key for key in keys if self._signed_by(key, message, given)), None)
        if key is None:
            raise Unauthenticated("bad_signature", f"{self.header} fits no secret")
        at = None if self.dated is None else self.dated(received)
        undated = self.dated is not None and at is None and self.must_be_dated
        if undated or (at is not None and abs(now - at) > TOLERANCE):
            raise Unauthenticated("stale_signature", "it was signed too long ago, or too soon")
        once = received.header(self.once) if self.once else ""
        if self.once_signed is not None:
            once = self.once_signed(received) or once
        if not once and at is not None:
            once = ",".join(given)
        return Verified(key.labels, once=once[:500] or None, retried=self.retried)

    def _signed_by(self, key: Key, message: bytes, given: Sequence[str]) -> bool:
        secret = key.secret.get_secret_value().encode()
        made = hmac.new(secret, message, getattr(hashlib, self.digest)).digest()
        expected = b64encode(made) if self.base64 else made.hex().encode()
        return any(hmac.compare_digest(each.encode(errors="replace"), expected) for each in given)


@dataclass(frozen=True, slots=True)
class AnyOf:
    """Several ways, of which a sender takes one."""

    schemes: tuple[Scheme, ...]

    @property
    def challenge(self) -> str:
        """The first one's."""
        return self.schemes[0].challenge

    def verify(self, received: Received, keys: Sequence[Key], now: datetime) -> Verified:
        """See `Scheme`; told is the refusal of the way that was taken, else the first."""
        told: Unauthenticated | None = None
        for scheme in self.schemes:
            try:
                return scheme.verify(received, keys, now)
            except Unauthenticated as error:
                if told is None or error.reason not in {"unauthenticated", "unsigned"}:
                    told = error
        raise told or Unauthenticated("unauthenticated", "nothing proves who sent it")


class BadCertificate(Exception):
    """The certificate could not be had or does not fit."""


@dataclass(frozen=True, slots=True)
class NamedTopic:
    """Amazon SNS: signed with a certificate that the message names; the topic must be known.

    Anyone with an account can have a message signed by Amazon, so the signature says only that
    the topic is the one it names. The keys of such a source are topics (`TopicArn`).
    """

    @property
    def challenge(self) -> str:
        """The field that must be known."""
        return "TopicArn"

    def verify(self, received: Received, keys: Sequence[Key], now: datetime) -> Verified:
        """The topic is known; the signature is still to be checked. See `Scheme`."""
        del now  # Amazon repeats a message for up to an hour, as it signed it first
        envelope = sns_envelope(received.body)
        for key in keys:
            if key.is_one_of((envelope.get("TopicArn", ""),)):
                return Verified(key.labels, once=envelope.get("MessageId"))
        raise Unauthenticated("unauthenticated", "TopicArn is missing or not known")


def sns_envelope(body: bytes) -> dict[str, str]:
    """The text fields of an SNS message. Raises `Unauthenticated` where there is none."""
    try:
        value = read_json(body)
    except Malformed as error:
        raise Unauthenticated("unsigned", f"no SNS message: {error.detail}") from error
    if not isinstance(value, dict):
        raise Unauthenticated("unsigned", "no SNS message: not an object")
    return {name: each for name, each in value.items() if isinstance(each, str)}


def sns_signed_text(envelope: Mapping[str, str]) -> bytes:
    """What SNS signs: chosen fields, name and value, each with a line feed, in order of names."""
    notification = envelope.get("Type") == "Notification"
    names = _SIGNED_IN_NOTIFICATIONS if notification else _SIGNED_IN_CONFIRMATIONS
    parts = [f"{name}\n{envelope[name]}\n" for name in names if name in envelope]
    return "".join(parts).encode()


def is_sns_address(url: str) -> bool:
    """Whether Amazon's SNS answers there: nothing else is ever fetched.

    >>> is_sns_address("https://sns.eu-west-1.amazonaws.com/x.pem")
    True
    >>> is_sns_address("https://sns.eu-west-1.amazonaws.com.evil.example/x.pem")
    False
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return False
    host = parts.hostname or ""
    plain = parts.username is None and parts.password is None and port in {None, 443}
    return parts.scheme == "https" and plain and _CERTIFICATE_HOST.fullmatch(host) is not None

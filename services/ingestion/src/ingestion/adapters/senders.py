"""Who may send to the door, and how much; what was sent already."""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections.abc import Mapping, Sequence

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from pydantic import SecretStr

from ingestion.domain.authentication import (
    AnyOf,
    BadCertificate,
    Key,
    KeyInBody,
    NamedTopic,
    Scheme,
    Token,
    Unauthenticated,
    Verified,
    is_sns_address,
    sns_envelope,
    sns_signed_text,
)
from ingestion.domain.delivery import Received
from ingestion.domain.limiting import Bucket, Remembered
from ingestion.domain.sources import Sources
from ingestion.domain.sources.source import Source
from ingestion.ports import Amazon
from tocsin_runtime.ports import Clock

_DIGESTS = {"1": hashes.SHA1, "2": hashes.SHA256}


class Senders:
    """Keys, rates and memory, by source.

    Args:
        token: What a source without keys of its own is authenticated by, where it can be.
        people_token: What people's tools have.
        anonymous: A source without any key takes anything from anyone.
        per_second: Deliveries of one source a second.
    """

    def __init__(
        self,
        sources: Sources,
        clock: Clock,
        *,
        keys: Mapping[str, Sequence[Key]],
        token: SecretStr | None,
        people_token: SecretStr | None,
        anonymous: bool,
        per_second: float,
        amazon: Amazon | None = None,
    ) -> None:
        self._clock = clock
        self._amazon = amazon
        self._anonymous = anonymous
        self._keys = {source.name: _keys(source, keys, (token, people_token)) for source in sources}
        self._buckets = {source.name: Bucket(per_second) for source in sources}
        self._remembered = Remembered()

    def knows_by_headers(self, source: Source) -> bool:
        """Whether the sender can be told before the body is read."""
        return isinstance(source.scheme, Token)

    async def verify(self, source: Source, received: Received) -> Verified:
        """The sender.

        Raises:
            Unauthenticated: It is none of those we know.
            BadCertificate: Amazon's certificate is not to be had just now.
        """
        keys = self._keys[source.name]
        if not keys and self._anonymous:
            return Verified()
        if not keys:
            raise Unauthenticated(
                "not_configured", f"no key is set for {source.name}: TOCSIN_SOURCE_KEYS has none"
            )
        verified = source.scheme.verify(received, keys, self._clock.now())
        if isinstance(source.scheme, NamedTopic):
            await self._signed_by_amazon(received)
        return verified

    def within_rate(self, source: Source) -> bool:
        """Whether one more delivery of this source is within its rate."""
        return self._buckets[source.name].take(self._clock.monotonic())

    def repeated(self, source: Source, verified: Verified) -> bool:
        """Whether this delivery was taken in before.

        Raises:
            Unauthenticated: It was, and this sender never sends anything twice.
        """
        if verified.once is None or (source.name + verified.once) not in self._remembered:
            return False
        if not verified.retried:
            raise Unauthenticated("replayed", "this signature was used before")
        return True

    def remember(self, source: Source, verified: Verified) -> None:
        """It is taken in: its repeat makes no second effect."""
        if verified.once is not None:
            self._remembered.add(source.name + verified.once)

    async def _signed_by_amazon(self, received: Received) -> None:
        envelope = sns_envelope(received.body)
        address = envelope.get("SigningCertURL", "")
        if not is_sns_address(address):
            raise Unauthenticated("bad_signature", "SigningCertURL is no address of Amazon SNS")
        if self._amazon is None:
            raise BadCertificate("nothing here can ask Amazon")
        pem = await self._amazon.certificate(address)
        check_sns_signature(pem, envelope)


def check_sns_signature(pem: bytes, envelope: Mapping[str, str]) -> None:
    """Return if the message was signed with the certificate's key.

    Raises:
        Unauthenticated: It was not, or not in a way we know.
        BadCertificate: That is no certificate of an RSA key.
    """
    digest = _DIGESTS.get(envelope.get("SignatureVersion", ""))
    if digest is None:
        raise Unauthenticated("bad_signature", "SignatureVersion: 1 or 2")
    try:
        signature = b64decode(envelope.get("Signature", ""), validate=True)
        key = x509.load_pem_x509_certificate(pem).public_key()
    except binascii.Error as error:
        raise Unauthenticated("bad_signature", "Signature is no base64") from error
    except ValueError as error:
        raise BadCertificate(f"no certificate: {error}") from error
    if not isinstance(key, rsa.RSAPublicKey):
        raise BadCertificate("the certificate holds no RSA key")
    try:
        key.verify(signature, sns_signed_text(envelope), padding.PKCS1v15(), digest())
    except InvalidSignature as error:
        raise Unauthenticated("bad_signature", "Signature does not fit the message") from error


def _takes_tokens(scheme: Scheme) -> bool:
    if isinstance(scheme, AnyOf):
        return any(map(_takes_tokens, scheme.schemes))
    return isinstance(scheme, Token | KeyInBody)


def _keys(
    source: Source,
    keys: Mapping[str, Sequence[Key]],
    tokens: tuple[SecretStr | None, SecretStr | None],
) -> tuple[Key, ...]:
    own = tuple(keys.get(source.name, ()))
    if own or not _takes_tokens(source.scheme):
        return own
    wanted = tokens if source.for_people else tokens[:1]
    return tuple(Key(token) for token in wanted if token is not None)

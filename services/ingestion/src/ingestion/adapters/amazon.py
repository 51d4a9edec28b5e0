"""Asking Amazon SNS: its certificates, and the visit that confirms a subscription."""

from __future__ import annotations

from collections import OrderedDict

import httpx

from ingestion.domain.authentication import BadCertificate, is_sns_address

MOST_CERTIFICATES = 8
_LARGEST = 64 * 1024
_TIMEOUT_SECONDS = 5.0


class HttpAmazon:
    """An `Amazon` over HTTPS: no redirects, small answers, few certificates kept."""

    def __init__(self, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self._client = httpx.AsyncClient(
            transport=transport, timeout=_TIMEOUT_SECONDS, follow_redirects=False, trust_env=False
        )
        self._certificates: OrderedDict[str, bytes] = OrderedDict()

    async def stop(self) -> None:
        """Disconnect."""
        await self._client.aclose()

    async def certificate(self, url: str) -> bytes:
        """See `Amazon`."""
        held = self._certificates.get(url)
        if held is None:
            held = await self._get(url)
            self._certificates[url] = held
            while len(self._certificates) > MOST_CERTIFICATES:
                self._certificates.popitem(last=False)
        return held

    async def confirm(self, url: str) -> None:
        """See `Amazon`."""
        await self._get(url)

    async def _get(self, url: str) -> bytes:
        if not is_sns_address(url):
            raise BadCertificate("no address of Amazon SNS")
        try:
            async with self._client.stream("GET", url) as answer:
                if answer.status_code != httpx.codes.OK:
                    raise BadCertificate(f"Amazon answers {answer.status_code}")
                body = bytearray()
                async for chunk in answer.aiter_bytes():
                    body += chunk
                    if len(body) > _LARGEST:
                        raise BadCertificate("Amazon's answer is too large")
        except httpx.HTTPError as error:
            raise BadCertificate(f"Amazon does not answer: {type(error).__name__}") from error
        return bytes(body)

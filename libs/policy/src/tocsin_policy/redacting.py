"""What is never told: things that look like secrets, and the secrets that are known."""

from __future__ import annotations

from collections.abc import Iterable

import re2

MASK = "[redacted]"
LEAST_SECRET = 6
"""Characters a known secret has at least; a shorter one would blank out words."""

PATTERNS: tuple[str, ...] = (
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|\z)",
    r"(?i)\b(?:bearer|basic|oauth|token token=|genkey)\s+[a-z0-9._~+/=-]{8,}",
    r"(?i)\b[\w-]*(?:password|passwd|secret|api[_-]?key|token)[\"']?\s*[=:]\s*[\"']?[^\s,;\"'&]{4,}",
    r"\bxox[a-z]-[A-Za-z0-9-]{8,}",
    r"\b(?:gh[pousr]_|github_pat_)[A-Za-z0-9_]{16,}",
    r"\bAKIA[0-9A-Z]{16}\b",
    r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*",
    r"\bwhsec_[A-Za-z0-9+/=]{16,}",
    r"hooks\.slack\.com/services/[A-Za-z0-9/]+",
    r"[?&]sig=[A-Za-z0-9%_-]{16,}",
    r"://[^/\s:@]+:[^/\s@]+@",
)
"""What looks like a secret, as RE2 reads it: in time that grows with the text only."""


class Redactor:
    """Text without what must not be told.

    >>> Redactor()("login with password=hunter2 at http://bob:pw@db/")
    'login with [redacted] at http[redacted]db/'
    >>> Redactor(secrets=["correct horse"])("no: correct horse is wrong")
    'no: [redacted] is wrong'

    Args:
        patterns: More of them, in RE2's language.
        secrets: Known secrets, redacted wherever they stand.
    """

    def __init__(self, patterns: Iterable[str] = (), secrets: Iterable[str] = ()) -> None:
        known = sorted({one for one in secrets if len(one) >= LEAST_SECRET}, key=len, reverse=True)
        escaped = (re2.escape(one) for one in known)  # type: ignore[no-untyped-call]
        every = (*escaped, *PATTERNS, *patterns)
        whole = "|".join(f"(?:{one})" for one in every)
        self._pattern = re2.compile(whole)  # type: ignore[no-untyped-call]

    def __call__(self, text: str) -> str:
        """The text with every secret masked."""
        redacted: str = self._pattern.sub(MASK, text)
        return redacted

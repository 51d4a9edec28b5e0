"""Text made harmless for whoever shows it, and short enough.

What a message says comes from labels and annotations of alerts, and so from outside. It may not
mention people, make links that look like something else, or leave the place it stands in.
"""

from __future__ import annotations

import re
from collections.abc import Callable

_REPEAT = "(may be a repeat) "
_ZERO_WIDTH = "\u200b"
_MENTION = re.compile(r"@(?=[A-Za-z0-9_])")
_REFERENCE = re.compile(r"(?<=#)(?=\d)|(?<=GH-)(?=\d)")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def plain(text: str) -> str:
    r"""Text without control characters, line ends aside, or marks that turn its direction.

    >>> plain("a\x1b[31mb\u202ec\nd")
    'a[31mbc\nd'
    """
    return _CONTROL.sub("", text)


def one_line(text: str) -> str:
    r"""Text in one line, as a subject or a title needs.

    >>> one_line("a\r\nBcc: everyone@example.com")
    'a Bcc: everyone@example.com'
    """
    return plain(" ".join(text.split()))


def mrkdwn(text: str) -> str:
    """Text that Slack shows as it is: it mentions nobody and links nowhere.

    >>> mrkdwn("<!channel> & co")
    '&lt;!channel&gt; &amp; co'
    """
    return plain(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def markdown(text: str) -> str:
    r"""Text whose headings and lists GitHub shows, and that mentions, links and embeds nothing.

    >>> markdown("@everyone ![x](http://e.example) <img> fixes #12").replace("\u200b", "~")
    '@~everyone !\\[x\\](http:~//e.example) &lt;img&gt; fixes #~12'
    """
    safe = plain(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    safe = safe.replace("[", "\\[").replace("]", "\\]").replace("://", f":{_ZERO_WIDTH}//")
    safe = _MENTION.sub(f"@{_ZERO_WIDTH}", safe)
    return _REFERENCE.sub(_ZERO_WIDTH, safe)


def card(text: str) -> str:
    r"""Text for an Adaptive Card, which reads a little Markdown: no link, no emphasis.

    >>> card("[click](http://e.example) *now*")
    '\\[click\\](http://e.example) \\*now\\*'
    """
    return re.sub(r"([\\\[\]*_`])", r"\\\1", plain(text))


def cut(
    text: str, most: int, link: str | None = None, *, escape: Callable[[str], str] = plain
) -> str:
    """Text, escaped, of at most so many characters; what is cut says so, with a link.

    It is cut before it is escaped, so that no escape is cut in two.

    >>> cut("a long story", 8)
    'a long …'
    >>> cut("a long story about a fire station", 30, "https://t/1")
    'a long story abou… https://t/1'
    >>> cut("<<<<", 10, escape=mrkdwn)
    '&lt;&lt;…'
    """
    whole = escape(text)
    if len(whole) <= most:
        return whole
    end = "…" if link is None or len(link) + 2 > most // 2 else f"… {link}"
    room = most - len(end)
    kept = room
    while len(head := escape(text[:kept])) > room:
        kept = min(kept - 1, kept * room // len(head))
    return head + end


def repeated(text: str, *, may_repeat: bool) -> str:
    """Text that says so if it may have been read before."""
    return _REPEAT + text if may_repeat else text

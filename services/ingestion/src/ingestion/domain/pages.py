"""The pages behind a link of a mail: one asks, one says what came of it. No script, no picture."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Mapping
from html import escape

from tocsin_contracts.links import ACTIONS, Link
from tocsin_incident import IncidentState

_STYLE = (
    "body{font-family:system-ui,sans-serif;max-width:34rem;margin:2rem auto;padding:0 1rem;"
    "line-height:1.5;color:#1b1b1b;background:#fff}h1{font-size:1.25rem}"
    "dt{font-weight:600}dd{margin:0 0 .5rem}label{display:block;margin:1rem 0 .25rem}"
    "textarea,select{width:100%;box-sizing:border-box;font:inherit;padding:.5rem}"
    "button{font:inherit;font-weight:600;padding:.75rem 1.5rem;margin-top:1rem;border:0;"
    "border-radius:.25rem;color:#fff;background:#9c1c1c}"
)

_HASH = b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()

HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{_HASH}'; form-action 'self'; "
        "base-uri 'none'; frame-ancestors 'none'"
    ),
    # The address is the secret: it goes to nobody, and stays nowhere.
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "X-Robots-Tag": "noindex, nofollow",
    "Cross-Origin-Opener-Policy": "same-origin",
}

CONFIRMED = "confirmed"
"""The field that the button sends: what only follows links, or posts nothing, changes nothing."""


def asking(
    link: Link, state: IncidentState | None, contacts: Mapping[str, str], problem: str = ""
) -> str:
    """The page that asks whether to do it.

    Args:
        contacts: Who it could be handed over to, name by id.
        problem: What was missing, if it was asked before.
    """
    action = ACTIONS[link.verb]
    fields = ""
    if link.verb == "handover":
        options = "".join(
            f'<option value="{escape(contact)}">{escape(name)}</option>'
            for contact, name in contacts.items()
        )
        fields += f'<label for="contact">To</label><select id="contact" name="contact">{options}'
        fields += "</select>"
    if link.verb != "acknowledge":
        needed = " required" if link.verb == "notes" else ""
        said = "What is it?" if link.verb == "notes" else "Anything to say? (may be empty)"
        fields += (
            f'<label for="text">{said}</label>'
            f'<textarea id="text" name="text" rows="3" maxlength="5000"{needed}></textarea>'
        )
    said = f'<p role="alert"><strong>{escape(problem)}</strong></p>' if problem else ""
    who = escape(contacts.get(link.contact, link.contact))
    form = (
        f"{_standing(link, state)}{said}"
        f'<form method="post">{fields}'
        f'<input type="hidden" name="{CONFIRMED}" value="yes">'
        f"<button>{escape(action)}</button></form>"
        f"<p>As {who}. Nothing happens until you press the button.</p>"
    )
    return _page(f"{action}?", form)


def saying(
    title: str, words: str, link: Link | None = None, of: IncidentState | None = None
) -> str:
    """A page that only says something."""
    standing = _standing(link, of) if link is not None else ""
    return _page(title, f"<p>{escape(words)}</p>{standing}")


def _standing(link: Link, state: IncidentState | None) -> str:
    rows = [("Incident", link.incident)]
    if state is not None:
        by = state.resolved_by if state.resolved_at is not None else state.acknowledged_by
        status = f"{state.status} by {by.name}" if by is not None else str(state.status)
        rows = [
            ("What", ("[DRILL] " if state.drill else "") + state.title),
            ("Severity", state.severity),
            ("Since", state.opened_at.strftime("%Y-%m-%d %H:%M:%S UTC")),
            ("Status", status),
            *rows,
        ]
        if state.muted_until is not None:
            rows.append(("Muted until", state.muted_until.strftime("%H:%M:%S UTC")))
    listed = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in rows)
    return f"<dl>{listed}</dl>"


def _page(title: str, body: str) -> str:
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>"
        f"<body><main><h1>{escape(title)}</h1>{body}</main></body></html>"
    )

"""The pages that a mail's links lead to: a look asks, and only a pressed button answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta

from pydantic import SecretStr, ValidationError
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from ingestion.adapters.bodies import Unreadable, read_body
from ingestion.domain.answers import Answer, Verb
from ingestion.domain.delivery import Malformed
from ingestion.domain.pages import CONFIRMED, HEADERS, asking, saying
from ingestion.domain.reading import read_form
from ingestion.handlers import VERB_OF, Door, UnknownContact, UnknownIncident
from ingestion.ports import Lookups
from tocsin_contracts.links import ACTIONS, BadLink, Link, opened
from tocsin_incident import IncidentState
from tocsin_runtime.failures import Transient
from tocsin_runtime.ports import Clock
from tocsin_runtime.telemetry import counter

LARGEST_FORM = 32 * 1024
_READ_WITHIN = timedelta(seconds=10)

_used = counter("tocsin_answer_links", "Links of mails that were visited, by what came of it")

_TITLES = {"forged": "This link does not work", "expired": "This link has expired"}
_STATUSES = {"forged": 403, "expired": 410}


class AnswerPages:
    """Serves `documenting.ANSWERS`.

    Args:
        keys: What links are signed with; several while one is replaced. Without any, no link works.
    """

    def __init__(
        self, door: Door, lookups: Lookups, clock: Clock, keys: Sequence[SecretStr]
    ) -> None:
        self._door = door
        self._lookups = lookups
        self._clock = clock
        self._keys = [key.get_secret_value() for key in keys]

    async def look(self, request: Request) -> Response:
        """`GET`: what it would do. Nothing is changed, whoever looks."""
        return await self._with(request, self._asked)

    async def answer(self, request: Request) -> Response:
        """`POST`: do it, once."""
        return await self._with(request, self._answered)

    async def _with(
        self,
        request: Request,
        work: Callable[[Request, Link, IncidentState | None], Awaitable[Response]],
    ) -> Response:
        try:
            link = opened(request.path_params["token"], self._keys, self._clock.now())
        except BadLink as error:
            words = f"{str(error).capitalize()}. The incident is where it always is."
            page = saying(_TITLES[error.reason], words)
            return _page(page, _STATUSES[error.reason], error.reason)
        try:
            return await work(request, link, await self._lookups.state(link.incident))
        except Transient:
            words = "Nothing was changed: the log is away. Try again in a moment."
            return _page(saying("Not now", words, link), 503, "log_away")

    async def _asked(self, _: Request, link: Link, state: IncidentState | None) -> Response:
        refusal = self._refusal(link, state)
        if refusal is not None:
            return refusal
        return _page(asking(link, state, self._door.contacts(link.incident)), 200, "asked")

    async def _answered(
        self, request: Request, link: Link, state: IncidentState | None
    ) -> Response:
        refusal = self._refusal(link, state)
        if refusal is not None:
            return refusal
        contacts = self._door.contacts(link.incident)
        try:
            body = await read_body(request, most=LARGEST_FORM, within=_READ_WITHIN)
            form = read_form(body)
        except (Unreadable, Malformed):
            return _page(asking(link, state, contacts, "That was not this form."), 400, "no_form")
        if form.get(CONFIRMED) != "yes":
            problem = "Press the button to do it."
            return _page(asking(link, state, contacts, problem), 400, "not_confirmed")
        verb = VERB_OF[link.verb]
        try:
            answer = _answer(verb, link, form)
            await self._door.answer(
                link.incident,
                verb,
                answer,
                idempotency_key=None,
                traceparent=None,
                identity=link.answer_id,
            )
        except ValidationError:
            problem = "Something is missing."
            return _page(asking(link, state, contacts, problem), 422, "invalid")
        except UnknownContact as error:
            return _page(asking(link, state, contacts, str(error)), 422, "unknown_contact")
        except UnknownIncident as error:
            return _page(saying("No such incident", str(error)), 404, "unknown_incident")
        words = f"{ACTIONS[link.verb]}: it stands in the log, as said by {link.contact}."
        return _page(saying("Done", words, link), 200, link.verb)

    def _refusal(self, link: Link, state: IncidentState | None) -> Response | None:
        """The page for a link that was used, or for somebody the policy has no more."""
        if link.contact not in self._door.contacts(link.incident):
            words = f"The policy no longer knows {link.contact}."
            return _page(saying(_TITLES["forged"], words), 403, "unknown_contact")
        if state is not None and str(link.answer_id) in state.seen:
            words = "This link was used before; it works once. This is how it stands:"
            return _page(saying("Already used", words, link, state), 410, "used")
        return None


def _answer(verb: Verb, link: Link, form: dict[str, str]) -> Answer:
    taken = form.keys() & {"text", "contact"} & verb.body.model_fields.keys()
    given = {name: form[name] for name in taken}
    return verb.body.model_validate({"by": link.contact, "via": "email", **given})


def _page(html: str, status: int, outcome: str) -> Response:
    _used.add(1, {"outcome": outcome})
    return HTMLResponse(html, status, headers=dict(HEADERS))

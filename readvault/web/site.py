"""What every page needs, and how faults become pages."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import Depends, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import RedirectResponse, Response
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from readvault.adapters.identity import Identity, InvalidToken
from readvault.api.authentication import Callers
from readvault.api.dependencies import FieldsDep
from readvault.api.errors import STATUS, described
from readvault.domain.errors import ProcessingFailure, ReadvaultError, RuleViolation, Unavailable
from readvault.services.house import House
from readvault.web.openid import OpenIdClient
from readvault.web.rendering import page
from readvault.web.sessions import Cookies, LoginNeeded, Visit, csrf_of, demand_own_form

HOME = "/web"
TITLES = {
    400: "That can't be read",
    401: "Please log in",
    403: "That is not yours",
    404: "There is no such thing",
    409: "Something has changed",
    410: "This was withdrawn",
    413: "Too much at once",
    422: "That can't be done",
    429: "Too often",
    503: "Not now",
}


@dataclass(frozen=True, slots=True)
class Site:
    """The house as the pages see it."""

    house: House
    identity: Identity
    callers: Callers
    cookies: Cookies
    openid: OpenIdClient | None
    """The way to an outside issuer's login page; None with the built-in issuer, or when no client is configured."""


def _site(request: Request) -> Site:
    site: Site = request.app.state.site
    return replace(site, house=site.house.steady())  # one set of organisms for the whole request


SiteDep = Annotated[Site, Depends(_site)]


def _visit(request: Request, site: SiteDep) -> Visit:
    token = request.cookies.get(site.cookies.session, "")
    try:
        actor = site.callers.actor(f"Bearer {token}") if token else None
    except InvalidToken:
        actor = None
    if actor is None:
        raise LoginNeeded
    return Visit(actor, csrf_of(token))


VisitDep = Annotated[Visit, Depends(_visit)]


@dataclass(frozen=True, slots=True)
class Form:
    """The fields of a form that was on a page of ours."""

    texts: dict[str, list[str]]

    def one(self, name: str) -> str:
        """The first text of that name, or an empty one."""
        return next(iter(self.texts.get(name, [])), "")

    def all(self, name: str) -> list[str]:
        """All texts of that name."""
        return self.texts.get(name, [])


def _form(request: Request, visit: VisitDep, fields: FieldsDep) -> Form:
    form = Form({name: list(texts) for name, texts in fields.texts.items()})
    demand_own_form(request, visit.csrf, form.one("csrf"))
    return form


FormDep = Annotated[Form, Depends(_form)]
"""The form of a POST, after the proof that it is one of ours."""


def see(path: str) -> RedirectResponse:
    """Look at another page now."""
    return RedirectResponse(path, 303)


def own_path(path: str) -> str:
    """The path if it is one of our pages, else the first page: nobody is led elsewhere after the login."""
    fits = path == HOME or path.startswith(f"{HOME}/")
    return path if fits and "\\" not in path and "//" not in path and path.isprintable() else HOME


class PageRoute(APIRoute):
    """A route whose faults are pages too."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler = super().get_route_handler()

        async def answered(request: Request) -> Response:
            try:
                return await handler(request)
            except LoginNeeded:
                wanted = request.url.path if request.method == "GET" else HOME
                return see(f"{HOME}/login?next={quote(wanted, safe='')}")
            except (ReadvaultError, HTTPException, RequestValidationError) as fault:
                return fault_page(fault)

        return answered


def fault_page(fault: Exception) -> Response:
    """What went wrong, in a sentence. Raises the fault again if it isn't one that people should read."""
    status, detail = status_and_text(fault)
    answer = page("fault", status, title=TITLES.get(status, "That went wrong"), detail=detail, visit=None)
    if status == 503:
        answer.headers["Retry-After"] = str(
            fault.retry_after if isinstance(fault, Unavailable) else Unavailable.retry_after
        )
    return answer


def status_and_text(fault: Exception) -> tuple[int, str]:
    """The status code and the sentence of a fault; raises it again if it isn't one that people should read."""
    if isinstance(fault, RequestValidationError):
        return 400, described(fault)
    if isinstance(fault, HTTPException):
        return fault.status_code, str(fault.detail)
    if isinstance(fault, ProcessingFailure):
        return 503, "Something of ours failed; nothing was lost, please try again."
    if isinstance(fault, RuleViolation):
        return next((code for kind, code in STATUS.items() if isinstance(fault, kind)), 400), str(fault)
    raise fault

"""Logging in and out."""

from __future__ import annotations

import math
import secrets
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from readvault.api.dependencies import FieldsDep, Text
from readvault.api.login_limit import LoginLimit
from readvault.domain.errors import Forbidden
from readvault.services.people import accounts
from readvault.web.openid import ATTEMPT_SECONDS, Attempt
from readvault.web.rendering import page
from readvault.web.sessions import MAX_COOKIE_BYTES, csrf_of, demand_own_form
from readvault.web.site import HOME, FormDep, PageRoute, Site, SiteDep, own_path, see

router = APIRouter(prefix=HOME, route_class=PageRoute, include_in_schema=False)

_FORM_SECONDS = 3600


@router.get("/login")
def login_page(
    request: Request, site: SiteDep, wanted: Annotated[Text, Query(alias="next", max_length=2000)] = HOME
) -> Response:
    """The login form of the built-in issuer, or the way to an outside one's."""
    if site.identity.embedded is not None:
        return _form(request, site, own_path(wanted))
    if site.openid is None:
        detail = "Pages need the setting READVAULT_WEB__CLIENT_ID: the client of the identity provider that they are."
        return page("fault", 503, title="Nobody can log in here", detail=detail, visit=None)
    address, attempt = site.openid.begin(own_path(wanted))
    answer = see(address)
    site.cookies.set(answer, site.cookies.login, attempt.as_cookie(), ATTEMPT_SECONDS, from_elsewhere=True)
    return answer


@router.post("/login")
def log_in(request: Request, site: SiteDep, fields: FieldsDep) -> Response:
    """Log in with name and password at the built-in issuer."""
    issuer = site.identity.embedded
    if issuer is None:
        raise Forbidden("Passwords are given to the identity provider alone.")
    texts = {name: listed[0] for name, listed in fields.texts.items() if listed}
    name, password, wanted = texts.get("name", ""), texts.get("password", ""), own_path(texts.get("next", HOME))
    demand_own_form(request, csrf_of(request.cookies.get(site.cookies.login, "")), texts.get("csrf", ""))
    limit: LoginLimit = request.app.state.login_limit
    wait = limit.seconds_to_wait(name)
    if wait > 0:
        return _form(
            request, site, wanted, 429, f"Too many failed logins of this user. Try again in {math.ceil(wait)} seconds."
        )
    actor = accounts.verify_password(site.house, name, password)
    if actor is None:
        limit.failed(name)
        return _form(request, site, wanted, 401, "Name and password don't belong together.")
    limit.succeeded(name)
    seconds = site.house.settings.web.session_minutes * 60
    return _opened(site, issuer.access_token(actor, seconds), seconds, see(wanted))


@router.get("/callback")
def callback(
    request: Request,
    site: SiteDep,
    state: Annotated[Text, Query(max_length=1000)] = "",
    code: Annotated[Text, Query(max_length=4000)] = "",
) -> Response:
    """Back from the identity provider's login page."""
    if site.openid is None:
        raise Forbidden("Nobody logs in this way here.")
    attempt = Attempt.of_cookie(request.cookies.get(site.cookies.login, ""))
    token, seconds = site.openid.finish(attempt, state=state, code=code)
    if len(token) > MAX_COOKIE_BYTES:
        raise Forbidden("The identity provider's access token is too long for a browser's cookie.")
    # A redirect from here would still count as sent by the provider's site, and the strict cookie would stay behind.
    welcome = page("welcome", then=own_path(attempt.then), visit=None)
    site.cookies.drop(welcome, site.cookies.login)
    return _opened(site, token, min(seconds, site.house.settings.web.session_minutes * 60), welcome)


@router.post("/logout")
def log_out(site: SiteDep, form: FormDep) -> Response:
    """End the session in this browser."""
    answer = page("goodbye", visit=None)
    site.cookies.drop(answer, site.cookies.session)
    return answer


def _form(request: Request, site: Site, wanted: str, status: int = 200, problem: str = "") -> Response:
    # The same for all tabs of a browser, so that the form of each counts.
    secret = request.cookies.get(site.cookies.login) or secrets.token_urlsafe(32)
    answer = page("login", status, csrf=csrf_of(secret), wanted=wanted, problem=problem, visit=None)
    site.cookies.set(answer, site.cookies.login, secret, _FORM_SECONDS)
    return answer


def _opened(site: Site, token: str, seconds: int, answer: Response) -> Response:
    site.cookies.set(answer, site.cookies.session, token, seconds)
    return answer

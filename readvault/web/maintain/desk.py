"""What every maintainers' page has: its maintainer, the tabs with what waits, and the way to Prefect's pages."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import quote, urlsplit, urlunsplit

from fastapi import Depends
from fastapi.responses import Response

from readvault.config import PrefectSettings
from readvault.services.authorization import Action, authorize
from readvault.services.housekeeping.desk import Desk, desk
from readvault.web.rendering import page
from readvault.web.sessions import Visit
from readvault.web.site import HOME, Site, SiteDep, VisitDep

PLACE = f"{HOME}/maintain"
ROWS = 100
"""Rows of a list on one page."""


def _maintainer(site: SiteDep, visit: VisitDep) -> Visit:
    with site.house.sessions.read() as session:
        authorize(session, visit.actor, Action.MAINTAIN)
    return visit


MaintainerDep = Annotated[Visit, Depends(_maintainer)]
"""Somebody who may maintain the instance; everybody else gets 403, and who isn't logged in is sent to the login."""


def maintain_page(
    template: str, site: Site, visit: Visit, status: int = 200, *, waiting: Desk | None = None, **values: Any
) -> Response:
    """A page of `templates/maintain/`, with the tabs and how much waits behind each."""
    return page(
        f"maintain/{template}",
        status,
        visit=visit,
        waiting=desk(site.house, visit.actor) if waiting is None else waiting,
        read_only=site.house.settings.read_only_mode,
        prefect=prefect_pages(site.house.settings.prefect),
        **{"tab": template, "said": "", "problem": "", **values},
    )


def prefect_pages(settings: PrefectSettings) -> str | None:
    """Where Prefect's pages are, without user, password, query or fragment; None when nobody knows."""
    given = settings.ui_url or (settings.api_url or "").removesuffix("/").removesuffix("/api")
    try:
        parts = urlsplit(given)
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    if parts.scheme not in ("http", "https") or not host:
        return None
    place = f"[{host}]" if ":" in host else host
    return urlunsplit((parts.scheme, place if port is None else f"{place}:{port}", parts.path.rstrip("/"), "", ""))


def entry_path(organism: str, accession: str, version: int) -> str:
    """The page of an accession version."""
    return f"{HOME}/organisms/{quote(organism, safe='')}/entries/{quote(accession, safe='')}/{version}"

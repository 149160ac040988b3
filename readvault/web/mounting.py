"""The pages, added to the API's app."""

from __future__ import annotations

from fastapi import FastAPI

from readvault.adapters.identity import Identity
from readvault.api.authentication import Callers
from readvault.services.house import House
from readvault.web import batches, drops, entries, login, pulls, references, static_files
from readvault.web.maintain import confirmations, human_reads, jobs, orders, overview, results
from readvault.web.maintain.index_look import IndexLook
from readvault.web.openid import OpenIdClient
from readvault.web.sessions import Cookies
from readvault.web.site import HOME, Site


def add_pages(app: FastAPI, house: House, identity: Identity) -> FastAPI:
    """The same app, which now also shows pages under /web to people whom `identity` knows."""
    https = house.settings.public_url.startswith("https://")
    app.state.site = Site(house, identity, Callers(house, identity), Cookies(https=https), _openid(house, identity))
    app.state.index_look = IndexLook(house)
    own, maintain = (
        (drops, pulls, references, batches, entries),
        (overview, jobs, orders, results, confirmations, human_reads),
    )
    for room in (static_files, login, *own, *maintain):
        app.include_router(room.router)
    return app


def _openid(house: House, identity: Identity) -> OpenIdClient | None:
    issuer, client_id = house.settings.identity.issuer, house.settings.web.client_id
    if identity.embedded is not None or issuer is None or client_id is None:
        return None
    redirect_uri = f"{house.settings.public_url.rstrip('/')}{HOME}/callback"
    return OpenIdClient(identity, issuer=issuer, client_id=client_id, redirect_uri=redirect_uri)

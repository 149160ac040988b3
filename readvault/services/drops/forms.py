"""For plain HTML forms: a signed POST for one key of ours. It can't demand that nothing is there yet, so later
versions are deleted and charged (`arrivals.settle_forms`)."""

from __future__ import annotations

from dataclasses import dataclass

from readvault.db import clock
from readvault.domain.errors import BadRequest, ReadvaultError
from readvault.ports import SignedForm
from readvault.services.drops.announcing import FORM, HOUR, fitting, give_back, reserve
from readvault.services.drops.links import open_link
from readvault.services.house import House
from readvault.services.uploads.answers import WantedFile


@dataclass(frozen=True, slots=True)
class FormTicket:
    """A form for one file of at most `max_bytes`, good until `expires_at` (seconds since 1970)."""

    object_name: str
    form: SignedForm
    max_bytes: int
    expires_at: float


def announce_form(
    house: House, token: str, name: str, *, max_bytes: int | None = None, category: str | None = None
) -> FormTicket:
    """A form's address and hidden fields for one file of 1 to `max_bytes` bytes; all of them are reserved till it came.

    Raises what `announce` raises.
    """
    rules = house.settings.drop_links
    most = rules.form_bytes if max_bytes is None else max_bytes
    if not 1 <= most <= rules.form_bytes:
        raise BadRequest(f"A form may take 1 to {rules.form_bytes} bytes.")
    with house.sessions.begin() as session:
        link = open_link(session, house, token)
        wanted = fitting(house, link, WantedFile(name, most, category=category))
        now = clock.read(session)
        # Who began to send before the policy's end may still be sending for as long as a file may take.
        until = now + rules.deliver_within_hours * HOUR
        file, dropped = reserve(house, session, link, wanted, way=FORM, settle_until=until)
    try:
        form = house.store.sign_form(file.key, max_size=most, expires=rules.form_seconds)
    except ReadvaultError:
        give_back(house, dropped)
        raise
    return FormTicket(dropped.object_name, form, most, now + rules.form_seconds)

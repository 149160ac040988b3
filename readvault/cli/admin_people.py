"""`readvault admin`: accounts, groups, tokens and the key of the built-in issuer."""

from __future__ import annotations

import sys

import typer

from readvault.cli.admin_office import maintainer, open_office

PASSWORD = typer.Option(..., prompt=True, hide_input=True, help="Asked for when it is not given.")
ADDRESS = {"line1": "not given", "city": "not given", "postal_code": "not given", "country": "not given"}


def add_user(
    name: str,
    password: str = PASSWORD,
    role: list[str] = typer.Option([], help="super_user, preprocessing_pipeline or external_metadata_updater."),
) -> None:
    """Add a login to the built-in issuer."""
    from readvault.services.people import accounts

    accounts.create_account(open_office(), name, password, role)
    typer.echo(f"user {name} can log in now")


def disable_user(name: str) -> None:
    """Let a user in no more, from the next request on; their tokens end too. Their data stay."""
    from readvault.services.people import accounts

    ended = accounts.disable_account(open_office(), maintainer(), name)
    typer.echo(f"user {name} is disabled; {ended} tokens ended")


def set_password(
    name: str,
    password: str = PASSWORD,
    enable: bool = typer.Option(False, "--enable", help="Let a disabled user in again."),
) -> None:
    """Replace a user's password."""
    from readvault.services.people import accounts

    accounts.set_password(open_office(), maintainer(), name, password, enable=enable)
    typer.echo(f"user {name} has a new password")


def add_group(
    name: str,
    member: list[str] = typer.Option(..., help="A user; give it again for more."),
    institution: str = typer.Option("not given", help="Members can change this, and the address, at any time."),
    contact_email: str = typer.Option("not-given@example.org", help="Where the group can be reached."),
) -> None:
    """Make a group with these members and print its ID."""
    from readvault.domain.group import Address, GroupDetails
    from readvault.services.people import groups

    details = GroupDetails(
        group_name=name, institution=institution, address=Address(**ADDRESS), contact_email=contact_email
    )
    made = groups.create_group(open_office(), maintainer(), details, members=member)
    typer.echo(made.group_id)


def add_member(group_id: int, user: str) -> None:
    """Make a user a member of a group."""
    from readvault.services.people import groups

    groups.add_member(open_office(), maintainer(), group_id, user)
    typer.echo(f"user {user} is a member of group {group_id} now")


def remove_member(group_id: int, user: str) -> None:
    """End a membership, with effect from the user's next request."""
    from readvault.services.people import groups

    groups.remove_member(open_office(), maintainer(), group_id, user)
    typer.echo(f"user {user} is no member of group {group_id} any more")


def token(
    user: str,
    scope: list[str] = typer.Option([], help="What it is for; give it again for more. Without: all but metrics."),
    days: int = typer.Option(30, help="How long it lives, at most 365."),
    group: int | None = typer.Option(None, help="The one group that it may touch."),
    name: str = typer.Option("made by readvault admin", help="What its owner sees in the list of tokens."),
) -> None:
    """Make a token that acts for a user, and print it: for `Authorization: Bearer …`. It is shown this once."""
    from readvault.domain.actor import Actor
    from readvault.services.authorization import MAINTAINERS_SCOPES, SCOPES
    from readvault.services.people import accounts, tokens

    house = open_office()
    accounts.refuse_unknown(house, user)
    scopes = scope or list(SCOPES.keys() - MAINTAINERS_SCOPES)
    view, made = tokens.make_token(
        house, Actor(user), name=name, scopes=scopes, days=days, group_id=group, by_maintainer=True
    )
    typer.echo(f"token {view.id} of {user} for: {', '.join(view.scopes)}", err=True)
    sys.stdout.write(f"{made}\n")


def revoke_token(token_id: str) -> None:
    """End a token, whosever it is, with effect from the next request."""
    from readvault.services.people import tokens

    tokens.revoke_token(open_office(), maintainer(), token_id)
    typer.echo(f"token {token_id} is revoked")


def rotate_key(
    now: bool = typer.Option(False, "--now", help="Believe the old key no more: everybody has to log in again."),
) -> None:
    """Give the built-in issuer a new key; logins with the old one stay good until they expire."""
    from readvault.adapters import issuer
    from readvault.db import audit
    from readvault.domain.errors import NotReady

    house = open_office()
    if not house.settings.identity.embedded:
        raise NotReady("An outside issuer serves this instance: rotate its keys there.")
    key_id = issuer.rotate(issuer.key_file(house.settings), keep_old=not now)
    with house.sessions.begin() as session:
        audit.append(session, maintainer().name, "rotate key", f"key {key_id}", {"oldKeyKept": not now})
    typer.echo(f"the key is {key_id} now; {'everybody has to log in again' if now else 'logins stay good'}")

"""`readvault admin drop-links`: links through which others deliver files, of all groups."""

from __future__ import annotations

import typer

from readvault.cli.admin_office import maintainer, open_office

drops_app = typer.Typer(help="Links through which others deliver files for groups.", no_args_is_help=True)


@drops_app.command("list")
def list_links(
    every: bool = typer.Option(False, "--all", help="Also those that have expired or were revoked."),
) -> None:
    """Tell each link's ID, group, maker, end and use; tokens are known to nobody but their holders."""
    from readvault.api.schemas.wire import when
    from readvault.services.drops import links

    house, actor, after = open_office(), maintainer(), ""
    while page := links.every_link(house, actor, after, only_open=not every):
        for link in page:
            ends = f"revoked {when(link.revoked_at)}" if link.revoked_at else f"until {when(link.expires_at)}"
            use = f"{link.used_objects}/{link.objects_quota} files, {link.used_bytes}/{link.bytes_quota} bytes"
            typer.echo(f"{link.id} group {link.group_id} by {link.created_by} {ends}; {use}; {link.label!r}")
        after = page[-1].id


@drops_app.command("revoke")
def revoke(link_id: str) -> None:
    """End a link with effect from the next request; what came through it stays with its group."""
    from readvault.services.drops import links

    links.revoke_link(open_office(), maintainer(), link_id)
    typer.echo(f"drop link {link_id} is revoked")

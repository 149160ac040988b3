"""How a browser is told to save what it downloads, and under which name."""

from __future__ import annotations

import urllib.parse


def attachment(name: str) -> str:
    """A Content-Disposition that downloads under `name`, whatever characters it has (RFC 6266, RFC 8187).

    >>> attachment("reads 1.fq")
    'attachment; filename="reads 1.fq"'
    >>> print(attachment("Übung;1.fq"))
    attachment; filename="_bung;1.fq"; filename*=UTF-8''%C3%9Cbung%3B1.fq
    """
    name = "".join(character if character.isprintable() else "_" for character in name)
    plain = "".join(c if c.isascii() and c not in '"\\%' else "_" for c in name)
    disposition = f'attachment; filename="{plain}"'
    if plain != name:
        disposition += f"; filename*=UTF-8''{urllib.parse.quote(name, safe='')}"
    return disposition

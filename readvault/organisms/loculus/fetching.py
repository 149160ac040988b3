"""Sequences that a configuration names by their address: over https, and no more than a genome needs."""

from __future__ import annotations

import ipaddress

import httpx

from readvault.domain.errors import NotReady

MAX_BYTES = 50 * 10**6
MAX_REDIRECTS = 5
TIMEOUT = 60.0


def fetch(url: str, client: httpx.Client) -> str:
    """The text at an address.

    Raises NotReady when it isn't https, lies inside of this network, is too large or no text, or doesn't come.
    """
    for _ in range(MAX_REDIRECTS + 1):
        if not url.startswith("https://"):
            raise NotReady(f"{url} is not fetched: only https is")
        try:
            if _is_inside(httpx.URL(url).host):
                raise NotReady(f"{url} is not fetched: it lies inside of this network")
            with client.stream("GET", url, follow_redirects=False, timeout=TIMEOUT) as answer:
                if answer.has_redirect_location:
                    url = str(answer.url.join(answer.headers["Location"]))
                    continue
                answer.raise_for_status()
                return _limited(url, answer)
        except httpx.HTTPStatusError as fault:
            raise NotReady(f"{url} answers {fault.response.status_code}") from None
        except (httpx.HTTPError, httpx.InvalidURL) as fault:
            raise NotReady(f"{url} doesn't come ({type(fault).__name__})") from None
    raise NotReady(f"{url} is redirected more than {MAX_REDIRECTS} times")


def _is_inside(host: str) -> bool:
    """Whether an address names this machine or its network; of a name nobody knows it before it is asked for."""
    try:
        return not ipaddress.ip_address(host).is_global
    except ValueError:
        return host.rstrip(".").rpartition(".")[2].lower() == "localhost"


def _limited(url: str, answer: httpx.Response) -> str:
    content = bytearray()
    for part in answer.iter_bytes():
        content += part
        if len(content) > MAX_BYTES:
            raise NotReady(f"{url} has more than {MAX_BYTES} bytes")
    try:
        return content.decode("ascii")
    except UnicodeDecodeError:
        raise NotReady(f"{url} is no FASTA") from None

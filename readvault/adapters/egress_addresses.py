"""Which addresses and hosts we may connect to for somebody else: names from a list, and only public addresses."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass

from readvault.config.pulls import PullSettings
from readvault.domain.pulls import Refusal, SourceRefused

HTTPS = 443
LONGEST_URL = 8192
_URL = re.compile(r"https://([a-z0-9.-]{1,253})(?::([0-9]{1,5}))?(/[\x21-\x7e]*)", re.IGNORECASE)
_DOTS = re.compile(r"/(?:\.|%2e){1,2}(?:/|$)|%2f", re.IGNORECASE)
"""Steps up and down in a path: some server on the way may walk them. And slashes that are none for us, but for it:
what lies beside such a source, as its proof, would lie elsewhere."""
_LABEL = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)")
_TOP = re.compile(r"[a-z]{2,63}")
_REGION = r"(?P<region>[a-z]{2}(?:-[a-z]+){1,3}-[0-9]{1,2})"
_AWS = re.compile(
    rf"(?:[a-z0-9][a-z0-9.-]{{1,61}}[a-z0-9]\.)?s3(?:(?:\.dualstack)?[.-]{_REGION})?\.amazonaws\.com(?:\.cn)?"
)
_US_EAST_1 = "us-east-1"
_NEVER = tuple(
    map(
        ipaddress.ip_network,
        (
            "168.63.129.16/32",  # Azure's own services answer each virtual machine there
            "192.88.99.0/24",  # 6to4 relays
            "64:ff9b:1::/48",  # translation to IPv4 within a network
            "2002::/16",  # 6to4: an IPv4 address inside
            "2001::/23",  # Teredo among them: an IPv4 address inside
            "::/96",  # IPv4-compatible
            "fec0::/10",  # site-local
        ),
    )
)
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a URL leads: a host that is on the list. `target` is the path with its query."""

    host: str
    port: int
    target: str

    @property
    def authority(self) -> str:
        """Host, and the port where it isn't the usual one, as the header `Host` has it."""
        return self.host if self.port == HTTPS else f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        """The whole address."""
        return f"https://{self.authority}{self.target}"


def place_of(url: str, settings: PullSettings) -> Place:
    """Take a URL apart; raises SourceRefused for one that leads to no host on the list, or is written oddly.

    What is not plainly `https://host[:port]/path` is refused, not repaired: two programs that read an odd
    address in two ways are how guards are passed by.
    """
    match = _URL.fullmatch(url) if len(url) <= LONGEST_URL else None
    if match is None or "#" in url or "\\" in url or _DOTS.search(match[3].partition("?")[0]):
        raise SourceRefused(Refusal.ADDRESS, "An address must be a plain https:// URL with a path, in ASCII.")
    place = Place(match[1].lower(), int(match[2] or HTTPS), match[3])
    if not _is_name(place.host):
        raise SourceRefused(Refusal.ADDRESS, "The address must name a host by its plain DNS name, not by a number.")
    if not is_listed(place, settings):
        raise SourceRefused(Refusal.ADDRESS, "This host, or this port of it, is not on this instance's list.")
    return place


def _is_name(host: str) -> bool:
    """Whether a host is a DNS name in its plain form: no number, no trailing dot, no IDN."""
    labels = host.split(".")
    plain = all(_LABEL.fullmatch(label) and not label.startswith("xn--") for label in labels)
    return len(labels) > 1 and plain and _TOP.fullmatch(labels[-1]) is not None


def is_listed(place: Place, settings: PullSettings) -> bool:
    """Whether the instance's list has this host and port: S3 at AWS in its regions, and what a maintainer added."""
    if place.port == HTTPS and (aws := _AWS.fullmatch(place.host)):
        region = aws["region"] or _US_EAST_1
        if "*" in settings.aws_regions or region in settings.aws_regions:
            return True
    return any(_matches(place, each) for each in settings.hosts)


def _matches(place: Place, entry: str) -> bool:
    host, _, port = entry.lower().partition(":")
    if place.port != int(port or HTTPS):
        return False
    if host.startswith("*."):
        return place.host.endswith(host[1:]) and len(place.host) > len(host) - 1
    return place.host == host


def is_public(address: str) -> bool:
    """Whether an IP address is one of the public internet, also looking at what it carries inside.

    >>> is_public("52.219.170.1"), is_public("::ffff:169.254.169.254"), is_public("64:ff9b::a00:1")
    (True, False, False)
    """
    if "%" in address:  # with a zone: of one link
        return False
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return is_public(str(parsed.ipv4_mapped))
        if parsed in _NAT64:
            return is_public(str(ipaddress.IPv4Address(int(parsed) & 0xFFFFFFFF)))
    if any(parsed.version == network.version and parsed in network for network in _NEVER):
        return False
    return parsed.is_global and not (parsed.is_multicast or parsed.is_reserved or parsed.is_unspecified)


def checked(addresses: Sequence[str], settings: PullSettings) -> list[str]:
    """These addresses of a host, all of them public; raises SourceRefused when one isn't."""
    if not settings.allow_private_addresses and not all(map(is_public, addresses)):
        raise SourceRefused(Refusal.ADDRESS, "The host's name leads to an address that is not public.")
    return list(addresses)

"""Whose address a request comes from, as the name of its bucket."""

from __future__ import annotations

import ipaddress
from typing import Final

#: A customer of a provider has a /64 at least, with more addresses than could ever be counted one by one.
_V6_PREFIX: Final = 64


def client_address(peer: str | None, forwarded_for: str, *, proxies: int) -> str:
    """The client's address; of IPv6 its /64.

    Parameters
    ----------
    peer
        Who is connected to us.
    forwarded_for
        All of `X-Forwarded-For`. Each proxy adds at its end whom it was asked by.
    proxies
        How many proxies of our own are in between: so many entries from the end are theirs to say, what is before
        them anybody can write.
    """
    address = peer or ""
    if proxies:
        told = [part.strip() for part in forwarded_for.split(",") if part.strip()]
        if len(told) >= proxies:
            address = told[-proxies]
    try:
        found = ipaddress.ip_address(address.strip("[]").partition("%")[0])
    except ValueError:
        return "unknown"  # a Unix socket's peer, or a proxy that writes names: they share a bucket
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is not None:
            return str(found.ipv4_mapped)
        return str(ipaddress.ip_network((found, _V6_PREFIX), strict=False))
    return str(found)

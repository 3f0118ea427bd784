"""Who may ask: holders of an API key, or, where there are no keys, this machine alone.

Keys are kept as hashes and compared in constant time. A key has 256 random bits, so that a plain SHA-256 of it tells
nobody anything and needs no salt.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import ipaddress
from collections.abc import Sequence


def hashed(key: str) -> str:
    """The SHA-256 of a key, in hexadecimal: what is kept."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def presented(authorization: str) -> str | None:
    """The key in an Authorization header: a bearer token, or the password of Basic, which browsers ask for."""
    scheme, _, rest = authorization.partition(" ")
    if scheme.lower() == "bearer":
        return rest.strip()
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(rest.strip(), validate=True).decode("utf-8").partition(":")[2]
        except (binascii.Error, UnicodeDecodeError, ValueError):
            return None
    return None


def admits(hashes: Sequence[str], key: str) -> bool:
    """Whether `key` is one of those hashed; takes as long whichever it is."""
    own = hashed(key)
    fits = [hmac.compare_digest(own, kept) for kept in hashes]  # all, even after one that fits
    return any(fits)


def is_local(host: str) -> bool:
    """Whether only this machine reaches `host`."""
    name = host.strip("[]").lower()
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"

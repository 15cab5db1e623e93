"""Values to 16-bit codes: what a resource, a source and a client are reduced to before they are counted.

Codes are stable across processes and releases: 15 bits of an unkeyed BLAKE2b (RFC 7693) for a value that the shipped
prior does not know, and the upper half of the 16-bit range for those that it knows (`models.prior`). They save room,
they are no secret and no proof: two unknown values share a code with probability 2**-15.
"""

from __future__ import annotations

import hashlib
import ipaddress
from functools import lru_cache

KNOWN = 0x8000
_CACHED = 8_192
_JUST_ASKED = 4


@lru_cache(maxsize=_CACHED)
def stable_code(text: str) -> int:
    """15 bits that depend on the text alone.

    >>> stable_code("aws-cli") == stable_code("aws-cli") < KNOWN
    True
    """
    raw = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=2).digest()
    return int.from_bytes(raw, "big") & (KNOWN - 1)


@lru_cache(maxsize=_JUST_ASKED)
def ce_hash(ce_id: str) -> bytes:
    """6 bytes of BLAKE2b by which the ring of recent events knows an event again; one ask needs it three times."""
    return hashlib.blake2b(ce_id.encode("utf-8", "surrogatepass"), digest_size=6).digest()


def taken_back_hash(decision_id: str) -> bytes:
    """The same of a decision whose lesson was taken back; no ce_id has it, or whoever asks could feign that."""
    return hashlib.blake2b(decision_id.encode(), digest_size=6, person=b"taken back").digest()


def container(resource_type: str, resource_id: str) -> str:
    """What holds the resource: a bucket, a namespace, a host, an account's kind of thing.

    >>> container("bucket", "logs-eu/2026/11/25.gz")
    'bucket|logs-eu'
    >>> container("iam", "arn:aws:iam::123456789012:user/bob")
    'iam|iam:123456789012:user'
    >>> container("url", "https://Example.org/login?next=/")
    'url|https://example.org'
    """
    if ":" not in resource_id:
        return f"{resource_type}|{resource_id.partition('/')[0]}"
    if resource_id.startswith("arn:"):
        parts = resource_id.split(":", 5)
        if len(parts) == 6:
            kind = parts[5].replace(":", "/", 1).partition("/")[0]
            return f"{resource_type}|{parts[2]}:{parts[4]}:{kind}"
    scheme, found, rest = resource_id.partition("://")
    if found:
        host = rest.replace("?", "/").replace("#", "/").partition("/")[0].rpartition("@")[2]
        return f"{resource_type}|{scheme.lower()}://{host.lower()}"
    return f"{resource_type}|{resource_id.partition('/')[0]}"


def network(source: str) -> str:
    """The network of an address (IPv4 /24, IPv6 /48), or the text itself in lower case.

    >>> network("198.51.100.23"), network("2001:db8:1:2::3"), network("CI-Runner")
    ('198.51.100.0/24', '2001:db8:1::/48', 'ci-runner')
    """
    text = source.strip()
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return text.lower()
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is None:
            return f"{ipaddress.IPv6Address(int(address) >> 80 << 80)}/48"
        address = address.ipv4_mapped
    return f"{ipaddress.IPv4Address(int(address) >> 8 << 8)}/24"


def family(client: str) -> str:
    """The program behind a user agent: the text up to its first ``/``, in lower case.

    >>> family("aws-cli/2.2.20 Python/3.8"), family("[S3Console/0.4]")
    ('aws-cli', 's3console')
    """
    return client.strip(" []").partition("/")[0].rstrip().lower()


def container_code(resource_type: str, resource_id: str) -> int:
    """The code of a resource's container."""
    return stable_code(container(resource_type, resource_id))


@lru_cache(maxsize=_CACHED)
def network_code(source: str) -> int | None:
    """The code of a source's network; None where there is no source."""
    text = network(source)
    return stable_code(text) if text else None

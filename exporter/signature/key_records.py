"""Look up and parse the DNS records with SMTPeter's public keys (RFC 6376 section 3.6.1)."""

import base64
import binascii
import logging
from collections.abc import Callable, Sequence
from typing import NamedTuple

import dns.exception
import dns.nameserver
import dns.rdatatype
import dns.resolver
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_der_public_key

from exporter.net import Address

log = logging.getLogger(__name__)

_WEAKEST, _WEAK, _LONGEST = 1_024, 2_048, 8_192  # bits


class TxtRecords(NamedTuple):
    """The TXT records of a name (none if the name or the records do not exist), and their TTL in seconds."""

    texts: Sequence[bytes]
    ttl: float


class DnsDown(Exception):
    """DNS did not answer. The text says why."""


def read_records(name: str, texts: Sequence[bytes]) -> tuple[tuple[RSAPublicKey, ...], str]:
    """Return the usable keys in TXT records, and the result: found, revoked, unusable, or unknown (no key record).

    While keys rotate a name may have several, and each of them is valid. ``name`` is for the log.
    """
    keys: list[RSAPublicKey] = []
    result = "unknown"
    for text in texts:
        tags = dict(tag.strip().partition("=")[::2] for tag in text.decode("ascii", "replace").split(";"))
        tags = {tag.strip(): "".join(value.split()) for tag, value in tags.items()}
        if "p" not in tags or tags.get("v", "DKIM1") != "DKIM1":
            continue  # some other TXT record
        if not tags["p"]:
            result = "revoked" if result == "unknown" else result
            continue
        key = _key(tags)
        if key is None:
            result = "unusable"
            log.warning("unusable key record: expected an RSA key of 1024 bits or more", extra={"key": name})
            continue
        if key.key_size < _WEAK:
            log.warning("short key: SMTPeter should use 2048 bits or more", extra={"key": name, "bits": key.key_size})
        keys.append(key)
    return tuple(keys), "found" if keys else result


def _key(tags: dict[str, str]) -> RSAPublicKey | None:
    if tags.get("k", "rsa") != "rsa" or "sha256" not in tags.get("h", "sha256").split(":"):
        return None
    try:
        key = load_der_public_key(base64.b64decode(tags["p"], validate=True))
    except (binascii.Error, ValueError, UnsupportedAlgorithm):
        return None
    return key if isinstance(key, RSAPublicKey) and _WEAKEST <= key.key_size <= _LONGEST else None


def resolver(nameservers: Sequence[Address]) -> Callable[[str], TxtRecords]:
    """Return a function that looks up TXT records at these name servers, or at the system's if there are none."""

    def resolve(name: str) -> TxtRecords:
        try:
            # A new resolver per lookup, so that changes to the system's configuration take effect.
            client = dns.resolver.Resolver(configure=not nameservers)
            if nameservers:
                client.nameservers = [dns.nameserver.Do53Nameserver(*address) for address in nameservers]
            client.timeout, client.lifetime = 1.5, 3.5
            found = client.resolve(f"{name}.", dns.rdatatype.TXT, search=False)
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
            return TxtRecords((), 0)
        except (dns.exception.DNSException, OSError) as error:
            raise DnsDown(
                str(error).replace("@", " port ")
            ) from error  # otherwise the log masks ADDRESS@PORT as an e-mail address
        return TxtRecords([b"".join(record.strings) for record in found], found.rrset.ttl if found.rrset else 0)

    return resolve

"""The DNS records of SMTPeter's public keys: looked up, and read (RFC 6376 section 3.6.1)."""

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
    """What DNS said: the texts of the TXT records (none: there is no such name or record) and for how many seconds."""

    texts: Sequence[bytes]
    ttl: float


class DnsDown(Exception):
    """DNS gave no answer; the text says why."""


def read_records(name: str, texts: Sequence[bytes]) -> tuple[tuple[RSAPublicKey, ...], str]:
    """The usable keys among TXT records, and the result: found, revoked, unusable, or unknown when there is no record.

    More than one key may stand at a name while they rotate; each of them is good. ``name`` is for the log.
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
            log.warning(
                "the record of a key can't be used: expected an RSA key of 1024 bits or more", extra={"key": name}
            )
            continue
        if key.key_size < _WEAK:
            log.warning("a key is short; SMTPeter should use 2048 bits", extra={"key": name, "bits": key.key_size})
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
    """Ask DNS for TXT records: these name servers, or the system's when there are none."""

    def resolve(name: str) -> TxtRecords:
        try:
            # A new one each time reads the system's configuration anew.
            asking = dns.resolver.Resolver(configure=not nameservers)
            if nameservers:
                asking.nameservers = [dns.nameserver.Do53Nameserver(*address) for address in nameservers]
            asking.timeout, asking.lifetime = 1.5, 3.5
            found = asking.resolve(f"{name}.", dns.rdatatype.TXT, search=False)
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
            return TxtRecords((), 0)
        except (dns.exception.DNSException, OSError) as error:
            raise DnsDown(str(error).replace("@", " port ")) from error  # else its address is masked as an e-mail one's
        return TxtRecords([b"".join(record.strings) for record in found], found.rrset.ttl if found.rrset else 0)

    return resolve

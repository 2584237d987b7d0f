"""Web configuration files, and the certificates and passwords that they need."""

from base64 import b64encode
from functools import cache
from pathlib import Path

import bcrypt
import trustme


@cache
def authority(name: str = "") -> trustme.CA:
    """Return a certificate authority; the same one for the same name."""
    return trustme.CA(organization_name=name or None)


def write_pair(directory: Path, name: str = "") -> trustme.LeafCert:
    """Write a new certificate for loopback as ``{name}cert.pem`` and its key as ``{name}key.pem``."""
    pair = authority().issue_cert("localhost", "127.0.0.1", "::1")
    pair.private_key_pem.write_to_path(directory / f"{name}key.pem")
    (directory / f"{name}cert.pem").write_bytes(b"".join(blob.bytes() for blob in pair.cert_chain_pems))
    return pair


@cache
def hashed(password: str, cost: int = 4) -> str:
    """Return a bcrypt hash of the password, by default with the lowest cost."""
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(cost)).decode()


def basic(credentials: str) -> str:
    """Return the Authorization header for ``user:password``."""
    return f"Basic {b64encode(credentials.encode()).decode()}"


def tls(**keys: str) -> str:
    """Return the YAML for TLS with these keys; an empty value omits the key."""
    keys = {"cert_file": "cert.pem", "key_file": "key.pem"} | keys
    return f"tls_server_config: {{{', '.join(f'{key}: {text}' for key, text in keys.items() if text)}}}\n"


def users(**hashes: str) -> str:
    """Return the YAML for users with these hashes."""
    return f"basic_auth_users: {{{', '.join(f'{user}: {text}' for user, text in hashes.items())}}}\n"

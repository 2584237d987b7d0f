"""What checking signatures costs: the exporter with signatures required beside the same without, same requests.

The server is held on one core, the load (wrk, 64 connections) on the other. All requests are signed, by a key of 2048
bits; the exporter that wants no signatures passes over them. Contestants take turns.
"""

import os
import statistics
import subprocess
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from operator import truediv
from pathlib import Path
from timeit import timeit

from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from bench.throughput import CONNECTIONS, HERE, SECONDS, answers
from tests.signing import ACCOUNT, KEY_ID, NameServer, headers_for, key, record

ROUNDS = int(os.environ.get("ROUNDS", "7"))
A_ROUND = 3_000 * SECONDS
"""Requests for one round of one contestant; more than it answers, so that none is sent twice."""
CONTESTANTS = {
    "signatures required": [
        "--signature.mode",
        "required",
        "--signature.account",
        ACCOUNT,
        "--signature.max-age",
        "1h",
    ],
    "signatures off": ["--signature.mode", "off"],
}
FIRST_PORT = 18_130
HOST = "mail.example.com"


def signed(numbers: range, pem: bytes) -> bytes:
    """Requests with these numbers, each preceded by a line with its length."""
    private = load_pem_private_key(pem, password=None)
    assert isinstance(private, RSAPrivateKey)
    requests = []
    for number in numbers:
        body = (
            f"id=x{number}&recipient=someone{number % 1000}%40example.com&state=rcptto&code=550&extended=5.1.1"
            "&description=550+5.1.1+The+email+account+that+you+tried+to+reach+does+not+exist.&type=failure"
            "&action=failed&time=1790000000&timestamp=2026-09-21+10%3A13%3A20&tags=newsletter"
        ).encode()
        headers = headers_for(HOST, "/failures", body, "application/x-www-form-urlencoded", private=private)
        lines = [f"{name}: {value}" for name, value in headers.items()]
        raw = "\r\n".join(["POST /failures HTTP/1.1", *lines, "", ""]).encode() + body
        requests.append(b"%d\n%b" % (len(raw), raw))
    return b"".join(requests)


def load(port: int, requests: Path, start: int) -> tuple[float, int]:
    """Put load on a port: answers a second, errors."""
    done = subprocess.run(
        [
            *("taskset", "-c", "1", "wrk", "-t1", f"-c{CONNECTIONS}", f"-d{SECONDS}s", "-s", str(HERE / "signed.lua")),
            f"http://127.0.0.1:{port}/",
        ],
        env={**os.environ, "REQUESTS": str(requests), "START": str(start)},
        check=True,
        capture_output=True,
        text=True,
    )
    line = next(line for line in done.stdout.splitlines() if line.startswith("RESULT"))
    answered, microseconds, errors = map(int, line.split()[1:])
    return answered * 1e6 / microseconds, errors


def measure(folder: Path, name_server: NameServer) -> tuple[dict[str, list[float]], int]:
    """Run all rounds: rates by contestant, errors of all."""
    pem = key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with ProcessPoolExecutor(2) as pool:
        parts = [range(start, start + A_ROUND) for start in range(0, A_ROUND * (ROUNDS + 1), A_ROUND)]
        (folder / "requests").write_bytes(b"".join(pool.map(signed, parts, [pem] * len(parts))))
    rates: dict[str, list[float]] = {name: [] for name in CONTESTANTS}
    servers = []
    failed = 0
    try:
        for port, flags in enumerate(CONTESTANTS.values(), start=FIRST_PORT):
            command = [
                *("taskset", "-c", "0", sys.executable, "-m", "exporter", "serve", "--log.level", "error", *flags),
                *("--webhook.listen-address", f"127.0.0.1:{port}", "--web.listen-address", "127.0.0.1:0"),
                *("--storage.url", f"sqlite:///{folder}/{port}.db", "--signature.nameserver", name_server.address),
            ]
            servers.append(subprocess.Popen(command))
            while not answers(port):
                if servers[-1].poll() is not None:
                    sys.exit(f"bench: {' '.join(command)} ended with {servers[-1].returncode}")
        for turn in range(ROUNDS + 1):  # the first warms up
            for port, name in enumerate(CONTESTANTS, start=FIRST_PORT):
                rate, errors = load(port, folder / "requests", turn * A_ROUND)
                failed += errors
                if turn:
                    rates[name].append(rate)
        return rates, failed
    finally:
        for server in servers:
            server.terminate()
            server.wait()


def main() -> None:
    """Run all rounds and print."""
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix="bench-") as folder, NameServer() as name_server:
        name_server.records[KEY_ID] = [record(key())]
        rates, failed = measure(Path(folder), name_server)
    for name, each in rates.items():
        print(f"{name:20} {statistics.median(each):7,.0f}/s   rounds {' '.join(f'{rate:,.0f}' for rate in each)}")
    required, off = rates.values()
    print(f"required / off = {statistics.median(map(truediv, required, off)):.2f}; errors of both: {failed}")
    signature, public = key().sign(b"x", PKCS1v15(), SHA256()), key().public_key()
    seconds = timeit(lambda: public.verify(signature, b"x", PKCS1v15(), SHA256()), number=5_000) / 5_000
    print(f"the arithmetic of one RSA-2048 signature: {seconds * 1e6:.0f} µs")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()

"""Texts of clients in the log: whatever they contain, one event is one line, and its fields are those of the event."""

from collections import Counter
from pathlib import Path
from typing import Final
from urllib.parse import quote, urlencode

import pytest

from tests.support.log_lines import read_line
from tests.support.mutable_request import Request, body_of
from tests.support.mutations import name_server
from tests.support.running import Exporter, connect, exporter, failure, failures_of, read_to_end
from tests.support.signing import ACCOUNT, KEY_ID

FORGED: Final = "level=error msg=forged"
INJECTIONS: Final = (
    f"\nts=2026-01-01T00:00:00.000+00:00 {FORGED}",
    f"\r\n{FORGED}",
    f"\r{FORGED}",
    f"\u2028{FORGED}",
    f"\u2029{FORGED}",
    f"\x85{FORGED}",
    f"\x0b\x0c\x1c\x1d\x1e{FORGED}",
    f'" {FORGED} x="',
    f'\\" {FORGED} x="',
    f'\\\\" {FORGED}',
    f" {FORGED}",
    '", "msg": "forged", "x": "',
    "\x1b[2J\x1b[31mforged\x1b[0m",
    "\x9b31m\x07\x08\x7f",
    "\u202eforged\u202c\u2066\u200b\ufeff",
    "\0\x1a%s%n{0}$(id)${jndi:ldap://x}",
    "\ud800\udfff",
)
"""Texts that would start a new line, end a quoted value, or control a terminal."""
VARIABLES: Final = ("id", "recipient", "state", "code", "extended", "description", "tags", "type", "action")


def requests(text: str, number: int) -> list[bytes]:
    """Return requests with the text in each field that reaches the log."""
    raw = []
    for at, name in enumerate(VARIABLES):
        fields = failure(number + at)
        made = Request(fields | {name: fields.get(name, "") + text})
        made.body = body_of(made.content_type, made.fields)
        made.sign()
        raw.append(made.raw())
    for name in ("Host", "Date", "X-Copernica-ID", "Digest", "Signature", "Content-Type"):
        made = Request({}, body=urlencode(failure(number + 10)).encode())
        made.sign()
        made.set(name, made.get(name) + text)
        raw.append(made.raw())
        made.set(name, text)
        raw.append(made.raw())
    made = Request({}, body=b"x")
    made.sign(key_id=KEY_ID)
    made.set("Signature", made.get("Signature").replace(KEY_ID, f"{text}.copernica.com"))
    raw.append(made.raw())
    for target in (f"/failures{text}", f"/{quote(text, errors='replace')}", f"/failures?{text}", text):
        made = Request({}, target=target)
        made.headers = [("Host", "mail.example.com"), ("Content-Length", "0")]
        raw.append(made.raw())
    made = Request({}, method=f"POST{text}")
    made.headers = [("Host", "mail.example.com"), (f"X{text}", text), ("Content-Length", "0")]
    return [*raw, made.raw()]


def send(running: Exporter, raw: bytes) -> None:
    """Send a request as the only one of its connection, and wait for the end of the answer."""
    with connect(running.public) as sock:
        sock.sendall(raw.replace(b" HTTP/1.1\r\n", b" HTTP/1.1\r\nConnection: close\r\n", 1) + b"\r\n\r\n\r\n\r\n")
        read_to_end(sock)


@pytest.mark.parametrize("form", ["logfmt", "json"])
def test_no_text_of_a_client_changes_the_log(tmp_path: Path, form: str) -> None:
    """Each line parses as a whole, each request is one line, and texts of clients stay in the fields for them."""
    flags = (
        *("--signature.mode", "required", "--signature.account", ACCOUNT),
        *("--log.level", "debug", "--log.format", form),
    )
    with (
        name_server() as names,
        exporter(tmp_path, *flags, "--signature.nameserver", names.address) as running,
    ):
        for at, text in enumerate(INJECTIONS):
            for raw in requests(text, 100 * at):
                send(running, raw)
        samples = running.samples()
    lines = [read_line(line, as_json=form == "json") for line in running.lines]
    events = Counter(line["msg"] for line in lines)
    refused = sum(by for name, by in samples.items() if name.startswith("smtpeter_exporter_refused_total"))
    assert (events["refused"], events["counted"]) == (refused, sum(failures_of(samples).values()))
    assert {line["level"] for line in lines} == {"debug", "info", "warning"}
    written = {name for line in lines for name, text in line.items() if "forged" in text}
    assert written == {"id", "tags", "why"}, "the only fields with texts of clients"

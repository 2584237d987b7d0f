"""The slots of the phrases in ``reason_phrases``: a word in capitals matches each of its entries. Data only."""

from collections.abc import Mapping
from typing import Final

SLOTS: Final[Mapping[str, tuple[str, ...]]] = {
    "WHO": ("user", "recipient", "mailbox", "address", "account"),
    "BOX": ("user", "recipient", "mailbox", "account", "inbox"),
    "UNKNOWN": ("unknown", "not known", "not found", "not exist", "doesnt exist", "no longer", "invalid"),
    "OFF": ("disabled", "suspended", "inactive", "locked", "blocked", "deactivated", "closed", "frozen", "not active"),
    "EXCEEDS": ("exceed", "exceeds", "exceeded", "exceeding"),
    "BANNED": ("banned", "blocked", "prohibited", "forbidden", "restricted"),
    "MANY": ("too many", "maximum number of", "max number of", "limit on the number of", "limit for the number of"),
    "SENT": ("connection*", "concurrent", "simultaneous", "session*", "message*", "mail*", "email*", "recipients"),
    "MESSAGE": ("message", "mail", "email", "content"),
    "IP": (
        *("your ip", "sending ip", "sender ip", "client ip", "ip address"),
        *("ip adres", "ip adresse", "adresse ip", "indirizzo ip"),
    ),
    "REFUSED": (
        *("block*", "reject*", "refuse*", "denied", "not allowed", "not permitted", "listed", "banned"),
        *("gesperrt", "geblokkeerd", "bloqué*", "bloque", "refusé*", "bloccato"),
    ),
}

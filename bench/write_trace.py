"""Record with strace what an exporter writes to its ledger, what it flushes to disk, and when it answers 200."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from bench.disk import Create, DiskEvent, Remove, Sync, Truncate, Write
from deploy.demo.running import PROGRAM
from tests.support.running import until

_CALLS: Final = (
    *("open", "openat", "creat", "write", "writev", "pwrite64", "pwritev", "pwritev2", "ftruncate", "truncate"),
    *("fallocate", "copy_file_range", "fsync", "fdatasync", "unlink", "unlinkat", "rename", "renameat", "renameat2"),
    *("link", "linkat", "sendto", "sendmsg"),
)
_CALL: Final = re.compile(r"(\d+) +(\w+)\((.*)\) += (\d+)")
_BEGUN: Final = re.compile(r"(\d+) +((\w+)\((.*)) <unfinished \.\.\.>")
_RESUMED: Final = re.compile(r"(\d+) +<\.\.\. \w+ resumed>(.*)")
_HEX: Final = re.compile(r"(?:\\x[0-9a-f]{2})+")
_NUMBER: Final = re.compile(r", (\d+)(?=,|$)")
_CLIENT: Final = re.compile(r"\d+<TCP:\[[^\]]*->[^\]]*:(\d+)\]>")
_ANSWERED: Final = '"' + "".join(f"\\x{byte:02x}" for byte in b"HTTP/1.1 200 ")


class Answer(NamedTuple):
    """The answer 200 to the failure with this number."""

    number: int


Event = DiskEvent | Answer


def traced(trace: Path, program: Sequence[str] = PROGRAM) -> tuple[str, ...]:
    """Return the command that runs a program under strace. The process that it starts is that of the program."""
    options = ("-D", "-f", "-q", "-yy", "-xx", "-s", "1000000", "-e", f"trace={','.join(_CALLS)}")
    return ("strace", *options, "-o", str(trace), *program)


def read_trace(trace: Path, pid: int, directory: Path, sent: Mapping[int, Sequence[int]]) -> list[Event]:
    """Return the events of a process that has ended, with files in ``directory``, in order.

    ``sent`` has the numbers of the failures that each client sent and that were answered 200, in order, by its port.
    """
    until(lambda: _is_complete(trace, pid))
    answers = {port: iter(numbers) for port, numbers in sent.items()}
    with trace.open(encoding="ascii") as lines:
        return list(_events(_whole(lines), f"{directory}/", answers))


def _is_complete(trace: Path, pid: int) -> bool:
    """Return whether strace has written its last line about the process."""
    with trace.open("rb") as file:
        file.seek(max(0, trace.stat().st_size - 4_096))
        return re.search(rb"^%d +\+\+\+ (exited|killed)" % pid, file.read(), re.MULTILINE) is not None


def _whole(lines: Iterable[str]) -> Iterator[tuple[str, str, int]]:
    """Yield name, arguments and result of each call that succeeded.

    A call during which another thread made one is on two lines. An answer counts from its beginning, because the client
    may have it before the call returns. Everything else counts from its end.
    """
    begun: dict[str, str] = {}
    for line in lines:
        whole = line
        if found := _BEGUN.match(line):
            if _ANSWERED in line:
                yield found[3], found[4], 1
            else:
                begun[found[1]] = found[2]
            continue
        if found := _RESUMED.match(line):
            whole = f"{found[1]} {begun.pop(found[1], '')}{found[2]}"
        if found := _CALL.match(whole):
            yield found[2], found[3], int(found[4])


def _events(
    calls: Iterable[tuple[str, str, int]], directory: str, answers: Mapping[int, Iterator[int]]
) -> Iterator[Event]:
    for name, arguments, result in calls:
        if name.startswith("send"):
            client = _CLIENT.match(arguments)
            if client and _ANSWERED in arguments and int(client[1]) in answers:
                yield Answer(next(answers[int(client[1])]))
            continue
        texts = [bytes.fromhex(text.replace("\\x", "")) for text in _HEX.findall(arguments)]
        paths = [text.decode(errors="replace") for text in texts[:2]]
        path = next((path for path in paths if f"{path}/".startswith(directory)), None)
        if path and not path.endswith((".lock", "-shm")):  # a power cut may leave anything in these
            yield from _changes(name, path, arguments, texts[-1][:result])


def _changes(name: str, path: str, arguments: str, data: bytes) -> Iterator[DiskEvent]:
    numbers = [int(number) for number in _NUMBER.findall(arguments)]
    match name:
        case "openat" if "O_TRUNC" not in arguments:
            if "O_CREAT" in arguments:
                yield Create(path)
        case "pwrite64":
            yield Write(path, numbers[-1], data)
        case "ftruncate":
            yield Truncate(path, numbers[-1])
        case "fsync" | "fdatasync":
            yield Sync(path)
        case "unlink":
            yield Remove(path)
        case _:
            raise AssertionError(f"cannot model the call {name} on {path}")

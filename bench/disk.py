"""A disk with a write cache: what it may hold after a power cut."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from random import Random
from typing import Final, NamedTuple

SECTOR: Final = 512
"""Bytes that a disk writes as a whole."""


class Write(NamedTuple):
    """Data written to a file at an offset."""

    path: str
    offset: int
    data: bytes


class Truncate(NamedTuple):
    """A file cut or extended to a size."""

    path: str
    size: int


class Sync(NamedTuple):
    """The end of a flush of a file, or of the directory with its names."""

    path: str


class Create(NamedTuple):
    """An empty file, unless there is one with this name."""

    path: str


class Remove(NamedTuple):
    """A name that disappeared."""

    path: str


Change = Write | Truncate
DiskEvent = Change | Sync | Create | Remove


@dataclass
class _File:
    """The bytes of a file that are on the disk for sure, and the changes since its last flush."""

    kept: bytearray = field(default_factory=bytearray)
    pending: list[Change] = field(default_factory=list)

    def after(self, changes: Iterable[Change]) -> bytes:
        content = bytearray(self.kept)
        for change in changes:
            _apply(content, change)
        return bytes(content)

    def flush(self) -> None:
        for change in self.pending:
            _apply(self.kept, change)
        self.pending.clear()


def _apply(content: bytearray, change: Change) -> None:
    start = change.size if isinstance(change, Truncate) else change.offset
    content.extend(bytes(max(0, start - len(content))))
    if isinstance(change, Truncate):
        del content[start:]
    else:
        content[start : start + len(change.data)] = change.data


class Disk:
    """The files of one directory. Everything before the last flush of a file or of the directory is on the disk."""

    def __init__(self) -> None:
        self._files: dict[str, _File] = {}
        self._kept: dict[str, _File] = {}
        self._pending: list[tuple[str, _File | None]] = []

    def apply(self, event: DiskEvent) -> None:
        """Let an event take effect."""
        match event:
            case Create(path):
                if path not in self._files:
                    self._name(path, _File())
            case Remove(path):
                self._name(path, None)
            case Write(path) | Truncate(path):
                self._files[path].pending.append(event)
            case Sync(path) if path in self._files:
                self._files[path].flush()
            case Sync(_):
                for path, file in self._pending:
                    _set(self._kept, path, file)
                self._pending.clear()

    def contents(self) -> dict[str, bytes]:
        """Return the files as running programs see them."""
        return {path: file.after(file.pending) for path, file in self._files.items()}

    def pending(self, path: str) -> int:
        """Return the number of changes of a file since its last flush."""
        return len(self._files[path].pending) if path in self._files else 0

    def cut(self, chance: Random) -> dict[str, bytes]:
        """Return the files after a power cut.

        Any change since the last flush may be missing: whole writes, sectors of them, or names.
        """
        names = dict(self._kept)
        for path, file in self._pending:
            if chance.random() < 0.5:
                _set(names, path, file)
        survivors = chance.choice(_SURVIVORS)
        return {path: file.after(survivors(chance, file.pending)) for path, file in names.items()}

    def _name(self, path: str, file: _File | None) -> None:
        _set(self._files, path, file)
        self._pending.append((path, file))


def _set(names: dict[str, _File], path: str, file: _File | None) -> None:
    if file is None:
        names.pop(path, None)
    else:
        names[path] = file


def _none(_chance: Random, _changes: list[Change]) -> list[Change]:
    return []


def _all(_chance: Random, changes: list[Change]) -> list[Change]:
    return changes


def _some(chance: Random, changes: list[Change]) -> list[Change]:
    return [change for change in changes if chance.random() < 0.5]


def _first(chance: Random, changes: list[Change]) -> list[Change]:
    return changes[: chance.randrange(len(changes) + 1)]


def _last(chance: Random, changes: list[Change]) -> list[Change]:
    return changes[chance.randrange(len(changes) + 1) :]


def _sectors(chance: Random, changes: list[Change]) -> list[Change]:
    share = chance.choice((0.1, 0.5, 0.9))
    return [piece for change in changes for piece in _pieces(change) if chance.random() < share]


def _torn(chance: Random, changes: list[Change]) -> list[Change]:
    before = _first(chance, changes)
    return [*before[:-1], *(piece for change in before[-1:] for piece in _some(chance, _pieces(change)))]


def _pieces(change: Change) -> list[Change]:
    """Split a write at the borders of sectors."""
    if isinstance(change, Truncate):
        return [change]
    start = change.offset - change.offset % SECTOR
    borders = [change.offset, *range(start + SECTOR, change.offset + len(change.data), SECTOR)]
    ends = [*borders[1:], change.offset + len(change.data)]
    return [
        Write(change.path, at, change.data[at - change.offset : end - change.offset])
        for at, end in zip(borders, ends, strict=True)
    ]


_SURVIVORS: Final[tuple[Callable[[Random, list[Change]], list[Change]], ...]] = (
    *(_none, _all, _some, _first, _last, _sectors, _sectors, _torn),
)
"""Functions that choose the changes that reach the disk."""

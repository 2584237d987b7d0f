"""An exporter of the versions with schema 1 of the PostgreSQL ledger: the statements that they execute, word for word.

Never change them: exporters with these statements are running while others are upgraded.
"""

import json
import os
from collections.abc import Sequence
from typing import Final

import psycopg

from exporter.classification.series import Record, Series

CREATE: Final = """
    CREATE TABLE smtpeter_schema (version integer NOT NULL);
    INSERT INTO smtpeter_schema VALUES (1);
    CREATE TABLE smtpeter_identity (hash bytea PRIMARY KEY, day integer NOT NULL);
    CREATE INDEX smtpeter_identity_day ON smtpeter_identity (day);
    CREATE TABLE smtpeter_series (
        series text PRIMARY KEY,        -- JSON array: family, then label values
        held_since double precision     -- NULL: shown
    );
    CREATE TABLE smtpeter_total (
        series text NOT NULL,
        slot integer NOT NULL,
        count bigint NOT NULL,
        raised_at double precision NOT NULL,
        PRIMARY KEY (series, slot)
    ) WITH (fillfactor = 50);
    CREATE SEQUENCE smtpeter_slot MINVALUE 0 START 0;
"""
RECORD: Final = """
    WITH given AS (
        SELECT * FROM unnest(%(hashes)s::bytea[], %(kinds)s::integer[]) AS given (hash, kind)
    ), new AS (
        INSERT INTO smtpeter_identity (hash, day) SELECT hash, %(day)s::integer FROM given ORDER BY hash
        ON CONFLICT DO NOTHING RETURNING hash
    ), sums AS (
        SELECT series, count(*) AS count FROM new JOIN given USING (hash)
        JOIN unnest(%(kind_of)s::integer[], %(series)s::text[]) AS raised (kind, series) USING (kind) GROUP BY series
    ), born AS (
        INSERT INTO smtpeter_series (series, held_since)
        SELECT series, %(held_since)s::double precision FROM sums
        WHERE series = ANY(%(unknown)s::text[]) ORDER BY series
        ON CONFLICT DO NOTHING
    ), raised AS (
        INSERT INTO smtpeter_total AS total (series, slot, count, raised_at)
        SELECT series, %(slot)s::integer, count, %(now)s::double precision FROM sums ORDER BY series
        ON CONFLICT (series, slot) DO UPDATE
        SET count = total.count + excluded.count, raised_at = CASE
            WHEN total.raised_at > excluded.raised_at + %(ahead)s THEN excluded.raised_at
            ELSE greatest(total.raised_at, excluded.raised_at) END
    )
    SELECT hash FROM new"""
RELEASE: Final = """
    UPDATE smtpeter_series SET held_since = CASE WHEN held_since > %(now)s THEN %(now)s::double precision END
    WHERE held_since <= %(now)s::double precision - %(hold)s OR held_since > %(now)s"""
PRUNE: Final = """
    WITH dated AS (
        UPDATE smtpeter_identity SET day = %(today)s::integer WHERE hash IN (
            SELECT hash FROM smtpeter_identity WHERE day > %(today)s ORDER BY day DESC LIMIT %(slice)s
            FOR UPDATE SKIP LOCKED
        )
    )
    DELETE FROM smtpeter_identity WHERE hash IN (
        SELECT hash FROM smtpeter_identity WHERE day < %(first)s ORDER BY day LIMIT %(slice)s
        FOR UPDATE SKIP LOCKED
    )"""
STORE_CLOCK: Final = """
    INSERT INTO smtpeter_total (series, slot, count, raised_at)
    VALUES (%(clock)s, -1, %(at)s, 0), (%(clock)s, -2, %(even)s, 0)
    ON CONFLICT (series, slot) DO UPDATE SET count = excluded.count"""
TOTALS: Final = """
    SELECT series, sum(count)::bigint, bool_or(held_since IS NOT NULL),
        coalesce(max(raised_at) FILTER (WHERE raised_at <= %(latest)s), max(raised_at))
    FROM smtpeter_total LEFT JOIN smtpeter_series USING (series) WHERE slot >= 0 GROUP BY series"""
SIZE: Final = """
    SELECT pg_total_relation_size('smtpeter_identity') + pg_total_relation_size('smtpeter_total')
    + pg_total_relation_size('smtpeter_series')"""


class EarlierExporter:
    """The connection of a running exporter with schema 1, on the ledger at ``url``."""

    def __init__(self, url: str, slot: int = 0) -> None:
        self._connection = psycopg.connect(url, autocommit=True)
        self._slot = slot

    def record(self, batch: Sequence[Record], *, now: float) -> list[bool]:
        """Count the new failures of the batch, without holding series. Each of them increments the same series."""
        [series] = {record.series for record in batch}
        names = [json.dumps(one) for one in series]
        arguments = {
            "hashes": [record.identity for record in batch],
            "kinds": [0] * len(batch),
            "kind_of": [0] * len(names),
            "series": names,
            "unknown": names,
            "day": int(now // 86_400),
            "held_since": None,
            "slot": self._slot,
            "now": now,
            "ahead": 60.0,
        }
        new = {hash_ for (hash_,) in self._connection.execute(RECORD, arguments)}
        return [record.identity in new for record in batch]

    def maintain(self, *, now: float) -> int:
        """Do what it does once a minute: check, store the clock, release, prune. Return how many it pruned."""
        probe = os.urandom(16)
        with self._connection.transaction():
            self._connection.execute("INSERT INTO smtpeter_identity (hash, day) VALUES (%s, 0)", (probe,))
            self._connection.execute("DELETE FROM smtpeter_identity WHERE hash = %s", (probe,))
        self._connection.execute("SELECT 1 FROM smtpeter_schema")
        clock = {"clock": '["clock"]', "at": int(now), "even": 86_400}
        self._connection.execute(STORE_CLOCK, clock)
        self._connection.execute(RELEASE, {"now": now, "hold": 60.0})
        today = int(now // 86_400)
        return self._connection.execute(PRUNE, {"today": today, "first": today - 30, "slice": 2_000}).rowcount

    def totals(self, *, latest: float) -> dict[Series, int]:
        """Return all totals."""
        rows = self._connection.execute(TOTALS, {"latest": latest}).fetchall()
        return {tuple(json.loads(series)): count for series, count, _, _ in rows}

    def size(self) -> int:
        """Return the size on disk in bytes, without what it does not know."""
        [(size,)] = self._connection.execute(SIZE).fetchall()
        return int(size)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

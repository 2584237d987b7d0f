"""The SQL of a PostgreSQL ledger."""

import json
from typing import Final

# One statement means one round trip and one transaction. It locks rows in order, identities before totals, so that two
# exporters don't deadlock. It waits for an identity that another exporter is inserting, which is then no longer new.
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
# If the clock was set back, the hold restarts: a series is neither exposed too early nor held for long.
RELEASE: Final = """
    UPDATE smtpeter_series SET held_since = CASE WHEN held_since > %(now)s THEN %(now)s::double precision END
    WHERE held_since <= %(now)s::double precision - %(hold)s OR held_since > %(now)s"""
# A running exporter releases a series within a second after its hold. An older hold means that no exporter was running,
# so Prometheus may not have scraped the series.
RESTART_HOLDS: Final = """
    UPDATE smtpeter_series SET held_since = %(now)s
    WHERE held_since IS NOT NULL AND (%(first)s OR held_since <= %(now)s::double precision - %(hold)s)"""
# SKIP LOCKED: pruning never waits for another session. ORDER BY: the planner then uses the index on the day, whatever
# it believes about the days in the table.
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
# The state of the clock is in rows of this series, because earlier versions ignore a total of an unknown family.
CLOCK: Final = json.dumps(["clock"])
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

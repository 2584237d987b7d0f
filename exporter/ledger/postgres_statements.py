"""The SQL of a PostgreSQL ledger."""

import json
from typing import Final

# One statement means one round trip and one transaction. It locks rows in order, identities before deliveries before
# totals, so that two exporters don't deadlock. It waits for an identity that another exporter is inserting, which is
# then no longer new. Both inserts run even if one of them has no rows, which costs little. "b" sends the arrays in
# binary, because psycopg takes several times as long to write hashes as text.
RECORD: Final = """
    WITH given AS (
        SELECT * FROM unnest(%(hashes)b::bytea[], %(kinds)b::integer[], %(loops)b::smallint[], %(messages)b::bytea[])
        AS given (hash, kind, loop, message)
    ), identities AS (
        INSERT INTO smtpeter_identity (hash, day, loop, message)
        SELECT hash, %(day)s::integer, loop, message FROM given WHERE loop <> %(deliveries)s ORDER BY hash
        ON CONFLICT DO NOTHING RETURNING hash
    ), deliveries AS (
        INSERT INTO smtpeter_delivery (hash, day)
        SELECT hash, %(day)s::integer FROM given WHERE loop = %(deliveries)s ORDER BY hash
        ON CONFLICT DO NOTHING RETURNING hash
    ), new AS (
        SELECT hash FROM identities UNION ALL SELECT hash FROM deliveries
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
# it believes about the days in the table. By ctid, because each look at the key could read another page from the disk.
def _prune(table: str) -> str:
    return f"""
    WITH dated AS (
        UPDATE {table} SET day = %(today)s::integer WHERE ctid = ANY(ARRAY(
            SELECT ctid FROM {table} WHERE day > %(today)s ORDER BY day DESC LIMIT %(slice)s
            FOR UPDATE SKIP LOCKED
        ))
    )
    DELETE FROM {table} WHERE ctid = ANY(ARRAY(
        SELECT ctid FROM {table} WHERE day < %(first)s ORDER BY day LIMIT %(slice)s
        FOR UPDATE SKIP LOCKED
    ))"""  # noqa: S608 -- the name of a table


PRUNE: Final = _prune("smtpeter_identity")
PRUNE_DELIVERIES: Final = _prune("smtpeter_delivery")
BEGIN: Final = """
    INSERT INTO smtpeter_fact VALUES ('began', extract(epoch FROM clock_timestamp())) ON CONFLICT DO NOTHING"""
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
    SELECT sum(pg_total_relation_size(name::regclass))::bigint FROM unnest(ARRAY[
        'smtpeter_identity', 'smtpeter_delivery', 'smtpeter_total', 'smtpeter_series', 'smtpeter_reconciled'
    ]) AS name"""

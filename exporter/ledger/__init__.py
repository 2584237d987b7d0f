"""The ledger: stores which failures were counted, exactly once and permanently, in SQLite or PostgreSQL."""

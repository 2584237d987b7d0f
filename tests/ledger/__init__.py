"""Tests of ledgers on both engines."""

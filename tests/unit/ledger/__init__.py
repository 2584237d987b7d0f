"""Tests of exporter/ledger."""

"""Tests of exporter/classification."""

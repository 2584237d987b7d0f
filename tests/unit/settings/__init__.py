"""Tests of exporter/settings."""

"""Tests of ``exporter/returned/``."""

"""Tests of exporter/cli."""

"""Tests of exporter/simulator."""

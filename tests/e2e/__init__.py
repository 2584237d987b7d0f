"""Tests of the running exporter."""

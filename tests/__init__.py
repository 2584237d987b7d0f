"""Tests of smtpeter-exporter: facts about it, with real servers where users have real servers."""

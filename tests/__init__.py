"""Tests of smtpeter-exporter: facts about it, with real servers where users have real servers."""

import pytest

pytest.register_assert_rewrite("tests.support")  # so that a failed assertion there shows its values

"""The columns of SMTPeter's log files."""

from exporter.logfiles.records import COLUMNS, position


def test_failures_have_the_documented_columns() -> None:
    """CSV has no names, so the order matters."""
    assert ",".join(COLUMNS["failures"]) == (
        "id,time,envelope,recipient,attempt,from,to,type,code,status,description,state,tags,templateid"
    )


def test_each_log_file_has_id_and_recipient() -> None:
    """Records of different log files can be compared by message and recipient."""
    assert [prefix for prefix, names in COLUMNS.items() if not {"id", "recipient"} <= set(names)] == []
    assert sorted(COLUMNS) == ["abuses", "attempts", "bounces", "deliveries", "failures", "responses"]


def test_a_position_has_the_record_if_there_is_one() -> None:
    """Before the first record, it is only line and column."""
    assert (position(0, 1, 2), position(3, 4, 5)) == ("line 1, column 2", "record 3 (line 4, column 5)")

"""Read settings as ``serve`` does: any error is raised."""

from collections.abc import Mapping
from pathlib import Path

from exporter.errors import Findings
from exporter.settings.sources import Value, gather_values, parse_settings
from exporter.settings.table import Settings


def gathered(
    flags: Mapping[str, str | None] | None = None,
    environment: Mapping[str, str] | None = None,
    file: Path | None = None,
) -> dict[str, Value]:
    """Return the value of each setting. Raises SettingError."""
    findings = Findings()
    values = gather_values(flags or {}, environment or {}, file, findings)
    findings.raise_errors()
    return values


def parsed(values: Mapping[str, Value]) -> Settings:
    """Return the settings. Raises SettingError."""
    findings = Findings()
    settings = parse_settings(values, findings)
    findings.raise_errors()
    return settings

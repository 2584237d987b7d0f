"""Builders for each kind of panel, in one style, and the board that places them."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from grafana_foundation_sdk.builders import bargauge as bargauge_builder
from grafana_foundation_sdk.builders import common as common_builder
from grafana_foundation_sdk.builders import stat as stat_builder
from grafana_foundation_sdk.builders import table as table_builder
from grafana_foundation_sdk.builders import timeseries as timeseries_builder
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import common, dashboard, prometheus

WIDTH: Final = 24
COUNT: Final = "locale"
"""The unit of counts. It shows 12,345 where the unit "short" shows 12 K."""
DATASOURCE: Final = common.DataSourceRef(type_val="prometheus", uid="${datasource}")

MOST_BARS: Final = 100
"""The most bars in a graph, so that each stays visible in a long range or on a narrow screen."""
NO_FAILURES: Final = "No failures in this range"
ALL_REASONS: Final = "Shows all reasons, whatever is selected above."
"""Added to the description of panels that ignore the variable reason."""

Properties: TypeAlias = Mapping[str, Any]


class Query(NamedTuple):
    """A PromQL expression, and the legend of its series, in which ``{{label}}`` is the value of a label."""

    expression: str
    legend: str = ""


class Text(NamedTuple):
    """The texts of a panel: its title, its description, and the text shown when there is no data."""

    title: str
    description: str
    nothing: str


def fixed(color: str) -> dict[str, str]:
    """Return a color that does not depend on the value."""
    return {"mode": "fixed", "fixedColor": color}


def link(title: str, url: str) -> dict[str, Any]:
    """Return a link on a value."""
    return {"title": title, "url": url, "targetBlank": True}


def docs_link(docs: str, title: str, page: str) -> dict[str, Any]:
    """Return properties with a link to a page of the documentation; none if its URL ``docs`` is empty."""
    return {"links": [link(title, f"${{docs}}/{page}")]} if docs else {}


def override(name: str, properties: Properties) -> dashboard.DashboardFieldConfigSourceOverrides:
    """Return an override for the series or column ``name``; ``/…/`` is a regular expression."""
    kind = "byRegexp" if name.startswith("/") else "byName"
    return dashboard.DashboardFieldConfigSourceOverrides(
        matcher=dashboard.MatcherConfig(id_val=kind, options=name),
        properties=[dashboard.DynamicConfigValue(id_val=key, value=value) for key, value in properties.items()],
    )


def steps(first: str, *others: tuple[float, str]) -> dashboard.ThresholdsConfig:
    """Return colors by value: ``first``, then each of the others from its value upwards."""
    found = [dashboard.Threshold(value=None, color=first)]
    found += [dashboard.Threshold(value=value, color=color) for value, color in others]
    return dashboard.ThresholdsConfig(mode=dashboard.ThresholdsMode.ABSOLUTE, steps=found)


def stat(  # noqa: PLR0913 -- by name
    text: Text,
    *queries: Query,
    unit: str = COUNT,
    decimals: int = 0,
    colors: dashboard.ThresholdsConfig | None = None,
    mode: Literal["auto", "name", "value_and_name"] = "auto",
    size: int | None = None,
    background: bool = False,
    stacked: bool = False,
    overrides: Mapping[str, Properties] | None = None,
) -> dashboard.Panel:
    """Return a panel with one number or word per series, at the end of the range; side by side unless ``stacked``."""
    color_mode = common.BigValueColorMode.BACKGROUND_SOLID if background else common.BigValueColorMode.VALUE
    builder = (
        stat_builder.Panel()
        .reduce_options(common_builder.ReduceDataOptions().calcs(["lastNotNull"]))
        .graph_mode(common.BigValueGraphMode.NONE)
        .color_mode(color_mode)
        .text_mode(common.BigValueTextMode(mode))
        .orientation(common.VizOrientation.HORIZONTAL if stacked else common.VizOrientation.AUTO)
    )
    if size:
        builder = builder.text(common_builder.VizTextDisplayOptions().value_size(size))
    panel = _panel(builder, text, queries, unit=unit, overrides=overrides, instant=True)
    defaults = _defaults(panel)
    defaults.decimals = decimals
    defaults.thresholds = colors or steps("text")
    defaults.color = dashboard.FieldColor(mode=dashboard.FieldColorModeId.THRESHOLDS)
    return panel


def levels(text: Text, *queries: Query, unit: str = COUNT, color: str = "blue") -> dashboard.Panel:
    """Return a panel with one horizontal bar per query, in their order, at the end of the range."""
    builder = (
        bargauge_builder.Panel()
        .reduce_options(common_builder.ReduceDataOptions().calcs(["lastNotNull"]))
        .orientation(common.VizOrientation.HORIZONTAL)
        .display_mode(common.BarGaugeDisplayMode.BASIC)
        .name_placement(common.BarGaugeNamePlacement.LEFT)
        .text(common_builder.VizTextDisplayOptions().title_size(13).value_size(15))
        .legend(common_builder.VizLegendOptions().show_legend(False).display_mode(common.LegendDisplayMode.HIDDEN))
    )
    panel = _panel(builder, text, queries, unit=unit, instant=True)
    defaults = _defaults(panel)
    defaults.decimals, defaults.min_val = 0, 0
    defaults.thresholds = steps(color)
    defaults.color = dashboard.FieldColor(mode=dashboard.FieldColorModeId.THRESHOLDS)
    return panel


def bars(
    text: Text,
    *queries: Query,
    stacked: bool = True,
    totals: bool = True,
    overrides: Mapping[str, Properties] | None = None,
) -> dashboard.Panel:
    """Return a graph of counts. A bar is the number of events between two points, so that one event shows as 1."""
    builder = _series(legend=["sum"] if totals else [])
    builder = builder.draw_style(common.GraphDrawStyle.BARS).bar_alignment(common.BarAlignment.BEFORE)
    builder = builder.fill_opacity(80).line_width(0).bar_width_factor(0.9)
    if stacked:
        builder = builder.stacking(common_builder.StackingConfig().mode(common.StackingMode.NORMAL).group("A"))
    # Without this, a single failure would fill the axis, and a tick would say 0.5.
    builder = builder.axis_soft_max(4)
    panel = _panel(builder, text, queries, unit=COUNT, overrides=overrides, interval="5m")
    panel.max_data_points = MOST_BARS
    return panel


def lines(
    text: Text,
    *queries: Query,
    unit: str = COUNT,
    at_least: float | None = None,
    overrides: Mapping[str, Properties] | None = None,
    interval: str = "1m",
) -> dashboard.Panel:
    """Return a graph of levels. The axis reaches up to ``at_least`` or further."""
    builder = _series(legend=["lastNotNull"]).draw_style(common.GraphDrawStyle.LINE)
    builder = builder.line_width(2).fill_opacity(8).show_points(common.VisibilityMode.AUTO)
    if at_least is not None:
        builder = builder.axis_soft_max(at_least)
    return _panel(builder, text, queries, unit=unit, overrides=overrides, interval=interval)


def table(
    text: Text, *queries: Query, columns: Mapping[str, str], sort: str, overrides: Mapping[str, Properties]
) -> dashboard.Panel:
    """Return a table at the end of the range, in which the queries are joined by their labels.

    ``columns`` maps fields to headings, in order. The value of the first query is the field ``Value #A``, and so on. It
    is ``Value`` if no other query returns data.
    """
    builder = (
        table_builder.Panel()
        .cell_height(common.TableCellHeight.SM)
        .sort_by([common_builder.TableSortByFieldState().display_name(sort).desc(True)])
        .align(common.FieldTextAlignment.AUTO)
        .cell_options(common.TableAutoCellOptions())
        .filterable(True)
    )
    panel = _panel(builder, text, queries, unit=COUNT, overrides=overrides, instant=True, as_table=True)
    _defaults(panel).decimals = 0
    order: dict[str, object] = {name: place for place, name in enumerate(columns)}
    rename = {**columns, "Value": columns["Value #A"]}
    panel.transformations = [
        dashboard.DataTransformerConfig(id_val="merge", options={}),
        dashboard.DataTransformerConfig(
            id_val="organize", options={"excludeByName": {"Time": True}, "indexByName": order, "renameByName": rename}
        ),
    ]
    return panel


def _series(*, legend: Sequence[str]) -> timeseries_builder.Panel:
    return (
        timeseries_builder.Panel()
        .legend(
            common_builder.VizLegendOptions()
            .show_legend(True)
            .display_mode(common.LegendDisplayMode.LIST)
            .placement(common.LegendPlacement.BOTTOM)
            .calcs(list(legend))
        )
        .tooltip(
            common_builder.VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI).sort(common.SortOrder.DESCENDING)
        )
        .axis_soft_min(0)
    )


def _panel(  # noqa: PLR0913 -- by name
    builder: Builder[dashboard.Panel],
    text: Text,
    queries: Sequence[Query],
    *,
    unit: str,
    overrides: Mapping[str, Properties] | None = None,
    interval: str = "1m",
    instant: bool = False,
    as_table: bool = False,
) -> dashboard.Panel:
    panel = builder.build()
    panel.title, panel.description = text.title, text.description
    panel.datasource = DATASOURCE
    panel.interval = interval
    panel.targets = [
        prometheus.Dataquery(
            ref_id=ref,
            datasource=DATASOURCE,
            expr=query.expression,
            legend_format=query.legend or "__auto",
            instant=instant,
            range_val=not instant,
            format_val=prometheus.PromQueryFormat.TABLE if as_table else prometheus.PromQueryFormat.TIME_SERIES,
        )
        for ref, query in zip("ABCDEFGHIJ", queries, strict=False)
    ]
    defaults = _defaults(panel)
    defaults.unit, defaults.no_value = unit, text.nothing
    assert panel.field_config is not None
    panel.field_config.overrides = [
        override(name, properties) for name, properties in (overrides or {}).items() if properties
    ]
    return panel


def _defaults(panel: dashboard.Panel) -> dashboard.FieldConfig:
    panel.field_config = panel.field_config or dashboard.FieldConfigSource()
    return panel.field_config.defaults


class Board:
    """A board that places panels from left to right and from top to bottom, and numbers them."""

    def __init__(self) -> None:
        self.panels: list[dashboard.Panel | dashboard.RowPanel] = []
        self._number = self._y = 0

    def line(self, height: int, *panels: tuple[int, dashboard.Panel]) -> None:
        """Add a line of panels, each with its width. Raises ValueError if they do not fill the line."""
        self.panels += self._placed(height, panels)

    def row(self, title: str) -> None:
        """Add a row title."""
        self.panels.append(self._heading(title))

    def folded(self, title: str, height: int, *panels: tuple[int, dashboard.Panel]) -> None:
        """Add a collapsed row with one line of panels."""
        heading = self._heading(title)
        heading.collapsed = True
        heading.panels = self._placed(height, panels)
        self.panels.append(heading)

    def _heading(self, title: str) -> dashboard.RowPanel:
        place = dashboard.GridPos(x=0, y=self._y, w=WIDTH, h=1)
        self._y += 1
        return dashboard.RowPanel(title=title, id_val=self._next(), grid_pos=place, collapsed=False, panels=[])

    def _placed(self, height: int, panels: Sequence[tuple[int, dashboard.Panel]]) -> list[dashboard.Panel]:
        x = 0
        for width, panel in panels:
            panel.id_val = self._next()
            panel.grid_pos = dashboard.GridPos(x=x, y=self._y, w=width, h=height)
            x += width
        if x != WIDTH:
            raise ValueError(f"the line that starts with {panels[0][1].title!r} is {x} wide, expected {WIDTH}")
        self._y += height
        return [panel for _, panel in panels]

    def _next(self) -> int:
        self._number += 1
        return self._number

"""Panels of each kind in one manner, and where they stand."""

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
"""The unit of what is counted: 12,345 where "short" says 12 K."""
DATASOURCE: Final = common.DataSourceRef(type_val="prometheus", uid="${datasource}")

MOST_BARS: Final = 100
"""So that each is still broad enough to be seen when the range is long, or the screen narrow."""
NO_FAILURES: Final = "No failures in this range"
ALL_REASONS: Final = "Of all reasons, whatever is chosen above."
"""What several panels say."""

Properties: TypeAlias = Mapping[str, Any]


class Query(NamedTuple):
    """What is asked, and how its series are called; ``{{label}}`` stands for a label's value."""

    expression: str
    legend: str = ""


class Text(NamedTuple):
    """What is said about a panel: its title, what it answers, and what stands there when there is nothing to show."""

    title: str
    description: str
    nothing: str


def fixed(color: str) -> dict[str, str]:
    """One colour, whatever the value."""
    return {"mode": "fixed", "fixedColor": color}


def link(title: str, url: str) -> dict[str, Any]:
    """A link on a value."""
    return {"title": title, "url": url, "targetBlank": True}


def docs_link(docs: str, title: str, page: str) -> dict[str, Any]:
    """Properties with a link to a page of the documentation, or none when ``docs``, its URL, is empty."""
    return {"links": [link(title, f"${{docs}}/{page}")]} if docs else {}


def override(name: str, properties: Properties) -> dashboard.DashboardFieldConfigSourceOverrides:
    """Properties of the series or column of that name; ``/…/`` is a regular expression."""
    kind = "byRegexp" if name.startswith("/") else "byName"
    return dashboard.DashboardFieldConfigSourceOverrides(
        matcher=dashboard.MatcherConfig(id_val=kind, options=name),
        properties=[dashboard.DynamicConfigValue(id_val=key, value=value) for key, value in properties.items()],
    )


def steps(first: str, *others: tuple[float, str]) -> dashboard.ThresholdsConfig:
    """Colours by value: the first, and each other from its value on."""
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
    """Numbers or words as of the end of the range: one for each series, side by side unless ``stacked``."""
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
    """Horizontal bars as of the end of the range, one for each query, in their order."""
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
    """Counts over time: a bar stands for what came between one point and the next, so that a single one is seen."""
    builder = _series(legend=["sum"] if totals else [])
    builder = builder.draw_style(common.GraphDrawStyle.BARS).bar_alignment(common.BarAlignment.BEFORE)
    builder = builder.fill_opacity(80).line_width(0).bar_width_factor(0.9)
    if stacked:
        builder = builder.stacking(common_builder.StackingConfig().mode(common.StackingMode.NORMAL).group("A"))
    # Of few failures each is seen as 1, not as all that there is; and no tick says 0.5.
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
    """Levels over time; ``at_least`` is how far up the axis reaches."""
    builder = _series(legend=["lastNotNull"]).draw_style(common.GraphDrawStyle.LINE)
    builder = builder.line_width(2).fill_opacity(8).show_points(common.VisibilityMode.AUTO)
    if at_least is not None:
        builder = builder.axis_soft_max(at_least)
    return _panel(builder, text, queries, unit=unit, overrides=overrides, interval=interval)


def table(
    text: Text, *queries: Query, columns: Mapping[str, str], sort: str, overrides: Mapping[str, Properties]
) -> dashboard.Panel:
    """A table as of the end of the range, the queries joined by their labels; ``columns``: field to heading, in order.

    The value of a query is the field ``Value #A`` and so on, or ``Value`` when no other query brings anything.
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
    """Takes panels from left to right and from top to bottom, and numbers them."""

    def __init__(self) -> None:
        self.panels: list[dashboard.Panel | dashboard.RowPanel] = []
        self._number = self._y = 0

    def line(self, height: int, *panels: tuple[int, dashboard.Panel]) -> None:
        """One line of panels, each with its width; together they fill it."""
        self.panels += self._placed(height, panels)

    def row(self, title: str) -> None:
        """A heading."""
        self.panels.append(self._heading(title))

    def folded(self, title: str, height: int, *panels: tuple[int, dashboard.Panel]) -> None:
        """A heading with a line of panels below it, which is shut at first."""
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
            raise ValueError(f"the line with {panels[0][1].title} is {x} wide")
        self._y += height
        return [panel for _, panel in panels]

    def _next(self) -> int:
        self._number += 1
        return self._number

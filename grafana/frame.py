"""The frame that both dashboards share: variables, links, annotations, time range."""

from collections.abc import Sequence
from typing import Final

from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.models import dashboard
from panels import DATASOURCE, Board
from queries import JOB, only, own

TAG: Final = "smtpeter"

Variable = builders.QueryVariable | builders.DatasourceVariable | builders.ConstantVariable


def framed(
    name: str, description: str, board: Board, *, docs: str, variables: Sequence[Variable] = ()
) -> dashboard.Dashboard:
    """Return the whole dashboard.

    ``docs`` is the URL of the directory docs/, or empty. ``variables`` come after the job.
    """
    pages = {"Reasons": "reasons/README.md", "Runbooks": "runbooks/README.md"} if docs else {}
    builder = (
        builders.Dashboard(f"SMTPeter / {name}")
        .uid(f"smtpeter-{name.lower()}")
        .description(description)
        .tags([TAG])
        .readonly()
        .timezone("browser")
        .time("now-6h", "now")
        .refresh("1m")
        .tooltip(dashboard.DashboardCursorSync.CROSSHAIR)
        .variables([_datasource(), _job(), *variables, *([_docs(docs)] if docs else [])])
        .annotations([_alerts(), _restarts()])
        .links([_link_to_dashboards(), *(_link(title, page) for title, page in pages.items())])
    )
    built = builder.build()
    built.panels = board.panels
    return built


def choice(name: str, label: str, series: str, description: str) -> builders.QueryVariable:
    """Return a variable for the values of the label ``name``. Several can be selected; all are at first."""
    query = f"label_values({series}, {name})"
    return (
        builders.QueryVariable(name)
        .label(label)
        .description(description)
        .datasource(DATASOURCE)
        .query({"query": query, "refId": name})
        .refresh(dashboard.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(dashboard.VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        # A regular expression, because a list of current values would hide an exporter that is down.
        .all_value(".+")
        .current(dashboard.VariableOption(selected=True, text=["All"], value=["$__all"]))
    )


def _datasource() -> builders.DatasourceVariable:
    variable = builders.DatasourceVariable("datasource").label("Data source").type("prometheus")
    return variable.description("The Prometheus that scrapes the exporters and evaluates the recording rules.")


def _job() -> builders.QueryVariable:
    text = "The scrape job of the exporter. An account with its own ledger has its own job."
    return choice("job", "Job", "smtpeter_exporter_build_info", text)


def _docs(base: str) -> builders.ConstantVariable:
    variable = builders.ConstantVariable("docs").label("Documentation").value(base)
    return variable.description("URL of the project's directory docs/, for links to the documentation.")


def _alerts() -> builders.AnnotationQuery:
    return (
        builders.AnnotationQuery()
        .name("Alerts")
        .datasource(DATASOURCE)
        .enable(True)
        .icon_color("red")
        .expr(only("ALERTS", f'alertname=~"SMTPeter.*",alertstate="firing",{JOB}'))
        .step("1m")
        .title_format("{{alertname}} {{reason}}")
        .text_format("{{severity}} {{job}} {{extended}} {{instance}}")
        .tag_keys("severity")
    )


def _restarts() -> builders.AnnotationQuery:
    return (
        builders.AnnotationQuery()
        .name("Restarts")
        .datasource(DATASOURCE)
        .enable(True)
        .icon_color("blue")
        # Marks the times when the process was younger than two minutes.
        .expr(f"count by (job, instance) ({own('process_start_time_seconds')} > time() - 120)")
        .step("1m")
        .title_format("Exporter started")
        .text_format("{{job}} {{instance}}")
    )


def _link_to_dashboards() -> builders.DashboardLink:
    link = builders.DashboardLink("SMTPeter").type(dashboard.DashboardLinkType.DASHBOARDS).tags([TAG])
    return link.tooltip("The other dashboard, with the same range and selection").keep_time(True).include_vars(True)


def _link(title: str, page: str) -> builders.DashboardLink:
    link = builders.DashboardLink(title).type(dashboard.DashboardLinkType.LINK).url(f"${{docs}}/{page}")
    return link.icon("doc").tooltip(f"{title}, in the documentation").target_blank(True)

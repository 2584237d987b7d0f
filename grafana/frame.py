"""What both dashboards have around their panels: variables, links, annotations, range."""

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
    """The whole dashboard. ``docs`` is the URL of the folder docs/, or empty; further variables stand after the job."""
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
    """A variable with the values of a label of a series, all of them at first, any number to choose."""
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
        # Not the list of all that answer now: an exporter that is down is to be seen, too.
        .all_value(".+")
        .current(dashboard.VariableOption(selected=True, text=["All"], value=["$__all"]))
    )


def _datasource() -> builders.DatasourceVariable:
    variable = builders.DatasourceVariable("datasource").label("Data source").type("prometheus")
    return variable.description("The Prometheus that scrapes the exporters and has the recording rules.")


def _job() -> builders.QueryVariable:
    return choice("job", "Job", "smtpeter_exporter_build_info", "The accounts: each ledger has a job of its own.")


def _docs(base: str) -> builders.ConstantVariable:
    variable = builders.ConstantVariable("docs").label("Documentation").value(base)
    return variable.description("Where the folder docs/ of the project is read; links lead there.")


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
        # A mark stands where the process is younger than two minutes.
        .expr(f"count by (job, instance) ({own('process_start_time_seconds')} > time() - 120)")
        .step("1m")
        .title_format("Exporter started")
        .text_format("{{job}} {{instance}}")
    )


def _link_to_dashboards() -> builders.DashboardLink:
    link = builders.DashboardLink("SMTPeter").type(dashboard.DashboardLinkType.DASHBOARDS).tags([TAG])
    return link.tooltip("The other dashboard, with the same range and choices").keep_time(True).include_vars(True)


def _link(title: str, page: str) -> builders.DashboardLink:
    link = builders.DashboardLink(title).type(dashboard.DashboardLinkType.LINK).url(f"${{docs}}/{page}")
    return link.icon("doc").tooltip(f"{title}: the documentation").target_blank(True)

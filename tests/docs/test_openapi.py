"""docs/openapi.yaml and the public listener agree: each answer is documented, and each documented request works."""

from collections.abc import Callable, Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

import falcon.inspect
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Err
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    positive_data_acceptance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from exporter.classification.classifier import Classifier
from exporter.classification.labels import LabelSets
from exporter.classification.loops import LOOPS
from exporter.classification.providers import Providers
from exporter.metrics.telemetry import Telemetry
from exporter.refusals import REFUSAL_REASONS
from exporter.webhook.app import public_app
from exporter.webhook.endpoint import Endpoint
from exporter.webhook.verification_files import VerificationFiles
from tests.support.guarded import guarded_exporter
from tests.support.running import Exporter, exporter, failure
from tests.support.tree import ROOT

SCHEMA: Final = schemathesis.openapi.from_path(ROOT / "docs/openapi.yaml")
OPERATIONS: Final[dict[str, Any]] = {
    found.ok().label: found.ok() for found in SCHEMA.get_all_operations() if not isinstance(found, Err)
}
CHECKS: Final = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
MODES: Final = {"as documented": GenerationMode.POSITIVE, "otherwise": GenerationMode.NEGATIVE}
FILE: Final = b"abcde\r\n\n"

Asked = list[tuple[str | None, int]]
"""For each request, its content type and the status of the answer."""


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with one verification file."""
    path = tmp_path_factory.mktemp("verification")
    (path / "smtpeter-abcde.txt").write_bytes(FILE)
    return path


@pytest.fixture(scope="module")
def trusting(tmp_path_factory: pytest.TempPathFactory, directory: Path) -> Iterator[Exporter]:
    """Yield an exporter that serves all loops and accepts unsigned reports."""
    flags = ("--webhook.verification-dir", str(directory), "--webhook.loops", ",".join(LOOPS))
    with exporter(tmp_path_factory.mktemp("trusting"), *flags) as running:
        yield running


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory, directory: Path) -> Iterator[Exporter]:
    """Yield an exporter that serves only failures and requires signatures."""
    flags = ("--webhook.verification-dir", str(directory))
    with guarded_exporter(tmp_path_factory.mktemp("guarded"), *flags) as guarded:
        yield guarded.running


def ask(running: Exporter, label: str, mode: GenerationMode, checks: list[Callable[..., Any]], examples: int) -> Asked:
    """Send requests that hypothesis generates for an operation, the same each time, and check each answer."""
    asked: Asked = []

    @settings(
        derandomize=True,
        database=None,
        deadline=None,
        max_examples=examples,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=OPERATIONS[label].as_strategy(generation_mode=mode))
    def run(case: Case[Any]) -> None:
        answer = case.call_and_validate(base_url=f"http://{running.public}", checks=checks)
        asked.append((case.media_type, answer.status_code))

    run()
    return asked


def test_the_document_is_valid() -> None:
    """The document conforms to OpenAPI 3.1."""
    SCHEMA.validate()


def test_paths_are_the_routes(directory: Path) -> None:
    """Each route and method of the application is documented, and no other."""
    classifier, telemetry = Classifier(LabelSets(), Providers({}), ()), Telemetry()
    unused: Any = None  # only the routes matter
    endpoints = [Endpoint(loop, None, classifier, telemetry, unused) for loop in LOOPS.values()]
    app = public_app(endpoints, unused, telemetry, prefix="", files=VerificationFiles(directory))
    routed: Any = app._app
    routes = {
        f"{method.method} {route.path}"
        for route in falcon.inspect.inspect_routes(routed)
        for method in route.methods
        if not method.internal and method.method != "OPTIONS"  # which is rejected
    }
    assert routes == {label.replace("smtpeter-{token}.txt", "{name:file}") for label in OPERATIONS}


def test_reasons_are_documented() -> None:
    """The documented reasons are those of the counter, in the same order."""
    documented = SCHEMA.raw_schema["components"]["schemas"]["Reason"]["enum"]
    assert documented == [f"{reason}\n" for reason in REFUSAL_REASONS]


def test_the_words_of_a_200_are_documented(trusting: Exporter) -> None:
    """A new failure and a repeated one get the documented bodies, in this order; schemathesis checks no plain text."""
    documented = SCHEMA.raw_schema["components"]["responses"]["Counted"]["content"]["text/plain"]["schema"]
    answers = [trusting.post(failure(1)) for _ in documented["enum"]]
    assert [(answer.status, answer.text) for answer in answers] == [(200, body) for body in documented["enum"]]


@pytest.mark.parametrize("label", OPERATIONS)
@pytest.mark.parametrize("mode", MODES.values(), ids=MODES)
def test_without_signatures(trusting: Exporter, label: str, mode: GenerationMode) -> None:
    """Each answer is documented, and each report that follows the documentation is counted."""
    wanted = label.startswith("POST") and mode is GenerationMode.POSITIVE
    asked = ask(trusting, label, mode, [*CHECKS, positive_data_acceptance] if wanted else CHECKS, 60)
    assert len(asked) >= 20
    if wanted:
        path = label.removeprefix("POST ")
        kinds = SCHEMA.raw_schema["paths"][path]["post"]["requestBody"]["content"]
        assert set(asked) == {(kind, HTTPStatus.OK) for kind in kinds}


@pytest.mark.parametrize("mode", MODES.values(), ids=MODES)
@pytest.mark.parametrize("loop", LOOPS)
def test_with_signatures(guarded: Exporter, loop: str, mode: GenerationMode) -> None:
    """A report without a signature is answered 403, or 404 if its loop is not served, and none is counted."""
    asked = ask(guarded, f"POST /{loop}", mode, CHECKS, 60)
    assert len(asked) >= 20
    assert {status for _, status in asked} == {HTTPStatus.FORBIDDEN if loop == "failures" else HTTPStatus.NOT_FOUND}
    accepted = {name: by for name, by in guarded.samples().items() if "_accepted_total" in name}
    assert accepted == {'smtpeter_exporter_accepted_total{loop="failures"}': 0.0}


@pytest.mark.parametrize("label", [label for label in OPERATIONS if "token" in label])
def test_a_verification_file(guarded: Exporter, label: str) -> None:
    """An existing file is served as documented, without a signature."""
    case = OPERATIONS[label].Case(path_parameters={"token": "abcde"})
    answer = case.call_and_validate(base_url=f"http://{guarded.public}", checks=CHECKS)
    assert (answer.status_code, answer.content) == (200, FILE if label.startswith("GET") else b"")

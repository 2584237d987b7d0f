"""The manifests of deploy/kubernetes: valid, restricted, and consistent with each other, the exporter and the page."""

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import pytest
import yaml
from jsonschema import Draft202012Validator
from kubernetes_validate.utils import ValidationError, validate

from exporter.classification.loops import LOOPS
from exporter.errors import SettingError
from exporter.ledger.url import PostgresUrl
from exporter.settings.table import SETTINGS, Settings
from tests.support.kubernetes import (
    BUILDS,
    EXPORTERS,
    LEDGER_COPY,
    PAGE,
    PODS,
    Object,
    Objects,
    build,
    probes,
    selects,
    shown,
)
from tests.support.kubernetes.restricted import violations
from tests.support.settings import gathered, parsed
from tests.support.tree import ROOT

VERSIONS: Final = ("1.30", "1.37")
"""The oldest and the newest version of Kubernetes that the manifests support."""
CUSTOM: Final = {
    kind: Draft202012Validator(json.loads((ROOT / f"tests/support/kubernetes/{kind}.json").read_text()))
    for kind in ("PrometheusRule", "ServiceMonitor")
}
PROMETHEUS: Final = ROOT / "deploy/prometheus"


def errors(manifest: Object, version: str) -> Iterator[str]:
    """Yield what the API of a version would reject, including unknown fields."""
    if validator := CUSTOM.get(manifest["kind"]):
        yield from (error.message for error in validator.iter_errors(manifest))
        return
    try:
        validate(manifest, version, strict=True)
    except ValidationError as error:
        yield error.message


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", [*BUILDS, LEDGER_COPY])
def test_the_api_accepts_the_manifests(name: str, version: str) -> None:
    """Each object matches the schema of its kind and has no unknown fields."""
    objects = build(name)
    assert objects
    assert [f"{each['kind']}: {error}" for each in objects for error in errors(each, version)] == []


@pytest.mark.parametrize(
    ("name", "kind", "change", "error"),
    [
        ("base", "StatefulSet", lambda made: made["spec"].update(replica=1), "('replica' was unexpected)"),
        ("base", "Service", lambda made: made["spec"]["ports"][0].pop("port"), "'port' is a required property"),
        ("postgresql", "Deployment", lambda made: made["spec"].update(replicas="3"), "'3' is not of type 'integer'"),
        ("monitoring", "ServiceMonitor", lambda made: made["spec"].update(joblabel="x"), "('joblabel' was unexpected)"),
        (
            "monitoring",
            "PrometheusRule",
            lambda each: each["spec"]["groups"][0].update(interval="2 m"),
            "does not match",
        ),
    ],
)
def test_schemas_find_mistakes(name: str, kind: str, change: Callable[[Object], None], error: str) -> None:
    """An unknown field, a missing field and a wrong type are found, so the test above can fail."""
    manifest = next(each for each in build(name) if each["kind"] == kind)
    change(manifest)
    assert [found for found in errors(manifest, VERSIONS[0]) if error in found] != []


def test_the_page_names_the_versions() -> None:
    """The page names the oldest supported version, and the versions whose schemas the tests use."""
    text = " ".join(PAGE.split())
    oldest, newest = VERSIONS
    assert re.search(rf"Kubernetes .*\b{re.escape(oldest)} or later", text)
    assert f"Kubernetes {oldest} and {newest} " in text


# The Pod Security Standard "restricted"


@pytest.mark.parametrize("name", PODS)
def test_pods_are_restricted(name: str) -> None:
    """Pods break no rule of the standard. They also have a numeric user, a read-only root and a limit of memory."""
    objects = build(name)
    pod, container = objects.pod["spec"], objects.container
    assert list(violations(pod)) == []
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsUser"] > 0
    assert pod["securityContext"]["runAsGroup"] > 0
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert set(container["resources"]["limits"]) == {"memory"}
    assert set(container["resources"]["requests"]) == {"cpu", "memory"}


@pytest.mark.parametrize("name", EXPORTERS)
def test_the_account_has_no_token(name: str) -> None:
    """The pods run under their own service account, which has no token."""
    objects = build(name)
    account = objects.one("ServiceAccount", objects.pod["spec"]["serviceAccountName"])
    assert account["automountServiceAccountToken"] is False


def _context(**fields: Any) -> Callable[[Object], None]:
    return lambda pod: pod["containers"][0]["securityContext"].update(fields)


@pytest.mark.parametrize(
    ("change", "broken"),
    [
        (lambda pod: pod.update(hostNetwork=True), "hostNetwork"),
        (lambda pod: pod.update(hostPID=True), "hostPID"),
        (lambda pod: pod.update(hostIPC=True), "hostIPC"),
        (lambda pod: pod["volumes"].append({"name": "disk", "hostPath": {"path": "/"}}), "volumes"),
        (lambda pod: pod["securityContext"].update(sysctls=[{"name": "a", "value": "b"}]), "sysctls"),
        (lambda pod: pod["securityContext"].update(windowsOptions={"hostProcess": True}), "hostProcess"),
        (lambda pod: pod["securityContext"].pop("runAsNonRoot"), "runAsNonRoot"),
        (lambda pod: pod["securityContext"].update(runAsUser=0), "runAsUser"),
        (lambda pod: pod["securityContext"].pop("seccompProfile"), "seccompProfile"),
        (lambda pod: pod["containers"][0]["ports"][0].update(hostPort=1), "hostPort"),
        (lambda pod: pod["containers"][0]["livenessProbe"]["httpGet"].update(host="x"), "host of a probe"),
        (lambda pod: pod["containers"][0].pop("securityContext"), "allowPrivilegeEscalation, capabilities dropped"),
        (_context(privileged=True), "privileged"),
        (_context(allowPrivilegeEscalation=True), "allowPrivilegeEscalation"),
        (_context(runAsNonRoot=False), "runAsNonRoot"),
        (_context(seccompProfile={"type": "Unconfined"}), "seccompProfile"),
        (_context(appArmorProfile={"type": "Unconfined"}), "appArmorProfile"),
        (_context(seLinuxOptions={"type": "spc_t"}), "seLinuxOptions"),
        (_context(procMount="Unmasked"), "procMount"),
        (_context(capabilities={"drop": ["ALL"], "add": ["SYS_ADMIN"]}), "capabilities added"),
        (_context(capabilities={"drop": ["NET_RAW"]}), "capabilities dropped"),
    ],
)
def test_each_rule_is_checked(change: Callable[[Object], None], broken: str) -> None:
    """A pod that breaks a rule is found, so the test above can fail."""
    pod = build("base").pod["spec"]
    change(pod)
    assert ", ".join(violations(pod)) == broken


# Consistent with the exporter


def settings_of(objects: Objects, directory: Path, **more: str) -> Settings:
    """Parse the pods' environment as the exporter does, with ``directory`` for the verification files."""
    environment = objects.settings | more
    values = gathered({}, environment)
    named = values["webhook.verification-dir"]
    assert named.text in {mount["mountPath"] for mount in objects.container["volumeMounts"]}
    return parsed(values | {"webhook.verification-dir": named._replace(text=str(directory))})


@pytest.mark.parametrize("name", EXPORTERS)
def test_settings_are_real(tmp_path: Path, name: str) -> None:
    """All variables are settings with valid values, and the exporter listens on the container's ports."""
    objects = build(name)
    assert set(objects.settings) <= {setting.variable for setting in SETTINGS}
    settings = settings_of(objects, tmp_path, SMTPETER_EXPORTER_SIGNATURE_ACCOUNT="environment-1234")
    assert (settings.signature_mode, settings.webhook_server) == ("required", "waitress")
    public, private = settings.webhook_listen_address, settings.web_listen_address
    assert objects.ports() == {"callback": public.port, "metrics": private.port}
    assert (public.host, private.host) == ("0.0.0.0", "0.0.0.0")  # noqa: S104 -- of a pod


def test_the_user_must_set_the_account(tmp_path: Path) -> None:
    """Without the user's account the base does not start, and names the setting; the page's example sets one."""
    with pytest.raises(SettingError, match=r"^signature\.account: "):
        settings_of(build("base"), tmp_path)
    assert settings_of(build("on the page: smtpeter"), tmp_path).signature_account == ("environment-1234",)


@pytest.mark.parametrize("name", EXPORTERS)
def test_the_ledger_survives_the_pod(tmp_path: Path, name: str) -> None:
    """The ledger is a SQLite file on the volume of a single pod, or it is in PostgreSQL."""
    objects = build(name)
    place = settings_of(objects, tmp_path, SMTPETER_EXPORTER_SIGNATURE_ACCOUNT="environment-1234").storage_url
    mounts = {mount["name"]: mount["mountPath"] for mount in objects.container["volumeMounts"]}
    if isinstance(place, PostgresUrl):
        deployment = objects.one("Deployment")
        assert deployment["spec"]["replicas"] > 1
        assert deployment["spec"]["strategy"] == {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
        assert list(mounts) == ["verification"]
        assert "volumeClaimTemplates" not in deployment["spec"]
    else:
        stateful = objects.one("StatefulSet")
        (claim,) = stateful["spec"]["volumeClaimTemplates"]
        assert stateful["spec"]["replicas"] == 1
        assert str(place.parent) == mounts[claim["metadata"]["name"]]
        assert claim["spec"]["accessModes"] == ["ReadWriteOnce"]


def test_replicas_differ_only_where_needed() -> None:
    """The pods of the overlay differ from those of the base only in volume, password, preStop hook and spread."""
    single, several = build("base"), build("postgresql")
    for pods in (single, several):
        del pods.container["envFrom"]
    assert several.container.pop("env") == [
        {
            "name": "PGPASSWORD",
            "valueFrom": {"secretKeyRef": {"name": "smtpeter-exporter-postgresql", "key": "password"}},
        }
    ]
    assert several.container.pop("lifecycle") == {"preStop": {"sleep": {"seconds": 5}}}
    for spread in several.pod["spec"].pop("topologySpreadConstraints"):
        assert selects(spread["labelSelector"], several.pod["metadata"]["labels"])
    assert single.container["volumeMounts"].pop(0)["name"] == "ledger"
    assert several.pod == single.pod


def test_only_replicas_leave_the_service_when_not_ready() -> None:
    """A single exporter gets requests even if not ready, a replica does not; metrics always come from all pods."""
    published = {
        name: {
            each["metadata"]["name"]: each["spec"].get("publishNotReadyAddresses", False)
            for each in build(name)
            if each["kind"] == "Service"
        }
        for name in ("base", "postgresql")
    }
    assert published == {
        "base": {"smtpeter-exporter": True, "smtpeter-exporter-metrics": True},
        "postgresql": {"smtpeter-exporter": False, "smtpeter-exporter-metrics": True},
    }


# Consistent with each other


@pytest.mark.parametrize("name", EXPORTERS)
def test_selectors_select_the_pods(name: str) -> None:
    """Workload, Services, NetworkPolicy and disruption budget select the pods, and name ports that they have."""
    objects = build(name)
    labels = objects.pod["metadata"]["labels"]
    checked = []
    for each in objects:
        spec = each.get("spec", {})
        if each["kind"] == "Service":
            assert spec["selector"].items() <= labels.items()
            assert {port["targetPort"] for port in spec["ports"]} <= set(objects.ports())
        elif "podSelector" in spec:
            assert selects(spec["podSelector"], labels)
        elif "selector" in spec:
            assert spec["selector"]["matchLabels"]
            assert selects(spec["selector"], labels)
        else:
            continue
        checked.append(each["kind"])
    workload = ["Deployment", "PodDisruptionBudget"] if "Deployment" in checked else ["StatefulSet"]
    assert sorted(checked) == sorted(["Service", "Service", "NetworkPolicy", *workload])
    if "StatefulSet" in checked:
        objects.one("Service", objects.one("StatefulSet")["spec"]["serviceName"])


@pytest.mark.parametrize("name", EXPORTERS)
def test_mounts_and_volumes_match(name: str) -> None:
    """Each mount has a volume, each volume is mounted, and probes name the port."""
    objects = build(name)
    workload = next(each for each in objects if "template" in each.get("spec", {}))
    claims = [claim["metadata"]["name"] for claim in workload["spec"].get("volumeClaimTemplates", ())]
    volumes = [*claims, *(volume["name"] for volume in objects.pod["spec"]["volumes"])]
    assert volumes == [mount["name"] for mount in objects.container["volumeMounts"]]
    assert {probe["port"] for _, probe in probes(objects.container)} == {"metrics"}


def _reachable(policy: Object, namespace: str, name: str) -> set[int]:
    """Return the ports that a policy lets pods with this name in this namespace reach."""
    found = set()
    for rule in policy["spec"]["ingress"]:
        for peer in rule["from"]:
            if selects(peer["namespaceSelector"], {"kubernetes.io/metadata.name": namespace}) and selects(
                peer["podSelector"], {"app.kubernetes.io/name": name}
            ):
                found |= {port["port"] for port in rule["ports"]}
    return found


@pytest.mark.parametrize("name", EXPORTERS)
def test_the_network_policy_allows_only_what_is_needed(name: str) -> None:
    """The controller reaches the callback, Prometheus the metrics, and the pods DNS and PostgreSQL; nothing else."""
    objects = build(name)
    policy = objects.one("NetworkPolicy")
    controller = "ingress-nginx" if "more" in name else "traefik"
    ports = objects.ports()
    peers = [
        (where, who) for where in (controller, "monitoring", "smtpeter") for who in (controller, "prometheus", "x")
    ]
    reached = {peer: _reachable(policy, *peer) for peer in peers}
    assert {peer: found for peer, found in reached.items() if found} == {
        (controller, controller): {ports["callback"]},
        ("monitoring", "prometheus"): {ports["metrics"]},
    }
    assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
    egress = {(port["port"], port["protocol"]) for rule in policy["spec"]["egress"] for port in rule["ports"]}
    database = {(5432, "TCP")} if "PGPASSWORD" in str(objects.pod) else set()
    assert egress == {(53, "UDP"), (53, "TCP"), *database}


@pytest.mark.parametrize("name", EXPORTERS)
def test_the_ingress_has_exact_paths(name: str) -> None:
    """Only the paths of the webhooks and the verification file are public, over TLS, on the host of the public URL."""
    objects = build(name)
    ingress = objects.one("Ingress")["spec"]
    url = urlsplit(objects.settings["SMTPETER_EXPORTER_WEBHOOK_PUBLIC_URL"])
    (rule,) = ingress["rules"]
    assert [rule["host"]] == [url.hostname] == ingress["tls"][0]["hosts"]
    assert "defaultBackend" not in ingress
    file = "smtpeter-4f1c2d.txt" if "more" in name else "smtpeter-example.txt"
    backend = {"service": {"name": "smtpeter-exporter", "port": {"name": "callback"}}}
    failures, *others = LOOPS
    assert rule["http"]["paths"] == [
        {"path": f"{url.path}/{public}", "pathType": "Exact", "backend": backend}
        for public in (failures, file, *others)
    ]
    service = objects.one("Service", "smtpeter-exporter")
    assert [port["name"] for port in service["spec"]["ports"]] == ["callback"]
    if "more" in name:
        config_map = objects.one("ConfigMap", "smtpeter-exporter-verification")
        assert config_map["data"] == {file: "proof"}
        (volume,) = objects.pod["spec"]["volumes"]
        assert volume["configMap"]["name"] == config_map["metadata"]["name"]


@pytest.mark.parametrize("name", [name for name in EXPORTERS if "page" in name])
def test_image_and_namespace_of_the_user_are_used(name: str) -> None:
    """The page's example sets image and namespace; the image in the base is only a placeholder."""
    assert build("base").container["image"] == "smtpeter-exporter"
    objects = build(name)
    assert objects.container["image"] == "registry.example.com/smtpeter-exporter:v1"
    assert {each["metadata"]["namespace"] for each in objects} == {"smtpeter"}


def test_the_ledger_is_copied_from_the_volume_of_the_pod() -> None:
    """The Job mounts the volume of the StatefulSet's pod at the same path, with the same user, database and Secret."""
    job, single, several = build(LEDGER_COPY), build("base"), build("postgresql")
    stateful = single.one("StatefulSet")
    claim = f"{stateful['spec']['volumeClaimTemplates'][0]['metadata']['name']}-{stateful['metadata']['name']}-0"
    assert job.pod["spec"]["volumes"] == [{"name": "ledger", "persistentVolumeClaim": {"claimName": claim}}]
    assert job.container["volumeMounts"] == single.container["volumeMounts"][:1]
    assert job.pod["spec"]["securityContext"] == single.pod["spec"]["securityContext"]
    assert job.container["env"] == several.container["env"]
    storage = "SMTPETER_EXPORTER_STORAGE_URL"
    assert job.container["args"] == [single.settings[storage], several.settings[storage]]
    for service in (found for found in single if found["kind"] == "Service"):
        assert not service["spec"]["selector"].items() <= job.pod["metadata"]["labels"].items()


# The files that Prometheus and Grafana load


def test_the_operator_gets_the_same_rules() -> None:
    """The PrometheusRule has the groups of rules.yaml and alerts.yaml, under unique names."""
    groups = build("monitoring").one("PrometheusRule")["spec"]["groups"]
    files = [yaml.safe_load((PROMETHEUS / name).read_text()) for name in ("rules.yaml", "alerts.yaml")]
    assert groups == [group for file in files for group in file["groups"]]
    names = [group["name"] for group in groups]
    assert len(set(names)) == len(names)


def test_rules_of_the_operator_pass_promtool(promtool: str, tmp_path: Path) -> None:
    """Promtool finds no problem in the rules that the operator gives to Prometheus."""
    rules = tmp_path / "rules.yaml"
    rules.write_text(yaml.safe_dump(build("monitoring").one("PrometheusRule")["spec"]))
    done = subprocess.run(
        [promtool, "check", "rules", "--lint=all", "--lint-fatal", rules], check=False, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("name", "job"), [("base", "smtpeter-exporter"), ("on the page: smtpeter, more", "smtpeter-shop")]
)
def test_alerts_match_the_job(name: str, job: str) -> None:
    """The ServiceMonitor selects one Service by its port, and sets a job that the alerts match."""
    spec = build("monitoring").one("ServiceMonitor")["spec"]
    assert spec["namespaceSelector"] == {"any": True}
    (service,) = (
        each
        for each in build(name)
        if each["kind"] == "Service" and selects(spec["selector"], each["metadata"]["labels"])
    )
    (endpoint,) = spec["endpoints"]
    assert [port["name"] for port in service["spec"]["ports"]] == [endpoint["port"]]
    assert service["metadata"]["labels"][spec["jobLabel"]] == job
    patterns = set(re.findall(r'job=~"([^"]+)"', (PROMETHEUS / "alerts.yaml").read_text()))
    assert patterns
    assert [pattern for pattern in patterns if not re.fullmatch(pattern, job)] == []


def test_replicas_count_once_with_labels_of_the_operator(promtool: str, tmp_path: Path) -> None:
    """Three pods with the same totals and the operator's labels give one total."""
    rules = tmp_path / "rules.yaml"
    monitoring = build("monitoring")
    rules.write_text(yaml.safe_dump(monitoring.one("PrometheusRule")["spec"]))
    objects = build("postgresql")
    service = objects.one("Service", "smtpeter-exporter-metrics")
    port = objects.ports()["metrics"]
    common = {
        "job": service["metadata"]["labels"][monitoring.one("ServiceMonitor")["spec"]["jobLabel"]],
        "namespace": "smtpeter",
        "service": service["metadata"]["name"],
        "endpoint": "metrics",
        "container": objects.container["name"],
        "reason": "blocked",
    }
    series = [
        {
            "series": _series(
                "smtpeter_failures_by_reason_total", common | {"pod": f"p{n}", "instance": f"192.0.2.{n}:{port}"}
            ),
            "values": "0x5 40x30",
        }
        for n in range(1, objects.one("Deployment")["spec"]["replicas"] + 1)
    ]
    name = "job:smtpeter_failures_by_reason_total:max"
    case = {
        "rule_files": [str(rules)],
        "evaluation_interval": "30s",
        "tests": [
            {
                "interval": "30s",
                "input_series": series,
                "promql_expr_test": [
                    {
                        "expr": name,
                        "eval_time": "10m",
                        "exp_samples": [{"labels": _series(name, common), "value": 40}],
                    }
                ],
            }
        ],
    }
    (tmp_path / "case.yaml").write_text(yaml.safe_dump(case))
    done = subprocess.run(
        [promtool, "test", "rules", tmp_path / "case.yaml"], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def _series(name: str, labels: dict[str, str]) -> str:
    inner = ", ".join(f'{label}="{value}"' for label, value in labels.items())
    return f"{name}{{{inner}}}"


def test_the_scrape_configuration_of_the_page_is_valid(promtool: str, tmp_path: Path) -> None:
    """Promtool accepts the page's scrape configuration, which looks up the headless Service in DNS."""
    text = shown("prometheus.yml")
    (tmp_path / "prometheus.yml").write_text(text)
    done = subprocess.run([promtool, "check", "config", tmp_path / "prometheus.yml"], check=False, capture_output=True)
    assert done.returncode == 0, done.stderr
    (scrape,) = yaml.safe_load(text)["scrape_configs"]
    (look_up,) = scrape["dns_sd_configs"]
    service = build("on the page: smtpeter").one("Service", "smtpeter-exporter-metrics")
    assert service["spec"]["clusterIP"] == "None"
    assert look_up["names"] == [f"{service['metadata']['name']}.{service['metadata']['namespace']}.svc"]
    assert [look_up["port"]] == [port["port"] for port in service["spec"]["ports"]]
    assert "smtpeter" in scrape["job_name"]


def test_the_sidecar_gets_the_same_dashboards() -> None:
    """The config map has both dashboards, unchanged, with the sidecar's label, and is not too large."""
    dashboards = build("monitoring").one("ConfigMap")
    assert dashboards["data"] == {
        name: (ROOT / "grafana" / name).read_text() for name in ("failures.json", "exporter.json")
    }
    assert dashboards["metadata"]["name"] == "smtpeter-dashboards"
    assert dashboards["metadata"]["labels"] == {"grafana_dashboard": "1"}
    assert len(json.dumps(dashboards)) < 1_000_000


def test_the_operator_selects_the_objects_of_the_page() -> None:
    """The page's example sets the namespace and the label with which kube-prometheus-stack selects objects."""
    objects = build("on the page: monitoring")
    assert sorted(each["kind"] for each in objects) == ["ConfigMap", "PrometheusRule", "ServiceMonitor"]
    assert {each["metadata"]["namespace"] for each in objects} == {"monitoring"}
    assert {each["metadata"]["labels"]["release"] for each in objects} == {"kube-prometheus-stack"}

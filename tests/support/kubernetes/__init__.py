"""The manifests of deploy/kubernetes and the examples of the page, built with a real kustomize."""

import re
import subprocess
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import yaml

from tests.support.running import brought
from tests.support.tree import ROOT

MANIFESTS: Final = ROOT / "deploy/kubernetes"
PAGE: Final = (ROOT / "docs/how-to/kubernetes.md").read_text()

Object = dict[str, Any]
"""A Kubernetes object or a part of one, as YAML."""


def shown(place: str) -> str:
    """Return the example on the page whose first line says that it belongs in ``place``; join several examples."""
    found = [
        re.sub(rf"^{indent}", "", text, flags=re.MULTILINE)
        for indent, text in re.findall(
            rf"^( *)```yaml\n *# {re.escape(place)}\n(.*?)^ *```$", PAGE, re.MULTILINE | re.DOTALL
        )
    ]
    assert found, f"docs/how-to/kubernetes.md has no example for {place}"
    return "".join(found)


def _user_directory(directory: Path, name: str, text: str) -> Path:
    """Make a user's directory with a kustomization, next to the project's directory."""
    made = directory / name
    made.mkdir()
    (directory / "smtpeter-exporter").symlink_to(ROOT)
    (made / "kustomization.yaml").write_text(text)
    return made


def _with_more(directory: Path) -> Path:
    """Make the page's kustomization with all further examples: verification file, ingress controller and job."""
    text = shown("smtpeter/kustomization.yaml")
    for after, place, indent in (
        ("configMapGenerator:\n", "under configMapGenerator:", "  "),
        ("    patch: |\n", "under patch:", "      "),
        ("patches:\n", "under patches:", "  "),
    ):
        assert after in text
        text = text.replace(after, after + re.sub("^", indent, shown(place).rstrip(), flags=re.MULTILINE) + "\n", 1)
    made = _user_directory(directory, "smtpeter", text + shown("in your kustomization:"))
    (made / "smtpeter-4f1c2d.txt").write_text("proof")
    return made


def _with_postgresql(directory: Path) -> Path:
    text = shown("smtpeter/kustomization.yaml")
    literals = re.sub("^", "      ", shown("under literals:").rstrip(), flags=re.MULTILINE) + "\n"
    for old, new in (("kubernetes/base", "kubernetes/overlays/postgresql"), ("literals:\n", f"literals:\n{literals}")):
        assert old in text
        text = text.replace(old, new, 1)
    return _user_directory(directory, "smtpeter", text)


BUILDS: Final[Mapping[str, Callable[[Path], Path]]] = {
    "base": lambda _: MANIFESTS / "base",
    "postgresql": lambda _: MANIFESTS / "overlays/postgresql",
    "monitoring": lambda _: MANIFESTS / "monitoring",
    "on the page: smtpeter": lambda made: _user_directory(made, "smtpeter", shown("smtpeter/kustomization.yaml")),
    "on the page: smtpeter, more": _with_more,
    "on the page: smtpeter, replicas": _with_postgresql,
    "on the page: monitoring": lambda made: _user_directory(made, "monitoring", shown("monitoring/kustomization.yaml")),
}
"""The builds by name: a function that returns the directory of the kustomization, given an empty directory."""
LEDGER_COPY: Final = "ledger-copy"
EXPORTERS: Final = [name for name in BUILDS if "monitoring" not in name]
PODS: Final = [*EXPORTERS, LEDGER_COPY]


@cache
def _text(name: str) -> str:
    if name == LEDGER_COPY:
        return (MANIFESTS / "ledger-copy.yaml").read_text()
    with TemporaryDirectory() as directory:
        made = BUILDS[name](Path(directory))
        done = subprocess.run([brought("kubectl"), "kustomize", made], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


class Objects(list[Object]):
    """The objects of a build."""

    def one(self, kind: str, name: str | None = None) -> Object:
        """Return the only object of a kind, or the one with this name, without the hash at its end."""
        names = re.compile(rf"{name}(-[0-9a-z]{{10}})?" if name else ".*")
        (found,) = (each for each in self if each["kind"] == kind and names.fullmatch(each["metadata"]["name"]))
        return found

    @property
    def pod(self) -> Object:
        """The only pod template: metadata and spec."""
        (found,) = (each["spec"]["template"] for each in self if "template" in each.get("spec", {}))
        template: Object = found
        return template

    @property
    def container(self) -> Object:
        """The only container of the pods."""
        (found,) = self.pod["spec"]["containers"]
        container: Object = found
        return container

    @property
    def settings(self) -> dict[str, str]:
        """The environment variables that the pods get from config maps."""
        found: dict[str, str] = {}
        for source in self.container["envFrom"]:
            found |= self.one("ConfigMap", source["configMapRef"]["name"])["data"]
        return found

    def ports(self) -> dict[str, int]:
        """Return the ports of the container, by name."""
        return {port["name"]: port["containerPort"] for port in self.container["ports"]}


def build(name: str) -> Objects:
    """Return the objects of a build or of ledger-copy.yaml; new ones each time, so that tests can change them."""
    return Objects(yaml.load_all(_text(name), yaml.CSafeLoader))


def selects(selector: Object, labels: Mapping[str, str]) -> bool:
    """Return whether a label selector matches the labels; an empty selector matches all."""
    assert selector.keys() <= {"matchLabels"}, "only matchLabels is supported here"
    wanted: dict[str, str] = selector.get("matchLabels", {})
    return wanted.items() <= labels.items()


def probes(container: Object) -> Iterator[tuple[str, Object]]:
    """Yield the purpose and the HTTP request of each probe of a container."""
    for use in ("startup", "liveness", "readiness"):
        yield use, container[f"{use}Probe"]["httpGet"]

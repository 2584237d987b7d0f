"""The manifests of deploy/kubernetes as the tests see them: built by a real kustomize, examples of the page too."""

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

FOLDER: Final = ROOT / "deploy/kubernetes"
PAGE: Final = (ROOT / "docs/how-to/kubernetes.md").read_text()

Object = dict[str, Any]
"""An object of Kubernetes or a part of one, as YAML has it."""


def shown(place: str) -> str:
    """The example on the page that says in its first line where it belongs; those of one place together."""
    found = [
        re.sub(rf"^{indent}", "", text, flags=re.MULTILINE)
        for indent, text in re.findall(
            rf"^( *)```yaml\n *# {re.escape(place)}\n(.*?)^ *```$", PAGE, re.MULTILINE | re.DOTALL
        )
    ]
    assert found, f"docs/how-to/kubernetes.md has no example for {place}"
    return "".join(found)


def _user_s(folder: Path, name: str, text: str) -> Path:
    """A folder of a user's, beside this project's, with the kustomization in it."""
    made = folder / name
    made.mkdir()
    (folder / "smtpeter-exporter").symlink_to(ROOT)
    (made / "kustomization.yaml").write_text(text)
    return made


def _with_more(folder: Path) -> Path:
    """As on the page, all further examples put in: the verification file, another controller, another job."""
    text = shown("smtpeter/kustomization.yaml")
    for after, place, indent in (
        ("configMapGenerator:\n", "under configMapGenerator:", "  "),
        ("    patch: |\n", "under patch:", "      "),
        ("patches:\n", "under patches:", "  "),
    ):
        assert after in text
        text = text.replace(after, after + re.sub("^", indent, shown(place).rstrip(), flags=re.MULTILINE) + "\n", 1)
    made = _user_s(folder, "smtpeter", text + shown("in your kustomization:"))
    (made / "smtpeter-4f1c2d.txt").write_text("proof")
    return made


def _with_postgresql(folder: Path) -> Path:
    text = shown("smtpeter/kustomization.yaml")
    literals = re.sub("^", "      ", shown("under literals:").rstrip(), flags=re.MULTILINE) + "\n"
    for old, new in (("kubernetes/base", "kubernetes/overlays/postgresql"), ("literals:\n", f"literals:\n{literals}")):
        assert old in text
        text = text.replace(old, new, 1)
    return _user_s(folder, "smtpeter", text)


BUILDS: Final[Mapping[str, Callable[[Path], Path]]] = {
    "base": lambda _: FOLDER / "base",
    "postgresql": lambda _: FOLDER / "overlays/postgresql",
    "monitoring": lambda _: FOLDER / "monitoring",
    "on the page: smtpeter": lambda made: _user_s(made, "smtpeter", shown("smtpeter/kustomization.yaml")),
    "on the page: smtpeter, more": _with_more,
    "on the page: smtpeter, replicas": _with_postgresql,
    "on the page: monitoring": lambda made: _user_s(made, "monitoring", shown("monitoring/kustomization.yaml")),
}
"""What can be built: by name, from a fresh folder, the folder of its kustomization."""
LEDGER_COPY: Final = "ledger-copy"
EXPORTERS: Final = [name for name in BUILDS if "monitoring" not in name]
PODS: Final = [*EXPORTERS, LEDGER_COPY]


@cache
def _text(name: str) -> str:
    if name == LEDGER_COPY:
        return (FOLDER / "ledger-copy.yaml").read_text()
    with TemporaryDirectory() as folder:
        made = BUILDS[name](Path(folder))
        done = subprocess.run([brought("kubectl"), "kustomize", made], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


class Objects(list[Object]):
    """The objects of a build."""

    def one(self, kind: str, name: str | None = None) -> Object:
        """The only object of the kind, or that of the name without the hash at its end."""
        names = re.compile(rf"{name}(-[0-9a-z]{{10}})?" if name else ".*")
        (found,) = (one for one in self if one["kind"] == kind and names.fullmatch(one["metadata"]["name"]))
        return found

    @property
    def pod(self) -> Object:
        """The only template of pods: metadata and spec."""
        (found,) = (one["spec"]["template"] for one in self if "template" in one.get("spec", {}))
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
        """What the pods get as environment from config maps."""
        found: dict[str, str] = {}
        for source in self.container["envFrom"]:
            found |= self.one("ConfigMap", source["configMapRef"]["name"])["data"]
        return found

    def ports(self) -> dict[str, int]:
        """The ports of the container, by name."""
        return {port["name"]: port["containerPort"] for port in self.container["ports"]}


def build(name: str) -> Objects:
    """The objects of a build, or of ledger-copy.yaml; each time new ones, for whoever changes them."""
    return Objects(yaml.load_all(_text(name), yaml.CSafeLoader))


def selects(selector: Object, labels: Mapping[str, str]) -> bool:
    """Whether a label selector selects what has the labels; an empty one selects all."""
    assert selector.keys() <= {"matchLabels"}, "only matchLabels are known here"
    wanted: dict[str, str] = selector.get("matchLabels", {})
    return wanted.items() <= labels.items()


def probes(container: Object) -> Iterator[tuple[str, Object]]:
    """The probes of a container, by what they are for."""
    for use in ("startup", "liveness", "readiness"):
        yield use, container[f"{use}Probe"]["httpGet"]

"""The image and the compose file in deploy/docker, as far as they can be tested without a Docker engine."""

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from fnmatch import fnmatch
from itertools import chain
from pathlib import Path
from typing import Any, Final, NamedTuple
from zipfile import ZipFile

import pytest
import yaml

from exporter.classification.loops import LOOPS
from exporter.cli.assets import assets
from tests.support.confinement import confined
from tests.support.documentation import blocks
from tests.support.running import TIMEOUT, Client, brought, environment, exporter, failure, free_port, server, until
from tests.support.texts import Texts
from tests.support.tree import ROOT, copy, files

DOCKER: Final = ROOT / "deploy/docker"
PREFIX: Final = "SMTPETER_EXPORTER_"
PUBLISHED: Final = {
    "live": {
        "alertmanager": {"127.0.0.1:9093": 9093},
        "caddy": {"80": 80, "443": 443},
        "exporter": {},
        "grafana": {"127.0.0.1:3000": 3000},
        "prometheus": {"127.0.0.1:9090": 9090},
    },
    "demo": {
        "alertmanager": {"127.0.0.1:9093": 9093},
        "demo-exporter": {},
        "demo-traffic": {},
        "grafana": {"127.0.0.1:3000": 3000},
        "prometheus": {"127.0.0.1:9090": 9090},
    },
}
"""The services of both profiles, with their published addresses and the ports in the container."""


class Instruction(NamedTuple):
    """An instruction of the Dockerfile, with its continuation lines joined."""

    word: str
    rest: str


def instructions() -> list[Instruction]:
    """Return the instructions of the Dockerfile."""
    text = re.sub(r"^#.*\n", "", (DOCKER / "Dockerfile").read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    return [Instruction(*line.split(maxsplit=1)) for line in text.splitlines() if line]


TYPED: Final = 'a$b ${c} #d "e"'
"""The password of Grafana as a user may type it."""


def last(word: str) -> str:
    """Return the arguments of the last instruction with this word in the Dockerfile."""
    return next(rest for found, rest in reversed(instructions()) if found == word)


def assigned(word: str) -> dict[str, str]:
    """Return the names and values of the last ENV or LABEL in the Dockerfile."""
    return dict(part.split("=", 1) for part in shlex.split(last(word)))


def compose(env_file: Path, *flags: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run ``docker-compose config`` on compose.yaml with the variables in a file, and no others."""
    command = [brought("docker-compose"), "--env-file", str(env_file), "-f", str(DOCKER / "compose.yaml"), *flags]
    clean = {
        name: text for name, text in os.environ.items() if not name.startswith(("COMPOSE_", "SMTPETER_", "GRAFANA"))
    }
    return subprocess.run(
        [*command, "config", "--format", "json"], check=check, capture_output=True, text=True, env=clean
    )


def variables(file: Path) -> dict[str, str]:
    """Return the variables in an env file."""
    lines = file.read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the path of a copy of .env.example with all values filled in."""
    values = {"SMTPETER_HOST": "mail.example.org", "SMTPETER_ACCOUNT": "environment-77"}
    file = tmp_path_factory.mktemp("env") / ".env"
    lines = variables(DOCKER / ".env.example").items()
    file.write_text("".join(f"{name}={text or values[name]}\n" for name, text in lines).replace("''", f"'{TYPED}'"))
    return file


@pytest.fixture(scope="module")
def projects(filled: Path) -> dict[str, Any]:
    """Return both profiles, as Compose would start them."""
    return {name: json.loads(compose(file).stdout) for name, file in (("live", filled), ("demo", DOCKER / "demo.env"))}


@pytest.fixture(scope="module")
def live(projects: Mapping[str, Any]) -> Any:
    """Return the services of the profile for production."""
    return projects["live"]["services"]


@pytest.fixture(scope="module")
def everything(projects: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Return all services of both profiles, with their names."""
    return [pair for project in projects.values() for pair in project["services"].items()]


def image_environment() -> dict[str, str]:
    """Return the exporter's settings in the image."""
    return {name: text for name, text in assigned("ENV").items() if name.startswith(PREFIX)}


def mounted_in(service: Any, directory: Path) -> Path:
    """Copy the files that are mounted in the service's container to the same paths below ``directory``."""
    for volume in sorted(service["volumes"], key=lambda volume: str(volume["target"])):
        if volume["type"] == "bind":
            place = directory / volume["target"].lstrip("/")
            place.parent.mkdir(parents=True, exist_ok=True)
            copy(Path(volume["source"]).relative_to(ROOT).as_posix(), place)
    return directory


def test_dockerfile_passes_hadolint() -> None:
    """Hadolint finds no problem in the Dockerfile."""
    done = subprocess.run(
        [brought("hadolint"), "--no-color", "Dockerfile"], cwd=DOCKER, check=False, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_commands_of_the_image_need_no_shell() -> None:
    """Entry point, command and health check are lists, so that signals reach the exporter."""
    check = last("HEALTHCHECK").partition(" CMD ")[2]
    assert [json.loads(text) for text in (last("ENTRYPOINT"), last("CMD"), check)] == [
        ["smtpeter-exporter"],
        ["serve"],
        ["python", "-m", "exporter.healthcheck"],
    ]
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"] == {
        "smtpeter-exporter": "exporter.cli.main:main"
    }


def test_user_of_the_image_is_numeric_and_owns_the_volume() -> None:
    """The user is a number, as Kubernetes needs it to enforce runAsNonRoot, and owns only the volume."""
    user = last("USER")
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)
    owner, group = user.split(":")
    assert last("RUN").split() == [
        "install",
        "--directory",
        f"--owner={owner}",
        f"--group={group}",
        "--mode=0750",
        "/data",
    ]
    assert json.loads(last("VOLUME")) == ["/data"]


def test_labels_match_the_package() -> None:
    """Name, description and license in the image's labels are those of the package."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    base = next(rest for word, rest in instructions() if word == "ARG").removeprefix("PYTHON=").partition("@")[0]
    assert {name.removeprefix("org.opencontainers.image."): text for name, text in assigned("LABEL").items()} == {
        "title": project["name"],
        "description": project["description"],
        "licenses": project["license"],
        "base.name": f"docker.io/library/{base}",
    }


def test_the_wheel_can_be_built_from_the_copied_files(tmp_path: Path) -> None:
    """The files that the Dockerfile copies are not ignored, and give a wheel with the whole package."""
    copied = [shlex.split(rest) for word, rest in instructions() if word == "COPY" and not rest.startswith("--")]
    kept = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    for *sources, target in copied:
        for source in sources:
            assert any(fnmatch(source, pattern) or source.startswith(f"{pattern}/") for pattern in kept), source
            copy(source, tmp_path / target if (ROOT / source).is_dir() else tmp_path / target / Path(source).name)
    steps = [rest for word, rest in instructions() if word == "RUN" and "pip wheel" in rest]
    flags = shlex.split(steps[0].partition("&&")[0])[2:]
    assert flags == ["--no-deps", "--no-build-isolation", "--wheel-dir", "/wheels", "."]
    flags[3] = str(tmp_path / "wheels")
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", *flags],
        cwd=tmp_path,
        check=True,
    )
    (wheel,) = (tmp_path / "wheels").iterdir()
    expected = {*files("exporter"), *(f"exporter/bundled/{path}" for path in assets())}
    assert {name for name in ZipFile(wheel).namelist() if ".dist-info/" not in name} == expected


def locked(name: str) -> dict[str, str]:
    """Return the packages in a lock file, each with its version, marker and hashes."""
    text = (ROOT / "requirements" / name).read_text().replace("\\\n", " ")
    lines = [line.split(maxsplit=1) for line in text.splitlines() if re.match("[a-z]", line)]
    return {pin.partition("==")[0]: f"{pin} {hashes}" for pin, hashes in lines}


def test_image_has_the_locked_versions() -> None:
    """The image's lock file has the dependencies of the package and of all its extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = [*project["dependencies"], *chain.from_iterable(project["optional-dependencies"].values())]
    wanted = {re.split("[<>=~ ]", text)[0] for text in needed}
    assert wanted <= set(locked("image.txt"))


def test_images_are_pinned_by_digest() -> None:
    """Each image that is not built here has a tag, for readers, and a digest, which is immutable."""
    images = [rest.removeprefix("PYTHON=") for word, rest in instructions() if word == "ARG"]
    images += re.findall(r"^ +image: (\S+)$", (DOCKER / "compose.yaml").read_text(), re.MULTILINE)
    others = [image for image in images if image != "smtpeter-exporter"]
    assert len(others) == 5
    assert [image for image in others if not re.fullmatch(r"[a-z/]+:[\w.-]+@sha256:[0-9a-f]{64}", image)] == []


def test_lock_files_agree() -> None:
    """A package has the same version in all lock files, so that all can be installed together; each has hashes."""
    locks = {name: locked(name) for name in (Path(file).name for file in files("requirements"))}
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]
    parts = {"build", "imported"}  # included in other groups
    assert locks.keys() == {f"{name}.txt" for name in {"image", "run", *groups} - parts}
    versions: dict[str, set[str]] = defaultdict(set)
    for pins in locks.values():
        for name, pin in pins.items():
            versions[name].add(pin.split()[0])
            assert "--hash=sha256:" in pin, name
    assert {name: found for name, found in versions.items() if len(found) > 1} == {}


@pytest.mark.parametrize("name", PUBLISHED)
def test_only_the_proxy_is_public(projects: Mapping[str, Any], name: str) -> None:
    """Only Caddy is published to other machines. User interfaces are published on loopback."""
    found = {
        service: {
            ":".join(filter(None, (port.get("host_ip"), port["published"]))): port["target"]
            for port in parts.get("ports", ())
        }
        for service, parts in projects[name]["services"].items()
    }
    assert found == PUBLISHED[name]


def test_proxy_reaches_only_the_exporter(live: Any) -> None:
    """Caddy, which clients on the internet reach, shares a network with the exporter only."""
    networks = {name: sorted(service["networks"]) for name, service in live.items()}
    assert networks == {
        "exporter": ["private", "public"],
        "caddy": ["public"],
        "prometheus": ["private"],
        "alertmanager": ["private"],
        "grafana": ["private"],
    }


def test_containers_are_restricted(everything: Sequence[tuple[str, Any]]) -> None:
    """Each has a read-only root, no capabilities except Caddy's for its ports, a restart policy and a rotated log."""
    keys = ("read_only", "cap_drop", "cap_add", "security_opt", "restart", "logging", "privileged")
    assert {name: {key: service.get(key) for key in keys} for name, service in everything} == {
        name: {
            "read_only": True,
            "cap_drop": ["ALL"],
            "cap_add": ["NET_BIND_SERVICE"] if name == "caddy" else None,
            "security_opt": ["no-new-privileges:true"],
            "restart": "unless-stopped",
            "logging": {"driver": "local"},
            "privileged": None,
        }
        for name, _ in everything
    }


def test_mounted_files_exist_and_are_read_only(everything: Sequence[tuple[str, Any]]) -> None:
    """Each file and directory of the project that is mounted in a container exists, and is read-only."""
    mounted = [volume for _, service in everything for volume in service.get("volumes", ()) if volume["type"] == "bind"]
    assert len(mounted) == 14
    assert [v for v in mounted if not v.get("read_only") or not Path(v["source"]).is_relative_to(ROOT)] == []
    assert [v["source"] for v in mounted if not Path(v["source"]).exists()] == []


def test_data_is_in_named_volumes(everything: Sequence[tuple[str, Any]]) -> None:
    """Each container that stores data has a named volume for it."""
    kept = {
        name: sorted(f"{v['source']}:{v['target']}" for v in service.get("volumes", ()) if v["type"] == "volume")
        for name, service in everything
    }
    assert kept == {
        "exporter": ["data:/data"],
        "caddy": ["caddy-config:/config", "caddy-data:/data"],
        "prometheus": ["prometheus-data:/prometheus"],
        "alertmanager": ["alertmanager-data:/alertmanager"],
        "grafana": ["grafana-data:/var/lib/grafana"],
        "demo-exporter": ["demo-data:/data"],
        "demo-traffic": [],
    }


def test_each_service_has_a_health_check(everything: Sequence[tuple[str, Any]]) -> None:
    """Each service that listens has a health check; the exporter's is in its image."""
    assert {name: service.get("healthcheck") for name, service in everything} == {
        name: {
            "exporter": None,
            "demo-exporter": None,
            "demo-traffic": {"disable": True},
        }.get(name, {"test": ["CMD", "wget", "-q", "-O", "/dev/null", f"http://127.0.0.1:{path}"]})
        for name, path in [
            ("exporter", ""),
            ("demo-exporter", ""),
            ("demo-traffic", ""),
            ("caddy", "2019/config/"),
            ("prometheus", "9090/-/healthy"),
            ("alertmanager", "9093/-/healthy"),
            ("grafana", "3000/api/health"),
        ]
    }


def test_missing_variables_are_named(texts: Texts) -> None:
    """With .env.example as shipped, Compose fails and names each missing variable, with what to do."""
    done = compose(DOCKER / ".env.example", check=False)
    missing = re.findall(r"required variable (\w+) is missing a value: (.*)", done.stderr)
    assert done.returncode != 0
    assert sorted(name for name, _ in missing) == ["GRAFANA_PASSWORD", "SMTPETER_ACCOUNT", "SMTPETER_HOST"]
    (what,) = {text for _, text in missing}
    texts.check(what)


def test_env_files_set_the_variables() -> None:
    """.env.example and demo.env set the variables of compose.yaml and the profile; the demo is a separate project."""
    used = set(re.findall(r"\$\{(\w+)", (DOCKER / "compose.yaml").read_text()))
    example, demo = variables(DOCKER / ".env.example"), variables(DOCKER / "demo.env")
    assert set(example) == used | {"COMPOSE_PROFILES"}
    assert set(demo) == used | {"COMPOSE_PROFILES", "COMPOSE_PROJECT_NAME"}
    assert (example["COMPOSE_PROFILES"], demo["COMPOSE_PROFILES"]) == ("live", "demo")


def test_a_password_may_have_special_characters(live: Any) -> None:
    """Characters that are special to Compose are part of the password. Compose prints a ``$`` as ``$$``."""
    assert live["grafana"]["environment"]["GF_SECURITY_ADMIN_PASSWORD"] == TYPED.replace("$", "$$")


def test_the_profiles_exclude_each_other(filled: Path, projects: Mapping[str, Any]) -> None:
    """Both profiles at once are an error, and they share no volume, so simulated failures stay out of real counts."""
    done = compose(filled, "--profile", "live", "--profile", "demo", check=False)
    assert done.returncode != 0
    assert 'container name "smtpeter-exporter" is already in use' in done.stderr
    volumes = [{volume["name"] for volume in project["volumes"].values()} for project in projects.values()]
    assert volumes[0].isdisjoint(volumes[1])


def test_an_override_replaces_files_and_adds_settings(filled: Path, live: Any, tmp_path: Path) -> None:
    """The compose.override.yaml in the guide mounts the user's files instead of the project's, and adds settings."""
    (snippet,) = blocks("docs/how-to/docker.md", "yaml")
    (tmp_path / "compose.override.yaml").write_text(snippet.text)
    services = json.loads(compose(filled, "-f", str(tmp_path / "compose.override.yaml")).stdout)["services"]
    mounted = {name: {v["target"]: v["source"] for v in service["volumes"]} for name, service in services.items()}
    before = {name: {v["target"]: v["source"] for v in service["volumes"]} for name, service in live.items()}
    before["alertmanager"]["/etc/alertmanager"] = "/etc/smtpeter/alertmanager"
    before["prometheus"]["/etc/prometheus/smtpeter"] = "/etc/smtpeter/rules"
    assert mounted == before
    assert services["exporter"]["environment"] == live["exporter"]["environment"] | {
        f"{PREFIX}TAGS_COUNT": "newsletter,receipts",
        f"{PREFIX}WEBHOOK_LOOPS": "failures,deliveries",
        f"{PREFIX}LOG_LEVEL": "debug",
    }


def test_only_the_demo_accepts_unsigned_requests(everything: Sequence[tuple[str, Any]]) -> None:
    """Signatures are off only for the demo's exporter, which cannot be reached from outside."""
    modes = {
        name: service["environment"].get(f"{PREFIX}SIGNATURE_MODE")
        for name, service in everything
        if service["image"] == "smtpeter-exporter" and "environment" in service
    }
    assert modes == {"exporter": None, "demo-exporter": "off"}
    (demo,) = (service for name, service in everything if name == "demo-exporter")
    assert ("ports" in demo, list(demo["networks"])) == (False, ["private"])


def test_the_exporter_gets_its_settings(live: Any, tmp_path: Path) -> None:
    """The exporter accepts the variables of image and compose.yaml, and has the expected settings."""
    directory = mounted_in(live["exporter"], tmp_path) / "verification"
    given = image_environment() | live["exporter"]["environment"]
    assert given[f"{PREFIX}WEBHOOK_VERIFICATION_DIR"] == "/verification"
    done = subprocess.run(
        [sys.executable, "-m", "exporter", "check-config", "--webhook.verification-dir", str(directory)],
        check=False,  # /data is in the container only; without an error in a setting, all are printed
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment() | given,
    )
    shown = dict(re.findall(r"^(\S+) = '(.*)'  # SMTPETER_EXPORTER_", done.stdout, re.MULTILINE))
    assert shown == {
        "webhook.listen-address": "0.0.0.0:10125",
        "webhook.public-url": "https://mail.example.org/smtpeter",
        "web.listen-address": "0.0.0.0:10126",
        "storage.url": "sqlite:////data/smtpeter-exporter.db",
        "signature.account": "environment-77",
    }
    assert last("EXPOSE").split() == [
        shown[name].rpartition(":")[2] for name in ("webhook.listen-address", "web.listen-address")
    ]


def test_prometheus_reads_its_configuration(live: Any, promtool: str, tmp_path: Path) -> None:
    """Promtool accepts configuration and rules as mounted, and the targets are the containers and their ports."""
    place = mounted_in(live["prometheus"], tmp_path) / "etc/prometheus/prometheus.yml"
    assert f"--config.file=/{place.relative_to(tmp_path)}" in live["prometheus"]["command"]
    done = subprocess.run([promtool, "check", "config", str(place)], check=False, capture_output=True, text=True)
    assert (done.returncode, len(re.findall(r"SUCCESS: \d+ rules found", done.stdout))) == (0, 2), done.stderr
    config = yaml.safe_load(place.read_text())
    port = image_environment()[f"{PREFIX}WEB_LISTEN_ADDRESS"].rpartition(":")[2]
    targets = [
        one["static_configs"][0]["targets"] for one in (*config["scrape_configs"], *config["alerting"]["alertmanagers"])
    ]
    assert targets == [[f"{live['exporter']['container_name']}:{port}"], ["alertmanager:9093"]]


def test_demo_is_scraped_as_the_live_exporter_is(projects: Mapping[str, Any]) -> None:
    """Both exporters have the same container name, and the traffic is sent there, to each loop that is served."""
    demo, port = projects["demo"]["services"], image_environment()[f"{PREFIX}WEBHOOK_LISTEN_ADDRESS"].rpartition(":")[2]
    name = projects["live"]["services"]["exporter"]["container_name"]
    assert demo["demo-exporter"]["container_name"] == name
    loops = demo["demo-exporter"]["environment"][f"{PREFIX}WEBHOOK_LOOPS"]
    assert loops == ",".join(LOOPS)
    assert demo["demo-traffic"]["command"][:3] == ["simulate", f"http://{name}:{port}/failures", f"--loops={loops}"]


def test_simulation_accepts_its_arguments(projects: Mapping[str, Any]) -> None:
    """The demo's command for simulated traffic runs, without a server and for no time."""
    word, _, *flags = projects["demo"]["services"]["demo-traffic"]["command"]
    done = subprocess.run(
        [sys.executable, "-m", "exporter", word, f"http://127.0.0.1:{free_port()}/failures", *flags, "--for=0s"],
        check=False,
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert (done.returncode, done.stdout[:2]) == (0, "0 "), done.stderr


def test_alertmanager_reads_its_configuration(live: Any, tmp_path: Path) -> None:
    """Amtool accepts configuration and template as mounted."""
    place = mounted_in(live["alertmanager"], tmp_path) / "etc/alertmanager/alertmanager.yml"
    assert f"--config.file=/{place.relative_to(tmp_path)}" in live["alertmanager"]["command"]
    done = subprocess.run([server("amtool"), "check-config", str(place)], check=False, capture_output=True, text=True)
    assert (done.returncode, "1 templates" in done.stdout) == (0, True), done.stdout + done.stderr


def test_caddy_reads_its_configuration(live: Any, tmp_path: Path) -> None:
    """With the variables of compose.yaml, Caddy's file is valid, and proxies the host to the exporter's container."""
    place = mounted_in(live["caddy"], tmp_path) / "etc/caddy/Caddyfile"
    done = subprocess.run(
        [server("caddy"), "adapt", "--validate", "--adapter", "caddyfile", "--config", str(place)],
        check=True,
        capture_output=True,
        text=True,
        env={"HOME": str(tmp_path)} | live["caddy"]["environment"],
    )
    (site,) = json.loads(done.stdout)["apps"]["http"]["servers"].values()
    assert (site["listen"], site["routes"][0]["match"]) == ([":443"], [{"host": ["mail.example.org"]}])
    port = image_environment()[f"{PREFIX}WEBHOOK_LISTEN_ADDRESS"].rpartition(":")[2]
    dialled = set(re.findall(r'"dial":"([^"]+)"', done.stdout))
    assert dialled == {f"{live['exporter']['container_name']}:{port}"}


def test_grafana_finds_dashboards_and_data(live: Any, tmp_path: Path) -> None:
    """Grafana's provisioning names mounted directories and the Prometheus container, with its scrape interval."""
    root = mounted_in(live["grafana"], tmp_path)
    provisioning = root / "etc/grafana/provisioning"
    (provider,) = yaml.safe_load((provisioning / "dashboards/smtpeter.yaml").read_text())["providers"]
    assert sorted(path.name for path in (root / provider["options"]["path"].lstrip("/")).glob("*.json")) == [
        "exporter.json",
        "failures.json",
    ]
    shipped = yaml.safe_load((ROOT / "grafana/provisioning/datasources/prometheus.yaml").read_text())
    shipped["datasources"][0]["url"] = "http://prometheus:9090"
    assert yaml.safe_load((provisioning / "datasources/prometheus.yaml").read_text()) == shipped
    interval = yaml.safe_load((DOCKER / "prometheus.yml").read_text())["global"]["scrape_interval"]
    assert shipped["datasources"][0]["jsonData"]["timeInterval"] == interval
    assert live["prometheus"]["ports"][0]["target"] == 9090


@contextmanager
def as_in_the_image(directory: Path, settings: dict[str, str]) -> Iterator[list[str]]:
    """Run the image's command so that it can write to the directory only; yield its line ``ready``, then stop it."""
    (start, *_), (word, *_) = json.loads(last("ENTRYPOINT")), json.loads(last("CMD"))
    assert start == "smtpeter-exporter"
    lines = directory.parent / "log"
    with lines.open("w") as log:
        process = subprocess.Popen(
            [*confined(directory), sys.executable, "-m", "exporter", word],
            stderr=log,
            cwd="/",
            env=environment(measured=False) | {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"} | settings,
        )
    try:
        yield until(lambda: [line for line in lines.read_text().splitlines() if "msg=ready" in line])
        process.terminate()
        assert process.wait(TIMEOUT) == 0, lines.read_text()
    finally:
        process.kill()
        process.wait()


def healthy(settings: dict[str, str]) -> tuple[int, str]:
    """Run the image's health check; return its exit code and error message."""
    python, *arguments = json.loads(last("HEALTHCHECK").partition(" CMD ")[2])
    assert python == "python"
    done = subprocess.run(
        [sys.executable, *arguments],
        check=False,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment() | settings,
    )
    return done.returncode, done.stderr


def test_the_exporter_runs_with_a_read_only_root(tmp_path: Path) -> None:
    """With the image's variables, a read-only root and no capabilities, it counts, and the health check works."""
    data = tmp_path / "data"
    data.mkdir()
    public, private = free_port(), free_port()
    settings = image_environment() | {
        f"{PREFIX}STORAGE_URL": f"sqlite:///{data}/smtpeter-exporter.db",
        f"{PREFIX}WEBHOOK_LISTEN_ADDRESS": f"0.0.0.0:{public}",
        f"{PREFIX}WEB_LISTEN_ADDRESS": f"0.0.0.0:{private}",
        f"{PREFIX}SIGNATURE_MODE": "off",
    }
    if not confined(data):
        pytest.skip("needs unshare, setpriv and permission to mount")
    with as_in_the_image(data, settings) as ready:
        assert f"ledger={data}/smtpeter-exporter.db" in ready[0]
        with Client(f"127.0.0.1:{public}") as client:
            assert client.post(failure(1)).status == 200
        assert healthy(settings) == (0, "")
    assert sorted(path.name for path in data.iterdir()) == [
        "smtpeter-exporter.db",
        "smtpeter-exporter.db.lock",
    ]
    code, words = healthy(settings)
    assert (code, "Connection refused" in words) == (1, True), words


def test_the_backup_in_the_guide_is_a_ledger(tmp_path: Path) -> None:
    """The command in docs/how-to/docker.md copies a ledger in use, and the copy has all counts."""
    guide = (ROOT / "docs/how-to/docker.md").read_text()
    (line,) = re.findall(r"^docker compose exec exporter (python -c .*)$", guide, re.MULTILINE)
    copied = tmp_path / "copied"
    copied.mkdir()
    with exporter(tmp_path) as running:
        assert [running.post(failure(number)).status for number in range(3)] == [200] * 3
        _, flag, script = shlex.split(line)
        script = script.replace("/data/backup.db", f"{copied}/ledger.db")
        script = script.replace("/data/smtpeter-exporter.db", str(running.ledger))
        subprocess.run([sys.executable, flag, script], check=True)
        before = running.failures()
    with exporter(copied) as running:
        assert (running.failures(), before) == (before, {"rcptto/5xx/5.1.1": 3})

"""The image and the compose file in deploy/docker, as far as they can be tried without a Docker engine."""

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
from pathlib import Path
from typing import Any, Final, NamedTuple
from zipfile import ZipFile

import pytest
import yaml

from exporter.cli.assets import assets
from tests.support.confinement import confined
from tests.support.documentation import blocks
from tests.support.running import TIMEOUT, Client, brought, environment, exporter, failure, free_port, server, until
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
"""The services of both sets: where each is published, and to which port of its own that leads."""


class Instruction(NamedTuple):
    """A line of the Dockerfile, with those that continue it."""

    word: str
    rest: str


def instructions() -> list[Instruction]:
    """The Dockerfile, without comments."""
    text = re.sub(r"^#.*\n", "", (DOCKER / "Dockerfile").read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    return [Instruction(*line.split(maxsplit=1)) for line in text.splitlines() if line]


TYPED: Final = 'a$b ${c} #d "e"'
"""What is filled in as the password of Grafana."""


def last(word: str) -> str:
    """What stands after the last such word in the Dockerfile."""
    return next(rest for found, rest in reversed(instructions()) if found == word)


def assigned(word: str) -> dict[str, str]:
    """The names and values of the last ENV or LABEL in the Dockerfile."""
    return dict(part.split("=", 1) for part in shlex.split(last(word)))


def compose(env_file: Path, *flags: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """What Compose makes of compose.yaml with the variables in the file, and with nothing else."""
    command = [brought("docker-compose"), "--env-file", str(env_file), "-f", str(DOCKER / "compose.yaml"), *flags]
    clean = {
        name: text for name, text in os.environ.items() if not name.startswith(("COMPOSE_", "SMTPETER_", "GRAFANA"))
    }
    return subprocess.run(
        [*command, "config", "--format", "json"], check=check, capture_output=True, text=True, env=clean
    )


def variables(file: Path) -> dict[str, str]:
    """The variables that an env file sets."""
    lines = file.read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """.env.example, filled in."""
    values = {"SMTPETER_HOST": "mail.example.org", "SMTPETER_ACCOUNT": "environment-77"}
    file = tmp_path_factory.mktemp("env") / ".env"
    lines = variables(DOCKER / ".env.example").items()
    file.write_text("".join(f"{name}={text or values[name]}\n" for name, text in lines).replace("''", f"'{TYPED}'"))
    return file


@pytest.fixture(scope="module")
def projects(filled: Path) -> dict[str, Any]:
    """Both sets of services, as Compose would start them."""
    return {name: json.loads(compose(file).stdout) for name, file in (("live", filled), ("demo", DOCKER / "demo.env"))}


@pytest.fixture(scope="module")
def live(projects: Mapping[str, Any]) -> Any:
    """The services that SMTPeter's calls go to."""
    return projects["live"]["services"]


@pytest.fixture(scope="module")
def everything(projects: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """All services of both sets, with their names."""
    return [pair for project in projects.values() for pair in project["services"].items()]


def image_environment() -> dict[str, str]:
    """The exporter's settings that the image brings."""
    return {name: text for name, text in assigned("ENV").items() if name.startswith(PREFIX)}


def laid_out(service: Any, folder: Path) -> Path:
    """A folder that has what is mounted into the service's container where the container has it."""
    for volume in sorted(service["volumes"], key=lambda volume: str(volume["target"])):
        if volume["type"] == "bind":
            place = folder / volume["target"].lstrip("/")
            place.parent.mkdir(parents=True, exist_ok=True)
            copy(Path(volume["source"]).relative_to(ROOT).as_posix(), place)
    return folder


def test_dockerfile_has_no_known_fault() -> None:
    """Hadolint finds nothing in it."""
    done = subprocess.run(
        [brought("hadolint"), "--no-color", "Dockerfile"], cwd=DOCKER, check=False, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_commands_of_the_image_need_no_shell() -> None:
    """Entry point, command and health check are lists, so that signals reach the exporter and no shell is needed."""
    check = last("HEALTHCHECK").partition(" CMD ")[2]
    assert [json.loads(text) for text in (last("ENTRYPOINT"), last("CMD"), check)] == [
        ["smtpeter-exporter"],
        ["serve"],
        ["python", "-m", "exporter.healthcheck"],
    ]
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"] == {
        "smtpeter-exporter": "exporter.cli.main:main"
    }


def test_user_of_the_image_is_a_number_and_owns_the_volume() -> None:
    """Who sees to it that no container runs as root can see that; only the volume is his."""
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


def test_labels_say_what_the_project_says() -> None:
    """Name, description and licence in the image's labels are the package's."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    base = next(rest for word, rest in instructions() if word == "ARG").removeprefix("PYTHON=").partition("@")[0]
    assert {name.removeprefix("org.opencontainers.image."): text for name, text in assigned("LABEL").items()} == {
        "title": project["name"],
        "description": project["description"],
        "licenses": project["license"],
        "base.name": f"docker.io/library/{base}",
    }


def test_wheel_can_be_built_of_what_the_image_copies(tmp_path: Path) -> None:
    """What the Dockerfile copies is not ignored, and is enough to build a wheel with all of the package."""
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
    """The packages in a lock file, each with its version, marker and hashes."""
    text = (ROOT / "requirements" / name).read_text().replace("\\\n", " ")
    lines = [line.split(maxsplit=1) for line in text.splitlines() if re.match("[a-z]", line)]
    return {pin.partition("==")[0]: f"{pin} {hashes}" for pin, hashes in lines}


def test_image_has_the_locked_versions() -> None:
    """The image's lock has what the package and its extras for granian and PostgreSQL ask for."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = {
        re.split("[<>=~ ]", text)[0] for text in [*project["dependencies"], *extras["granian"], *extras["postgres"]]
    }
    assert wanted <= set(locked("image.txt"))


def test_images_are_pinned_by_digest() -> None:
    """Each image that is not built here has its tag, for people, and its digest, which nobody can move."""
    images = [rest.removeprefix("PYTHON=") for word, rest in instructions() if word == "ARG"]
    images += re.findall(r"^ +image: (\S+)$", (DOCKER / "compose.yaml").read_text(), re.MULTILINE)
    others = [image for image in images if image != "smtpeter-exporter"]
    assert len(others) == 5
    assert [image for image in others if not re.fullmatch(r"[a-z/]+:[\w.-]+@sha256:[0-9a-f]{64}", image)] == []


def test_locks_agree() -> None:
    """A package has one version in all locks, so that all can be installed beside each other; each has its hashes."""
    locks = {name: locked(name) for name in (Path(file).name for file in files("requirements"))}
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]
    parts = {"build", "imported"}  # of other groups
    assert locks.keys() == {f"{name}.txt" for name in {"image", "run", *groups} - parts}
    versions: dict[str, set[str]] = defaultdict(set)
    for pins in locks.values():
        for name, pin in pins.items():
            versions[name].add(pin.split()[0])
            assert "--hash=sha256:" in pin, name
    assert {name: found for name, found in versions.items() if len(found) > 1} == {}


@pytest.mark.parametrize("name", PUBLISHED)
def test_only_the_proxy_is_public(projects: Mapping[str, Any], name: str) -> None:
    """Of the services of a set only Caddy is published to other machines, and what people look at to this one."""
    found = {
        service: {
            ":".join(filter(None, (port.get("host_ip"), port["published"]))): port["target"]
            for port in parts.get("ports", ())
        }
        for service, parts in projects[name]["services"].items()
    }
    assert found == PUBLISHED[name]


def test_proxy_reaches_nothing_but_the_exporter(live: Any) -> None:
    """Caddy, which talks to strangers, is on a network with the exporter alone."""
    networks = {name: sorted(service["networks"]) for name, service in live.items()}
    assert networks == {
        "exporter": ["private", "public"],
        "caddy": ["public"],
        "prometheus": ["private"],
        "alertmanager": ["private"],
        "grafana": ["private"],
    }


def test_containers_may_do_little(everything: Sequence[tuple[str, Any]]) -> None:
    """Each has a root it can't write, no capabilities but Caddy's for its ports, comes back, and rotates its log."""
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


def test_what_is_mounted_exists_and_is_read_only(everything: Sequence[tuple[str, Any]]) -> None:
    """Each file and folder of the project that a container sees is there, and not the container's to change."""
    mounted = [volume for _, service in everything for volume in service.get("volumes", ()) if volume["type"] == "bind"]
    assert len(mounted) == 14
    assert [v for v in mounted if not v.get("read_only") or not Path(v["source"]).is_relative_to(ROOT)] == []
    assert [v["source"] for v in mounted if not Path(v["source"]).exists()] == []


def test_what_is_written_is_kept_in_a_volume(everything: Sequence[tuple[str, Any]]) -> None:
    """Each container that keeps something has a volume with a name for it; only what needs none has none."""
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
    """Each asks itself where it listens, the exporter by the check of its image; what only sends is not asked."""
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


def test_nothing_starts_before_it_is_filled_in() -> None:
    """With .env.example as it is, Compose names each variable that is missing, and what to do."""
    done = compose(DOCKER / ".env.example", check=False)
    missing = re.findall(r"required variable (\w+) is missing a value: (.*)", done.stderr)
    what = "copy .env.example to .env and fill it in"
    assert done.returncode != 0
    assert sorted(missing) == [(name, what) for name in ("GRAFANA_PASSWORD", "SMTPETER_ACCOUNT", "SMTPETER_HOST")]


def test_variables_are_those_that_are_used() -> None:
    """.env.example and demo.env set what compose.yaml asks for, and which set to start; the demo is another project."""
    used = set(re.findall(r"\$\{(\w+)", (DOCKER / "compose.yaml").read_text()))
    example, demo = variables(DOCKER / ".env.example"), variables(DOCKER / "demo.env")
    assert set(example) == used | {"COMPOSE_PROFILES"}
    assert set(demo) == used | {"COMPOSE_PROFILES", "COMPOSE_PROJECT_NAME"}
    assert (example["COMPOSE_PROFILES"], demo["COMPOSE_PROFILES"]) == ("live", "demo")


def test_a_password_is_taken_as_it_is(live: Any) -> None:
    """Signs that mean something to Compose are part of it; in what Compose prints, a $ is doubled."""
    assert live["grafana"]["environment"]["GF_SECURITY_ADMIN_PASSWORD"] == TYPED.replace("$", "$$")


def test_the_sets_exclude_each_other(filled: Path, projects: Mapping[str, Any]) -> None:
    """Both at once is an error, and they share no volume: nothing simulated gets among what was counted."""
    done = compose(filled, "--profile", "live", "--profile", "demo", check=False)
    assert done.returncode != 0
    assert 'container name "smtpeter-exporter" is already in use' in done.stderr
    volumes = [{volume["name"] for volume in project["volumes"].values()} for project in projects.values()]
    assert volumes[0].isdisjoint(volumes[1])


def test_own_settings_go_beside_the_project(filled: Path, live: Any, tmp_path: Path) -> None:
    """The compose.override.yaml that the guide shows puts one's own in place of the project's, and adds settings."""
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
        f"{PREFIX}LOG_LEVEL": "debug",
    }


def test_only_the_demo_counts_what_is_not_signed(everything: Sequence[tuple[str, Any]]) -> None:
    """Signatures are off for the demo's exporter and for none else, and nobody outside reaches that one."""
    modes = {
        name: service["environment"].get(f"{PREFIX}SIGNATURE_MODE")
        for name, service in everything
        if service["image"] == "smtpeter-exporter" and "environment" in service
    }
    assert modes == {"exporter": None, "demo-exporter": "off"}
    (demo,) = (service for name, service in everything if name == "demo-exporter")
    assert ("ports" in demo, list(demo["networks"])) == (False, ["private"])


def test_exporter_has_the_settings_that_are_meant(live: Any, tmp_path: Path) -> None:
    """With the variables of image and compose.yaml the exporter accepts its settings, and they say what they should."""
    folder = laid_out(live["exporter"], tmp_path) / "verification"
    given = image_environment() | live["exporter"]["environment"]
    assert given[f"{PREFIX}WEBHOOK_VERIFICATION_DIR"] == "/verification"
    done = subprocess.run(
        [sys.executable, "-m", "exporter", "check-config", "--webhook.verification-dir", str(folder)],
        check=True,
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
    """Promtool accepts configuration and rules where they are mounted; targets are containers and their ports."""
    place = laid_out(live["prometheus"], tmp_path) / "etc/prometheus/prometheus.yml"
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
    """Both exporters have the one name by which they are known, and traffic is sent there."""
    demo, port = projects["demo"]["services"], image_environment()[f"{PREFIX}WEBHOOK_LISTEN_ADDRESS"].rpartition(":")[2]
    name = projects["live"]["services"]["exporter"]["container_name"]
    assert demo["demo-exporter"]["container_name"] == name
    assert demo["demo-traffic"]["command"][:2] == ["simulate", f"http://{name}:{port}/failures"]


def test_simulation_understands_its_arguments(projects: Mapping[str, Any]) -> None:
    """What the demo sends by runs, for a moment, against nobody."""
    word, _, *flags = projects["demo"]["services"]["demo-traffic"]["command"]
    done = subprocess.run(
        [sys.executable, "-m", "exporter", word, f"http://127.0.0.1:{free_port()}/failures", *flags, "--for=0s"],
        check=False,
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert (done.returncode, done.stdout) == (0, "0 calls sent: 0 answered 200, 0 of them repeats; 0 refused\n")


def test_alertmanager_reads_its_configuration(live: Any, tmp_path: Path) -> None:
    """Amtool accepts configuration and template where they are mounted."""
    place = laid_out(live["alertmanager"], tmp_path) / "etc/alertmanager/alertmanager.yml"
    assert f"--config.file=/{place.relative_to(tmp_path)}" in live["alertmanager"]["command"]
    done = subprocess.run([server("amtool"), "check-config", str(place)], check=False, capture_output=True, text=True)
    assert (done.returncode, "1 templates" in done.stdout) == (0, True), done.stdout + done.stderr


def test_caddy_reads_its_configuration(live: Any, tmp_path: Path) -> None:
    """With the variables of compose.yaml Caddy's file is valid, for the host, and leads to the exporter's container."""
    place = laid_out(live["caddy"], tmp_path) / "etc/caddy/Caddyfile"
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
    """Grafana's provisioning names folders that are mounted, and a Prometheus that is there, asked as it is scraped."""
    root = laid_out(live["grafana"], tmp_path)
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
def as_in_the_image(folder: Path, settings: dict[str, str]) -> Iterator[list[str]]:
    """Run what the image runs, where only the folder can be written; gives its log. It must end in good order."""
    (start, *_), (word, *_) = json.loads(last("ENTRYPOINT")), json.loads(last("CMD"))
    assert start == "smtpeter-exporter"
    lines = folder.parent / "log"
    with lines.open("w") as log:
        process = subprocess.Popen(
            [*confined(folder), sys.executable, "-m", "exporter", word],
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
    """Exit code and words of the image's health check."""
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


def test_exporter_runs_where_it_can_write_its_volume_only(tmp_path: Path) -> None:
    """With the image's variables, a root that is read-only and no capabilities it counts; the health check tells."""
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
        pytest.skip("needs unshare and setpriv, and leave to mount for oneself")
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


def test_backup_of_the_guide_is_a_ledger(tmp_path: Path) -> None:
    """The copy that docs/how-to/docker.md makes of a ledger in use can be opened, and has all that was counted."""
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

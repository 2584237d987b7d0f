"""Run a real Alertmanager and talk to its API."""

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from deploy.demo.running import TIMEOUT, Client, MissingProgramError, as_installed, free_port, until

EXAMPLE: Final = Path(__file__).parents[1] / "alertmanager/alertmanager.yml"


def example(webhook: str | None = None) -> dict[str, Any]:
    """Return the shipped configuration with other receivers: all notify the webhook, or nobody if there is none."""
    shipped = yaml.safe_load(EXAMPLE.read_text())
    configs = {"webhook_configs": [{"url": webhook}]} if webhook else {}
    receivers = [{"name": receiver["name"], **configs} for receiver in shipped["receivers"]]
    return {"route": shipped["route"], "receivers": receivers, "inhibit_rules": shipped["inhibit_rules"]}


class Alertmanager:
    """A running Alertmanager, which listens on ``address``."""

    def __init__(self, program: str, directory: Path, config: Mapping[str, Any], *, address: str | None = None) -> None:
        (directory / "alertmanager.yml").write_text(json.dumps(config))
        self.address = address or f"127.0.0.1:{free_port()}"
        command = [
            *as_installed(program),
            f"--config.file={directory / 'alertmanager.yml'}",
            f"--storage.path={directory / 'data'}",
            f"--web.listen-address={self.address}",
            "--cluster.listen-address=",
        ]
        self._log = directory / "alertmanager.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        until(self._ready)

    def post(self, *labels: Mapping[str, str]) -> None:
        """Post firing alerts, each given by its labels."""
        body = json.dumps([{"labels": dict(each)} for each in labels]).encode()
        with Client(self.address) as client:
            answer = client.request("POST", "/api/v2/alerts", body, {"Content-Type": "application/json"})
        assert answer.status == 200, answer.text

    def statuses(self, job: str) -> list[tuple[dict[str, str], dict[str, Any]]]:
        """Return the labels and the status (active, silenced, inhibited) of each alert of a job."""
        with Client(self.address) as client:
            answer = client.request("GET", f"/api/v2/alerts?filter=job%3D{job}")
        return [(alert["labels"], alert["status"]) for alert in json.loads(answer.body)]

    def stop(self) -> None:
        """Stop the process."""
        self._process.terminate()
        self._process.wait(TIMEOUT)

    def _ready(self) -> bool:
        code = self._process.poll()
        if code is not None and "default.tmpl" in self._log.read_text():
            raise MissingProgramError("needs an installed Alertmanager, or mount namespaces for an unpacked one")
        assert code is None, f"Alertmanager exited with {code}: {self._log.read_text()}"
        try:
            with Client(self.address) as client:
                return client.request("GET", "/-/ready").status == 200
        except OSError:
            return False

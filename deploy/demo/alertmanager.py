"""Run a real Alertmanager."""

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from deploy.demo.running import TIMEOUT, Client, MissingProgramError, as_installed, free_port, until

EXAMPLE: Final = Path(__file__).parents[1] / "alertmanager/alertmanager.yml"


def example(webhook: str | None = None) -> dict[str, Any]:
    """The shipped configuration, with receivers that tell a webhook, or nobody."""
    shipped = yaml.safe_load(EXAMPLE.read_text())
    told = {"webhook_configs": [{"url": webhook}]} if webhook else {}
    receivers = [{"name": receiver["name"], **told} for receiver in shipped["receivers"]]
    return {"route": shipped["route"], "receivers": receivers, "inhibit_rules": shipped["inhibit_rules"]}


class Alertmanager:
    """A real Alertmanager."""

    def __init__(self, program: str, folder: Path, config: Mapping[str, Any], *, address: str | None = None) -> None:
        (folder / "alertmanager.yml").write_text(json.dumps(config))
        self.address = address or f"127.0.0.1:{free_port()}"
        command = [
            *as_installed(program),
            f"--config.file={folder / 'alertmanager.yml'}",
            f"--storage.path={folder / 'data'}",
            f"--web.listen-address={self.address}",
            "--cluster.listen-address=",
        ]
        self._log = folder / "alertmanager.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        until(self._ready)

    def post(self, *labels: Mapping[str, str]) -> None:
        """Tell of firing alerts."""
        body = json.dumps([{"labels": dict(one)} for one in labels]).encode()
        with Client(self.address) as client:
            answer = client.request("POST", "/api/v2/alerts", body, {"Content-Type": "application/json"})
        assert answer.status == 200, answer.text

    def statuses(self, job: str) -> list[tuple[dict[str, str], dict[str, Any]]]:
        """The alerts of a job: labels, and what became of each."""
        with Client(self.address) as client:
            answer = client.request("GET", f"/api/v2/alerts?filter=job%3D{job}")
        return [(alert["labels"], alert["status"]) for alert in json.loads(answer.body)]

    def stop(self) -> None:
        """End the process."""
        self._process.terminate()
        self._process.wait(TIMEOUT)

    def _ready(self) -> bool:
        code = self._process.poll()
        if code is not None and "default.tmpl" in self._log.read_text():
            raise MissingProgramError("needs an installed Alertmanager, or a mount namespace for an unpacked one")
        assert code is None, f"Alertmanager ended with {code}: {self._log.read_text()}"
        try:
            with Client(self.address) as client:
                return client.request("GET", "/-/ready").status == 200
        except OSError:
            return False

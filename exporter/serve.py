"""``serve``: create the components, connect them, and run them until a signal arrives."""

import gc
import logging
import os
import socket
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Final

from exporter import __version__
from exporter.classification.classifier import Classifier
from exporter.classification.labels import Labels, LabelSets
from exporter.classification.loops import DELIVERIES, SMALL_BODY
from exporter.classification.own_reasons import OwnReasons
from exporter.classification.providers import Providers
from exporter.ledger.clock import Clock
from exporter.ledger.committer import Commit, Committer
from exporter.ledger.contract import KEEP_IDENTITIES, Total
from exporter.ledger.factory import open_ledger
from exporter.metrics.collector import LedgerCollector, Snapshot, closed_series
from exporter.metrics.event_log import EventLog
from exporter.metrics.recent import Recent
from exporter.metrics.telemetry import Telemetry
from exporter.net import naming_setting
from exporter.process import Connections, raise_file_limit, requiring_threads, sd_notify, stop_on_signals, wait_for
from exporter.refusals import reason_for
from exporter.settings.table import Settings
from exporter.signature.key_records import resolver
from exporter.signature.keys import Keys
from exporter.signature.verifier import Policy, Verifier
from exporter.web.app import private_app
from exporter.web.facts import Facts
from exporter.web.listener import PrivateListener
from exporter.web.passwords import Passwords
from exporter.web.web_config import WebConfig
from exporter.webhook.app import public_app
from exporter.webhook.endpoint import Endpoint
from exporter.webhook.verification_files import VerificationFiles
from exporter.webhook.waitress_listener import Listener

log = logging.getLogger(__name__)

THREADS: Final = 8
"""Threads that a start needs, with some to spare for lookups and scrapes."""

PARSERS: Final = 2
"""Threads that parse returned messages. They share one core, so more would not be faster, but take more memory."""

MAX_CONNECTIONS: Final = Connections(public=1_000, private=100)
"""Maximum numbers of open connections. When one more arrives, the longest idle or the oldest one is closed."""


class Exporter:
    """The components of a running exporter.

    If one of them fails, sets ``failed`` and puts an empty string into ``requests``. Raises SettingError, LedgerError
    or ListenError if it cannot start.
    """

    def __init__(self, settings: Settings, requests: SimpleQueue[str], connections: Connections) -> None:
        self._settings = settings
        self._requests = requests
        self._connections = connections
        self.failed = False
        self._web_config = WebConfig(settings.web_config_file) if settings.web_config_file else None
        self._telemetry = Telemetry(settings.webhook_loops)
        self._recent = Recent()
        self._event_log = EventLog(masked=settings.log_events == "masked")
        self._parsers = ThreadPoolExecutor(PARSERS, "parser")  # starts its threads when they are needed
        self._telemetry.signature_mode(settings.signature_mode)
        self._keys: Keys | None = None
        directory = settings.webhook_verification_dir
        fetched = partial(self._telemetry.activity.saw, "file")
        self._files = VerificationFiles(directory, fetched) if directory else None
        self._ledger = open_ledger(settings.storage_url, now=time.time())
        try:
            label_sets, providers = LabelSets(), Providers(dict(settings.providers))
            classifier = Classifier(label_sets, providers, settings.tags_count, OwnReasons(settings.reasons))
            verifier = self._verifier()
            endpoints = [
                Endpoint(loop, verifier, classifier, self._telemetry, self._parsers) for loop in settings.webhook_loops
            ]
            self._committer = Committer(
                self._ledger,
                clock=Clock(self._ledger.clock, self._ledger.clock_state(), keep=self._shortest_retention()),
                committed=self._committed,
                hold=settings.metrics_birth_hold,
                keep_deliveries=settings.storage_keep_deliveries,
            )
            self._collector = self._collector_of(label_sets)
            self._telemetry.registry.register(self._collector)
            self.public = self._public_listener(endpoints)
            self.private = self._private_listener()
        except BaseException:
            self._ledger.close()
            raise

    def start(self) -> None:
        """Start all components; returns immediately."""
        self._committer.start()
        self.public.start()
        self.private.start()  # last, because it says that the exporter is ready

    def reload(self) -> None:
        """Reload the web configuration, if there is one."""
        if self._web_config:
            self._web_config.request_reload()
        else:
            log.info("nothing to reload: web.config.file is not set")

    def stop(self) -> None:
        """Stop in order: public listener, committer, private listener, ledger."""
        self.public.stop()
        self._parsers.shutdown(wait=False, cancel_futures=True)
        written = self._committer.stop()
        self._event_log.close()
        self.private.stop()
        if self._keys:
            self._keys.close()
        if written:
            self._ledger.close()
        else:
            log.error("ledger did not finish in time; failures that were not answered 200 may be missing")
            self.failed = True

    def _shortest_retention(self) -> float:
        settings = self._settings
        return settings.storage_keep_deliveries if DELIVERIES in settings.webhook_loops else KEEP_IDENTITIES

    def _committed(self, commit: Commit) -> None:
        self._telemetry.committed(commit)
        self._recent.committed(commit)
        self._event_log.committed(commit)

    def _collector_of(self, label_sets: LabelSets) -> LedgerCollector:
        def count_sets(totals: list[Total]) -> int:
            label_sets.learn(Labels(*total.series[1:]) for total in totals if total.series[0] == "failures")
            return len(label_sets)

        totals = self._ledger.totals()
        count_sets(totals)
        return LedgerCollector(
            self._ledger,
            self._settings.webhook_loops,
            closed_series(self._settings.webhook_loops, self._settings.tags_count),
            label_sets=count_sets,
            problem=lambda: self._committer.problem,
            last=Snapshot(totals, self._ledger.size(), time.time()),
        )

    def _public_listener(self, endpoints: Sequence[Endpoint]) -> Listener:
        settings, telemetry = self._settings, self._telemetry
        large = [endpoint.loop.path for endpoint in endpoints if endpoint.loop.max_body > SMALL_BODY]
        app = public_app(
            endpoints,
            self._committer,
            telemetry,
            host=settings.public_host,
            prefix=settings.public_path,
            files=self._files,
        )
        with naming_setting("webhook.listen-address"):
            return Listener(
                app,
                *settings.webhook_listen_address,
                connections=self._connections.public,
                refused=lambda status: telemetry.refused(reason_for(status)),
                failed=self._fail,
                large_paths=[base + path for base in {"", settings.public_path} for path in large],
            )

    def _private_listener(self) -> PrivateListener:
        passwords = self._web_config.passwords if self._web_config else Passwords({})
        app = private_app(self._telemetry, self._committer, passwords, self._facts)
        address, most = self._settings.web_listen_address, self._connections.private
        with naming_setting("web.listen-address"):
            return PrivateListener(app, *address, self._web_config, connections=most, failed=self._fail)

    def _verifier(self) -> Verifier | None:
        settings = self._settings
        if settings.signature_mode == "off":
            return None
        self._keys = Keys(resolver(settings.signature_nameserver), on_result=self._telemetry.looked_up)
        self._telemetry.watch_keys(self._keys.ages)
        policy = Policy(
            accounts=frozenset(settings.signature_account),
            key_domain=settings.signature_key_domain,
            max_age=settings.signature_max_age,
            url=settings.webhook_public_url.rstrip("/"),
        )
        return Verifier(policy, self._keys, time.time)

    def _facts(self) -> Facts:
        """Return what the status page shows, without access to the ledger: the page must work even if that hangs."""
        settings, activity = self._settings, self._telemetry.activity
        files = self._files.look() if self._files else None
        shared = not isinstance(settings.storage_url, Path)
        return Facts(
            now=time.time(),
            since=activity.since,
            version=__version__,
            machine=socket.gethostname(),
            docs_url=settings.web_docs_url,
            public_url=settings.webhook_public_url.rstrip("/"),
            signature_required=settings.signature_mode == "required",
            verification_files=files.files if files else None,
            verification_problem=files.problem if files else None,
            last=activity.last(),
            refusals=activity.refusals(),
            misdirected=activity.misdirected(),
            loops=settings.webhook_loops,
            requests=activity.requests(),
            counts=activity.counts(),
            recent=self._recent.look(),
            engine="PostgreSQL" if shared else "SQLite",
            shared=shared,
            ledger=self._collector.latest,
            problem=self._committer.problem,
            only_failures=self._committer.only_failures,
            birth_hold=settings.metrics_birth_hold,
            keys=self._keys.ages() if self._keys else (),
        )

    def _fail(self) -> None:
        self.failed = True
        self._requests.put("")


def serve(settings: Settings, notify_socket: str = "") -> int:
    """Run until SIGTERM or SIGINT, and return the exit code. ``notify_socket`` is systemd's, empty if there is none.

    SIGHUP reloads the web configuration, unless it comes because the terminal was closed.
    """
    terminal = os.isatty(2)
    connections = raise_file_limit(MAX_CONNECTIONS)
    if connections != MAX_CONNECTIONS:
        log.warning(
            "the limit on open files allows fewer connections; raise it (ulimit -n, or LimitNOFILE= of systemd)",
            extra={**connections._asdict(), "expected": sum(MAX_CONNECTIONS)},
        )
    requests: SimpleQueue[str] = SimpleQueue()
    with requiring_threads(THREADS):
        exporter = Exporter(settings, requests, connections)
        stop_on_signals(requests)  # until here, there is nothing to stop in order, so a signal ends the process
        warn_insecure(settings)
        exporter.start()
        gc.freeze()  # what exists now lives as long as the process, so the garbage collector need not look at it
    log.info(
        "ready",
        extra={
            **{loop.name: f"http://{exporter.public.address}{loop.path}" for loop in settings.webhook_loops},
            "metrics": f"{exporter.private.scheme}://{exporter.private.address}/metrics",
            "status_page": f"{exporter.private.scheme}://{exporter.private.address}/",
            "ledger": place.absolute() if isinstance(place := settings.storage_url, Path) else place,
            "version": __version__,
        },
    )
    sd_notify(notify_socket, "READY=1")
    while (name := wait_for(requests)) == "SIGHUP" and os.isatty(2) == terminal:
        exporter.reload()
    log.info("stopping", extra={"signal": name} if name else {"why": "a listener failed"})
    sd_notify(notify_socket, "STOPPING=1")
    exporter.stop()
    log.info("stopped")
    return 1 if exporter.failed else 0


def warn_insecure(settings: Settings) -> None:
    """Log the settings that are insecure."""
    for warning in warnings_of(settings):
        log.warning(warning)


def warnings_of(settings: Settings) -> list[str]:
    """Return a line for each insecure setting."""
    found = []
    if settings.signature_mode == "off":
        found.append("signature verification is off: anyone who can reach the public listener can submit fake failures")
    elif not settings.webhook_public_url:
        found.append("webhook.public-url is not set: requests signed for another URL of the account are accepted, too")
    host = settings.web_listen_address.host
    if not settings.web_config_file and host != "localhost" and not host.startswith("127.") and host != "::1":
        found.append("private listener is open to other machines without a password; see web.config.file")
    return found

"""The Pod Security Standard "restricted" as data (kubernetes.io/docs/concepts/security/pod-security-standards)."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from tests.support.kubernetes import Object

_VOLUMES: Final = frozenset(
    "configMap csi downwardAPI emptyDir ephemeral image persistentVolumeClaim projected secret".split()
)

_OF_PODS: Final[Mapping[str, Callable[[Object], Any]]] = {
    "hostNetwork": lambda pod: pod.get("hostNetwork"),
    "hostPID": lambda pod: pod.get("hostPID"),
    "hostIPC": lambda pod: pod.get("hostIPC"),
    "volumes": lambda pod: set().union(*pod.get("volumes", ())) - {"name"} - _VOLUMES,
    "sysctls": lambda pod: pod.get("securityContext", {}).get("sysctls"),
}
"""For each rule about pods, whether a pod's spec breaks it."""

_OF_CONTAINERS: Final[Mapping[str, Callable[[Object, Object], Any]]] = {
    "hostPort": lambda container, _: any("hostPort" in port for port in container.get("ports", ())),
    "host of a probe": lambda container, _: any("host" in request for request in _requests(container)),
    "hostProcess": lambda _, context: context.get("windowsOptions", {}).get("hostProcess"),
    "privileged": lambda _, context: context.get("privileged"),
    "allowPrivilegeEscalation": lambda _, context: context.get("allowPrivilegeEscalation") is not False,
    "runAsNonRoot": lambda _, context: context.get("runAsNonRoot") is not True,
    "runAsUser": lambda _, context: context.get("runAsUser") == 0,
    "seccompProfile": lambda _, context: (
        context.get("seccompProfile", {}).get("type") not in {"RuntimeDefault", "Localhost"}
    ),
    "appArmorProfile": lambda _, context: context.get("appArmorProfile", {}).get("type") == "Unconfined",
    "seLinuxOptions": lambda _, context: context.get("seLinuxOptions"),
    "procMount": lambda _, context: context.get("procMount", "Default") != "Default",
    "capabilities dropped": lambda _, context: "ALL" not in context.get("capabilities", {}).get("drop", ()),
    "capabilities added": lambda _, context: set(context.get("capabilities", {}).get("add", ())) - {"NET_BIND_SERVICE"},
}
"""For each rule about containers, whether a container breaks it, given its spec and effective security context."""


def violations(pod: Object) -> Iterator[str]:
    """Yield the rules that a pod's spec breaks."""
    yield from (rule for rule, broken in _OF_PODS.items() if broken(pod))
    for container in (*pod["containers"], *pod.get("initContainers", ()), *pod.get("ephemeralContainers", ())):
        context = pod.get("securityContext", {}) | container.get("securityContext", {})
        yield from (rule for rule, broken in _OF_CONTAINERS.items() if broken(container, context))


def _requests(container: Object) -> Iterator[Object]:
    handlers = [container.get(f"{use}Probe", {}) for use in ("startup", "liveness", "readiness")]
    for handler in (*handlers, *container.get("lifecycle", {}).values()):
        yield from (handler[how] for how in ("httpGet", "tcpSocket") if how in handler)

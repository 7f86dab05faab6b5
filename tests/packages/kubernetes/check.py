"""Holds packaging/kubernetes against Kubernetes' own schemas, the restricted Pod Security Standard, and the chart against
the base. Run by `tests/packages/run kubernetes`; with --pod, prints the base as `podman kube play` takes it, which knows
no StatefulSet: its pod, with a claim for its volume. Its probes are left out, as they need systemd and curl in the image,
and so is the restart, as Podman 4 also restarts init containers that have succeeded.
"""

import argparse
import contextlib
import copy
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import helm_python as helm
import kubernetes_validate
import yaml

REPO = Path(__file__).resolve().parents[3]
FOLDER = REPO / "packaging/kubernetes"
CHART = FOLDER / "chart"
# The oldest that Chart.yaml allows, one of the middle, and the newest.
VERSIONS = ("1.25", "1.31", kubernetes_validate.latest_version())
PROBES = ("startupProbe", "livenessProbe", "readinessProbe")
NAME = "hermes-proxyd"


def version() -> str:
    package = (REPO / "Cargo.toml").read_text().split("[package]")[1]
    return re.search(r'^version = "(.+)"$', package, re.MULTILINE)[1]


def same(what: str, found: object, expected: object) -> None:
    if found != expected:
        raise AssertionError(f"{what}: {json.dumps(found)} instead of {json.dumps(expected)}")


def documents(text: str) -> list[dict]:
    return [document for document in yaml.safe_load_all(text) if document]


def kustomize(folder: Path) -> list[dict]:
    done = subprocess.run(["kubectl", "kustomize", folder], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise AssertionError(done.stderr)
    return documents(done.stdout)


def of_kind(rendered: list[dict], kind: str) -> dict:
    (found,) = (one for one in rendered if one["kind"] == kind)
    return found


def kinds(rendered: list[dict]) -> list[str]:
    return sorted(one["kind"] for one in rendered)


def valid(rendered: list[dict]) -> None:
    for one in rendered:
        # A kind of the Prometheus Operator, whose schema is its own.
        if one["kind"] == "ServiceMonitor":
            continue
        for release in VERSIONS:
            kubernetes_validate.validate(one, release, strict=True)


def restricted(pod: dict) -> None:
    """https://kubernetes.io/docs/concepts/security/pod-security-standards/, Restricted, and what we add."""
    whole = pod["securityContext"]
    same("runAsNonRoot", whole["runAsNonRoot"], True)
    same("seccomp", whole["seccompProfile"], {"type": "RuntimeDefault"})
    for name in ("hostNetwork", "hostPID", "hostIPC", "hostUsers"):
        same(name, pod.get(name), None)
    same("token", pod["automountServiceAccountToken"], False)
    allowed = {"configMap", "secret", "persistentVolumeClaim"}
    for volume in pod["volumes"]:
        if not allowed & set(volume):
            raise AssertionError(f"a volume of another kind: {volume}")
    for container in pod["initContainers"] + pod["containers"]:
        own = container["securityContext"]
        same("escalation", own["allowPrivilegeEscalation"], False)
        same("capabilities", own["capabilities"], {"drop": ["ALL"]})
        same("root", own["readOnlyRootFilesystem"], True)
        same("own settings", set(own) - {"allowPrivilegeEscalation", "capabilities", "readOnlyRootFilesystem"}, set())
        same("host ports", [port for port in container.get("ports", []) if "hostPort" in port], [])
        for need in ("requests", "limits"):
            if "memory" not in container["resources"][need]:
                raise AssertionError(f"no memory under {need}")


def keeps_its_promises(rendered: list[dict]) -> None:
    """What docs/kubernetes.md says of the base, and the code relies on."""
    state = of_kind(rendered, "StatefulSet")["spec"]
    pod = state["template"]["spec"]
    restricted(pod)
    same("replicas", state["replicas"], 1)
    same("group", pod["securityContext"]["fsGroupChangePolicy"], "OnRootMismatch")
    (keys, daemon) = pod["initContainers"] + pod["containers"]
    for container in (keys, daemon):
        same("image", container["image"], f"{NAME}:{version()}")
        variables = {one["name"]: one["value"] for one in container["env"]}
        same("runtime folder", variables["XDG_RUNTIME_DIR"], "")
    unit = (REPO / "systemd/hermes-proxyd.service").read_text()
    same("grace", pod["terminationGracePeriodSeconds"], int(re.search(r"TimeoutStopSec=(\d+)", unit)[1]))
    paths = [daemon[probe]["httpGet"]["path"] for probe in PROBES]
    same("probes", paths, ["/livez", "/livez", "/readyz"])
    labels = state["template"]["metadata"]["labels"]
    policy = of_kind(rendered, "NetworkPolicy")["spec"]
    service = of_kind(rendered, "Service")["spec"]
    # Each selects this pod, and none selects all.
    for what, selected in (
        ("the StatefulSet", state["selector"]["matchLabels"]),
        ("the NetworkPolicy", policy["podSelector"]["matchLabels"]),
        ("the Service", service["selector"]),
    ):
        if not selected or not selected.items() <= labels.items():
            raise AssertionError(f"{what} selects {selected}")
    for rule in policy["ingress"]:
        same("who connects", all(one != {} for one in rule["from"]), True)
        for one in rule["from"]:
            same("its label", next(iter(one.values()))["matchLabels"], {"hermes-proxyd/client": "true"})
    ports = sorted(port["port"] for rule in policy["egress"] for port in rule["ports"])
    same("egress", ports, [53, 53, 443])
    (config,) = (volume["configMap"]["name"] for volume in pod["volumes"] if "configMap" in volume)
    same("the ConfigMap", of_kind(rendered, "ConfigMap")["metadata"]["name"], config)


def bare(one: dict) -> dict:
    """Without what a chart names in its own way."""
    one = copy.deepcopy(one)
    one["metadata"] = {}
    spec = one.get("spec", {})
    for selector in (spec.get("selector"), spec.get("podSelector")):
        if selector:
            selector.get("matchLabels", selector).pop("app.kubernetes.io/instance", None)
    if template := spec.get("template"):
        same("the pod's annotations", set(template["metadata"].pop("annotations", {})) - {"checksum/config"}, set())
        template["metadata"]["labels"].pop("app.kubernetes.io/instance", None)
        for volume in template["spec"]["volumes"]:
            if "configMap" in volume:
                volume["configMap"]["name"] = NAME
    return one


def render(values: dict, name: str = NAME) -> list[dict]:
    with helm.Chart.load(str(CHART)) as chart:
        chart.validate_schema(chart.merge_values(values))
        files = chart.render(values, name=name, namespace="hermes")
    return [one for file, text in files.items() if file.endswith(".yaml") for one in documents(text)]


def refused(values: dict) -> None:
    try:
        render(values)
    except helm.HelmError:
        return
    raise AssertionError(f"the chart takes {values}")


def chart(base: list[dict], monitored: list[dict]) -> None:
    said = helm.lint(str(CHART))
    wrong = [one for one in said["messages"] if one["severity"] > 1]
    same("lint", [said["errors"], wrong], [[], []])
    about = yaml.safe_load((CHART / "Chart.yaml").read_text())
    same("the chart's versions", [about["version"], about["appVersion"]], [version(), version()])
    for values, expected in (({}, base), ({"serviceMonitor": {"enabled": True}}, monitored)):
        rendered = render(values)
        keeps_its_promises(rendered)
        same("kinds", kinds(rendered), kinds(expected))
        for one in rendered:
            same(one["kind"], bare(one), bare(of_kind(expected, one["kind"])))
    variants(base)


def variants(base: list[dict]) -> None:
    claimed = render({"persistence": {"existingClaim": "mine"}})
    state = of_kind(claimed, "StatefulSet")["spec"]
    same("claims", state.get("volumeClaimTemplates"), None)
    homes = [volume for volume in state["template"]["spec"]["volumes"] if volume["name"] == "home"]
    same("the claim", homes, [{"name": "home", "persistentVolumeClaim": {"claimName": "mine"}}])
    rich = {
        "image": {"repository": "registry.example/hermes-proxyd", "tag": "1"},
        "imagePullSecrets": [{"name": "pull"}],
        "config": "[[listen]]\naddress = \"[::]:8645\"\n",
        "clientKeysSecret": "keys",
        "env": [{"name": "EXAMPLE_API_KEY", "valueFrom": {"secretKeyRef": {"name": "a", "key": "b"}}}],
        "persistence": {"size": "500Mi", "storageClass": "fast", "accessMode": "ReadWriteOncePod"},
        "service": {"type": "LoadBalancer", "port": 80, "annotations": {"a": "b"}},
        "networkPolicy": {
            "from": [{"ipBlock": {"cidr": "192.0.2.0/24"}}],
            "egress": [{"to": [{"ipBlock": {"cidr": "192.0.2.1/32"}}], "ports": [{"port": 11434}]}],
        },
        "serviceMonitor": {"enabled": True, "interval": "30s", "clientKey": "p", "labels": {"release": "x"}},
        "podAnnotations": {"a": "b"},
        "podLabels": {"a": "b"},
        "nodeSelector": {"kubernetes.io/arch": "arm64"},
        "tolerations": [{"key": "a", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {}},
        "priorityClassName": "high",
    }
    for values, name in (({}, "ai"), ({}, "x" * 53), ({"networkPolicy": {"enabled": False}}, NAME), (rich, "ai")):
        rendered = render(values, name)
        valid(rendered)
        restricted(of_kind(rendered, "StatefulSet")["spec"]["template"]["spec"])
        for one in rendered:
            if len(one["metadata"]["name"]) > 52:
                raise AssertionError(f"a pod's name has no room behind {one['metadata']['name']}")
    same("no policy", kinds(render({"networkPolicy": {"enabled": False}})), sorted(set(kinds(base)) - {"NetworkPolicy"}))
    same("a changed configuration restarts the pod", checksum({"config": "a = 1"}) != checksum({}), True)
    for wrong in (
        {"replicas": 2},
        {"persistence": {"accessMode": "ReadWriteTwice"}},
        {"service": {"port": "http"}},
        {"config": ""},
    ):
        refused(wrong)


def checksum(values: dict) -> str:
    template = of_kind(render(values), "StatefulSet")["spec"]["template"]
    return template["metadata"]["annotations"]["checksum/config"]


@contextlib.contextmanager
def overlay(text: str):
    """A folder beside a copy of the base, with this kustomization."""
    with tempfile.TemporaryDirectory(prefix="hp") as folder:
        place = Path(folder)
        shutil.copytree(FOLDER, place / "kubernetes")
        own = place / "kubernetes/own"
        own.mkdir()
        (own / "kustomization.yaml").write_text(text)
        (own / "config.toml").write_text('[[listen]]\naddress = "[::]:8645"\n')
        yield own


def page() -> None:
    """What docs/kubernetes.md shows."""
    text = (REPO / "docs/kubernetes.md").read_text()
    block = lambda name: text.split(f"```yaml {name}\n")[1].split("```")[0]
    with overlay(block("overlay")) as own:
        rendered = kustomize(own)
    valid(rendered)
    pod = of_kind(rendered, "StatefulSet")["spec"]["template"]["spec"]
    images = {one["image"] for one in pod["initContainers"] + pod["containers"]}
    same("the overlay's images", images, {f"registry.example/hermes-proxyd:{version()}"})
    config = of_kind(rendered, "ConfigMap")
    same("the overlay's configuration", "[::]" in config["data"]["config.toml"], True)
    same("its name", config["metadata"]["name"] != of_kind(kustomize(FOLDER / "base"), "ConfigMap")["metadata"]["name"], True)
    app = yaml.safe_load(block("app"))
    app["spec"]["containers"][0]["image"] = "app"
    app = {"apiVersion": "v1", "kind": "Pod", **app}
    app["metadata"]["name"] = "app"
    ingress = yaml.safe_load(block("ingress"))
    valid([app, ingress])
    (rule,) = ingress["spec"]["rules"]
    led = rule["http"]["paths"][0]["backend"]["service"]
    service = of_kind(rendered, "Service")
    same("where the ingress leads", led["name"], service["metadata"]["name"])
    same("its port", led["port"]["name"], service["spec"]["ports"][0]["name"])


def containerfile() -> None:
    """It makes what packaging/image.py makes."""
    text = (REPO / "packaging/Containerfile").read_text().replace("\\\n", "")
    lines = [line.split(maxsplit=1) for line in text.splitlines() if line and not line.startswith("#")]
    last = max(at for at, line in enumerate(lines) if line[0] == "FROM")
    made = {name: value for name, value in lines[last:] if name != "COPY"}
    spec = importlib.util.spec_from_file_location("image", REPO / "packaging/image.py")
    image = importlib.util.module_from_spec(spec)
    os.environ.setdefault("SOURCE_DATE_EPOCH", "0")
    spec.loader.exec_module(image)
    config = image.config("amd64", b"", {})["config"]
    same("the image's base", made["FROM"], "scratch")
    same("its user", made["USER"], config["User"])
    same("its variables", sorted(made["ENV"].split()), sorted(config["Env"]))
    same("its program", json.loads(made["ENTRYPOINT"]), config["Entrypoint"])
    same("its folder", made["WORKDIR"], config["WorkingDir"])
    same("its signal", made["STOPSIGNAL"], config["StopSignal"])
    same("its ports", [f"{made['EXPOSE']}/tcp"], list(config["ExposedPorts"]))
    needs = re.search(r'^rust-version = "(.+)"$', (REPO / "Cargo.toml").read_text(), re.MULTILINE)[1]
    same("its compiler", lines[0][1], f"rust:{needs}.0-alpine AS build")


def main() -> str:
    containerfile()
    base = kustomize(FOLDER / "base")
    same("kinds", kinds(base), ["ConfigMap", "NetworkPolicy", "Service", "StatefulSet"])
    monitoring = "resources: [../base]\ncomponents: [../monitoring]\n"
    with overlay(monitoring) as own:
        monitored = kustomize(own)
    monitor = of_kind(monitored, "ServiceMonitor")["spec"]
    service = of_kind(base, "Service")
    same("what is scraped", monitor["selector"]["matchLabels"], service["metadata"]["labels"])
    same("its port", monitor["endpoints"][0]["port"], service["spec"]["ports"][0]["name"])
    valid(base)
    keeps_its_promises(base)
    chart(base, monitored)
    page()
    return f"valid for Kubernetes {', '.join(map(str, VERSIONS))}; Helm {helm.helm_sdk_version()} renders the same"


def pod() -> str:
    base = kustomize(FOLDER / "base")
    state = of_kind(base, "StatefulSet")
    spec = state["spec"]["template"]["spec"]
    for container in spec["containers"]:
        for probe in PROBES:
            del container[probe]
    claims = []
    for claim in state["spec"]["volumeClaimTemplates"]:
        name = claim["metadata"]["name"]
        claims.append({"apiVersion": "v1", "kind": "PersistentVolumeClaim", **claim})
        spec["volumes"].append({"name": name, "persistentVolumeClaim": {"claimName": name}})
    made = {"apiVersion": "v1", "kind": "Pod", **state["spec"]["template"]}
    made["metadata"]["name"] = f"{NAME}-0"
    spec["restartPolicy"] = "Never"
    return yaml.safe_dump_all([of_kind(base, "ConfigMap"), *claims, made])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split(".")[0])
    parser.add_argument("--pod", action="store_true", help="print the base for `podman kube play`")
    print(pod() if parser.parse_args().pod else main())
    sys.exit(0)

# -*- test-case-name: tests.deployment.test_manifests -*-
"""The manifests in conf/kubernetes: they render, have the API's shape, and fit each other, the Corefile and kdns."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from kdns.checking.faults import look
from kdns.checking.findings import Severity
from kdns.checking.source import source_of
from kdns.cli.flags import parse_flags
from kdns.cli.node_cache import KUBE_DNS, parse
from kdns.cluster.resources import Needs, watched_for
from kdns.corefile.kube_dns import KubeDnsSettings
from kdns.corefile.values import parse_duration
from kdns.node_cache.template import CLUSTER_DNS, UPSTREAM_SERVERS, corefile_text
from tests.deployment.objects import (
    BASE,
    HPA,
    KUBECTL,
    LADDER,
    LINEAR,
    NODE_LOCAL,
    REPLACE,
    WHOLE,
    as_written,
    objects,
    one,
    pod_ports,
    rendered,
)
from tests.integration.programs import ROOT

CLUSTER = ROOT / "conf" / "cluster" / "Corefile"
CACHE = ROOT / "conf" / "node-local" / "Corefile"

PROGRAMMING = 3
"""Seconds from a pod that is not ready to nodes that send it nothing: the endpoint controller and kube-proxy."""

VERSIONS = ("1.29", "1.37")
"""Kubernetes releases whose schemas the manifests are held against."""


def without_comments(file: Path) -> str:
    """A Corefile without the lines that are comments."""
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
    return "".join(line for line in lines if not line.startswith("#"))


def faults(item: Any, version: str) -> str:
    """What the schema of a Kubernetes release finds in an object; empty: nothing."""
    try:
        from kubernetes_validate import ValidationError, validate
    except ImportError:
        raise SkipTest("kubernetes-validate is not installed") from None
    try:
        validate(item, version, strict=True)
    except ValidationError as error:
        return f"{item['kind']} {item['metadata']['name']}: {error}"
    return ""


class SchemaTests(SynchronousTestCase):
    """The objects have the fields and types of the API."""

    def test_objects(self) -> None:
        """Every object of every folder is one in each of several releases of Kubernetes."""
        for version in VERSIONS:
            different = {json.dumps(item): item for folder in WHOLE for item in objects(folder)}
            found = [faults(item, version) for item in different.values()]
            self.assertEqual([fault for fault in found if fault], [])

    def test_unknown_fields_and_wrong_types(self) -> None:
        """The check finds a misspelt field, a number that is a text, and a field that is missing."""
        for spoil in (
            lambda spec: spec.update(terminationGracePeriod=30),
            lambda spec: spec["containers"][0]["ports"][0].update(containerPort="53"),
            lambda spec: spec["containers"][0].pop("name"),
        ):
            deployment = copy.deepcopy(one(as_written(BASE), "Deployment"))
            spoil(deployment["spec"]["template"]["spec"])
            self.assertNotEqual(faults(deployment, VERSIONS[-1]), "")


class BaseTests(SynchronousTestCase):
    """The base is what kubeadm installs for CoreDNS, and fits kdns."""

    def setUp(self) -> None:
        """Read it."""
        self.objects = objects(BASE)
        self.deployment = one(self.objects, "Deployment")
        self.pod = self.deployment["spec"]["template"]
        (self.container,) = self.pod["spec"]["containers"]
        self.service = one(self.objects, "Service", "kube-dns")
        self.corefile = one(self.objects, "ConfigMap")["data"]["Corefile"]

    def test_whole(self) -> None:
        """It has all that a cluster's DNS needs, everything in kube-system, and nothing besides."""
        kinds = sorted(item["kind"] for item in self.objects)
        wanted = ["ClusterRole", "ClusterRoleBinding", "ConfigMap", "Deployment", "PodDisruptionBudget", "Service"]
        self.assertEqual(kinds, [*wanted, "ServiceAccount"])
        spaces = {item["metadata"].get("namespace") for item in self.objects if "Cluster" not in item["kind"]}
        self.assertEqual(spaces, {"kube-system"})

    def test_every_file_is_listed(self) -> None:
        """No file of the base is forgotten in its kustomization."""
        self.assertEqual(len(as_written(BASE)), len(self.objects))
        listed = (BASE / "kustomization.yaml").read_text(encoding="utf-8")
        for file in BASE.glob("*.yaml"):
            if file.name != "kustomization.yaml":
                self.assertIn(f"- {file.name}\n", listed)

    def test_corefile(self) -> None:
        """The ConfigMap's Corefile is conf/cluster/Corefile, and the container's arguments name it where it is mounted."""
        self.assertEqual(self.corefile, without_comments(CLUSTER))
        (mount,) = self.container["volumeMounts"]
        (volume,) = self.pod["spec"]["volumes"]
        (item,) = volume["configMap"]["items"]
        self.assertEqual((mount["name"], mount["readOnly"]), (volume["name"], True))
        self.assertEqual(
            (item["key"], parse_flags(self.container["args"]).conf),
            ("Corefile", f"{mount['mountPath']}/{item['path']}"),
        )

    def test_ports(self) -> None:
        """The container's ports are those that the Corefile opens, and the probes and the Service use them."""
        ports = {port["name"]: port["containerPort"] for port in self.container["ports"]}
        opened = pod_ports(self.corefile)
        self.assertEqual(opened, {"dns": {53}, "health": {8080}, "ready": {8181}, "prometheus": {9153}})
        wanted = {"dns": 53, "dns-tcp": 53, "metrics": 9153, "liveness-probe": 8080, "readiness-probe": 8181}
        self.assertEqual(ports, wanted)
        served = [
            (port["name"], port["port"], port["targetPort"], port["protocol"]) for port in self.service["spec"]["ports"]
        ]
        self.assertEqual(served, [("dns", 53, 53, "UDP"), ("dns-tcp", 53, 53, "TCP"), ("metrics", 9153, 9153, "TCP")])
        self.assertEqual(self.service["metadata"]["annotations"]["prometheus.io/port"], "9153")

    def test_probes(self) -> None:
        """Liveness asks what CoreDNS's does, as patiently; readiness notices within a second, long before lameduck is over."""
        live = {
            "httpGet": {"path": "/health", "port": "liveness-probe"},
            "initialDelaySeconds": 60,
            "timeoutSeconds": 5,
            "successThreshold": 1,
            "failureThreshold": 5,
        }
        self.assertEqual(self.container["livenessProbe"], live)
        ready = {"httpGet": {"path": "/ready", "port": "readiness-probe"}, "periodSeconds": 1, "failureThreshold": 1}
        self.assertEqual(self.container["readinessProbe"], ready)
        (lameduck,) = _words(self.corefile, "lameduck")
        self.assertGreaterEqual(parse_duration(lameduck), 1 + PROGRAMMING)
        grace = self.pod["spec"].get("terminationGracePeriodSeconds", 30)
        self.assertGreater(grace, parse_duration(lameduck) + 5)

    def test_selectors(self) -> None:
        """Service, Deployment, budget and anti-affinity speak of the same pods."""
        labels = self.pod["metadata"]["labels"]
        budget = one(self.objects, "PodDisruptionBudget")
        (term,) = self.pod["spec"]["affinity"]["podAntiAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
        (expression,) = term["podAffinityTerm"]["labelSelector"]["matchExpressions"]
        self.assertEqual(labels, {"k8s-app": "kube-dns"})
        self.assertEqual(self.deployment["spec"]["selector"]["matchLabels"], labels)
        self.assertEqual(self.service["spec"]["selector"], labels)
        self.assertEqual(budget["spec"]["selector"]["matchLabels"], labels)
        self.assertEqual((expression["key"], expression["values"]), ("k8s-app", ["kube-dns"]))

    def test_confined(self) -> None:
        """The pod has no right but port 53, cannot write, and has no limit of processor time."""
        self.assertEqual(
            self.container["securityContext"],
            {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"add": ["NET_BIND_SERVICE"], "drop": ["ALL"]},
            },
        )
        self.assertEqual(
            self.container["resources"], {"requests": {"cpu": "100m", "memory": "70Mi"}, "limits": {"memory": "170Mi"}}
        )

    def test_pod(self) -> None:
        """Where and how the pod runs is as kubeadm has it."""
        spec = self.pod["spec"]
        self.assertEqual((spec["dnsPolicy"], spec["priorityClassName"]), ("Default", "system-cluster-critical"))
        self.assertEqual(spec["nodeSelector"], {"kubernetes.io/os": "linux"})
        self.assertEqual(self.deployment["spec"]["replicas"], 2)
        self.assertEqual(
            self.deployment["spec"]["strategy"],
            {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": "25%"}},
        )
        control_plane = {"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"}
        self.assertEqual(spec["tolerations"], [{"key": "CriticalAddonsOnly", "operator": "Exists"}, control_plane])

    def test_permissions(self) -> None:
        """What kdns watches it may list and watch, and nothing else is asked for but what CoreDNS's role has."""
        rules = one(self.objects, "ClusterRole", "system:coredns")["rules"]
        self.assertEqual({tuple(rule["verbs"]) for rule in rules}, {("list", "watch")})
        allowed = {(group, name) for rule in rules for group in rule["apiGroups"] for name in rule["resources"]}
        wanted = {(one.group, one.plural) for one in watched_for(Needs(pods=True))}
        self.assertEqual(allowed, wanted | {("", "endpoints")})  # which CoreDNS's role has from the time before slices
        binding = one(self.objects, "ClusterRoleBinding", "system:coredns")
        account = one(self.objects, "ServiceAccount")["metadata"]
        (subject,) = binding["subjects"]
        self.assertEqual(binding["roleRef"]["name"], "system:coredns")
        self.assertEqual((subject["name"], subject["namespace"]), (account["name"], account["namespace"]))
        self.assertEqual(self.pod["spec"]["serviceAccountName"], account["name"])

    def test_permissions_of_multicluster(self) -> None:
        """The rule that the role's comment shows is the one that *multicluster* needs besides."""
        text = (BASE / "rbac.yaml").read_text(encoding="utf-8")
        more = set(watched_for(Needs(pods=True, multicluster=True))) - set(watched_for(Needs(pods=True)))
        for watched in more:
            self.assertIn(f"# - apiGroups: [{watched.group}]\n#   resources: [{watched.plural}]\n", text)


class RenderedCase(SynchronousTestCase):
    """What only kubectl can tell."""

    if KUBECTL is None:
        skip = "kubectl is not on PATH"


class ReplaceTests(RenderedCase):
    """CoreDNS is replaced by another image and a quicker readiness probe, and by those alone."""

    def test_image_and_probe(self) -> None:
        """Laid over the Deployment of CoreDNS, the overlay changes the image and how often readiness is asked, and nothing else."""
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        coredns = copy.deepcopy(one(as_written(BASE), "Deployment"))
        container = coredns["spec"]["template"]["spec"]["containers"][0]
        container["readinessProbe"] = {"httpGet": container["readinessProbe"]["httpGet"]}
        container["image"] = "registry.k8s.io/coredns/coredns:v1.12.0"
        (part,) = rendered(REPLACE)
        (folder / "deployment.yaml").write_text(json.dumps(coredns))
        (folder / "part.yaml").write_text(json.dumps(part))
        patched = {"resources": ["deployment.yaml"], "patches": [{"path": "part.yaml"}]}
        (folder / "kustomization.yaml").write_text(json.dumps(patched))
        (found,) = rendered(folder)
        container["image"] = "kdns:0.1.0"
        container["readinessProbe"].update(periodSeconds=1, failureThreshold=1)
        self.assertEqual(found, coredns)


class ScalingTests(RenderedCase):
    """The overlays that let something else decide how many there are."""

    def test_replicas_are_left_alone(self) -> None:
        """Applying an overlay again does not set back what its autoscaler decided; all else is the base."""
        for folder in (HPA, LINEAR, LADDER):
            found = rendered(folder)
            self.assertNotIn("replicas", one(found, "Deployment")["spec"])
            for item in rendered(BASE):
                same = one(found, item["kind"], item["metadata"]["name"])
                if item["kind"] == "Deployment":
                    item["spec"].pop("replicas")
                self.assertEqual(same, item)

    def test_horizontal(self) -> None:
        """The HorizontalPodAutoscaler scales the Deployment by the metric that the adapter's rule makes."""
        spec = one(rendered(HPA), "HorizontalPodAutoscaler")["spec"]
        self.assertEqual((spec["scaleTargetRef"]["kind"], spec["scaleTargetRef"]["name"]), ("Deployment", "coredns"))
        (metric,) = spec["metrics"]
        (rule,) = yaml.safe_load((HPA / "adapter-rule.yaml").read_text(encoding="utf-8"))["rules"]
        self.assertEqual(metric["pods"]["metric"]["name"], rule["name"]["as"])
        self.assertGreaterEqual(spec["minReplicas"], 2)

    def test_proportional(self) -> None:
        """Each variant has one kind of parameters, read as JSON, and the autoscaler may do what it does."""
        for folder, mode in ((LINEAR, "linear"), (LADDER, "ladder")):
            found = rendered(folder)
            pod = one(found, "Deployment", "kube-dns-autoscaler")["spec"]["template"]["spec"]
            flags = dict(word.removeprefix("--").split("=", 1) for word in pod["containers"][0]["command"][1:])
            self.assertEqual(list(json.loads(flags["default-params"])), [mode])
            self.assertEqual((flags["target"], flags["namespace"]), ("Deployment/coredns", "kube-system"))
            account = one(found, "ServiceAccount", pod["serviceAccountName"])["metadata"]["name"]
            for kind, name in (("RoleBinding", account), ("ClusterRoleBinding", f"system:{account}")):
                binding = one(found, kind, name)
                one(found, binding["roleRef"]["kind"], binding["roleRef"]["name"])
                self.assertEqual([subject["name"] for subject in binding["subjects"]], [account])

    def test_linear_parameters(self) -> None:
        """The linear variant's parameters are those that clusters with CoreDNS have."""
        command = one(rendered(LINEAR), "Deployment", "kube-dns-autoscaler")["spec"]["template"]["spec"]["containers"][
            0
        ]["command"]
        (word,) = (word for word in command if word.startswith("--default-params="))
        wanted = {
            "coresPerReplica": 256,
            "nodesPerReplica": 16,
            "preventSinglePointFailure": True,
            "includeUnschedulableNodes": True,
        }
        self.assertEqual(json.loads(word.partition("=")[2]), {"linear": wanted})

    def test_ladders_climb(self) -> None:
        """The ladder variant's steps rise, begin at the smallest cluster, and never lead to no server at all."""
        command = one(rendered(LADDER), "Deployment", "kube-dns-autoscaler")["spec"]["template"]["spec"]["containers"][
            0
        ]["command"]
        (word,) = (word for word in command if word.startswith("--default-params="))
        parameters = json.loads(word.partition("=")[2])["ladder"]
        for name in ("coresToReplicas", "nodesToReplicas"):
            steps = parameters[name]
            self.assertEqual(steps, sorted(steps))
            self.assertEqual(steps[0][0], 1)
            self.assertGreaterEqual(steps[0][1], 1)


class NodeLocalTests(SynchronousTestCase):
    """The cache on every node."""

    def setUp(self) -> None:
        """Read it."""
        self.objects = objects(NODE_LOCAL)
        self.pod = one(self.objects, "DaemonSet", "node-local-dns")["spec"]["template"]
        (self.container,) = self.pod["spec"]["containers"]
        self.template = one(self.objects, "ConfigMap", "node-local-dns")["data"]["Corefile"]
        _, config = parse(self.container["args"], True)
        assert config is not None
        self.config = config

    def test_corefile(self) -> None:
        """The template becomes conf/node-local/Corefile, is mounted where node-cache looks, and the result is written where it may."""
        addresses = [str(address) for address in self.config.addresses]
        made = corefile_text(
            self.template, KubeDnsSettings(), addresses=addresses, cluster_dns="10.96.0.11", variable="", port=53
        )
        self.assertEqual(made, without_comments(CACHE))
        mounts = {mount["name"]: mount for mount in self.container["volumeMounts"]}
        volumes = {volume["name"]: volume for volume in self.pod["spec"]["volumes"]}
        (item,) = volumes["config-volume"]["configMap"]["items"]
        self.assertEqual(f"{mounts['config-volume']['mountPath']}/{item['path']}", self.config.template)
        self.assertEqual(mounts["kube-dns-config"]["mountPath"], KUBE_DNS)
        self.assertTrue(volumes["kube-dns-config"]["configMap"]["optional"])
        self.assertEqual(str(Path(self.config.corefile).parent), mounts["run"]["mountPath"])
        self.assertNotIn("readOnly", mounts["run"])

    def test_checked(self) -> None:
        """``kdns check`` takes the template as it stands in the ConfigMap, and finds nothing."""
        text = (NODE_LOCAL / "configmap.yaml").read_text(encoding="utf-8")
        source = source_of(text, "configmap.yaml")
        self.assertIn("bind 169.254.20.10", source.text)
        worst = [one for one in look(source, {}, elsewhere=True).findings if one.severity is not Severity.NOTE]
        self.assertEqual([f"{one.line}: {one.text}" for one in worst], [])

    def test_addresses(self) -> None:
        """The first address is probed, and the second is that of the cluster's DNS Service, by the convention of the base."""
        local, service = self.config.addresses
        self.assertTrue(local.is_link_local)
        get = self.container["livenessProbe"]["httpGet"]
        self.assertEqual((get["host"], get["port"]), (str(local), self.config.health_port))
        self.assertEqual(pod_ports(without_comments(CACHE))["health"], {self.config.health_port})
        self.assertEqual(one(objects(BASE), "Service", "kube-dns")["spec"]["clusterIP"], str(service))

    def test_upstream(self) -> None:
        """What is not in the cache is asked of the second Service, which has the pods of the first behind it."""
        upstream = one(self.objects, "Service", self.config.upstream_service)["spec"]
        cluster = one(objects(BASE), "Service", "kube-dns")["spec"]
        self.assertEqual(upstream["selector"], cluster["selector"])
        self.assertNotIn("clusterIP", upstream)
        self.assertEqual(set(_lines(self.template, "forward")), {f". {CLUSTER_DNS}", f". {UPSTREAM_SERVERS}"})

    def test_updates(self) -> None:
        """A new pod runs beside the old one, which leaves interface and rules to it; no port keeps it from being placed on the node."""
        update = one(self.objects, "DaemonSet", "node-local-dns")["spec"]["updateStrategy"]["rollingUpdate"]
        self.assertEqual((update["maxUnavailable"], self.config.skip_teardown), (0, True))
        self.assertNotEqual(update["maxSurge"], 0)
        self.assertNotIn("ports", self.container)
        headless = one(self.objects, "Service", "node-local-dns")["spec"]
        self.assertEqual((headless["clusterIP"], headless["selector"]), ("None", self.pod["metadata"]["labels"]))
        opened = pod_ports(without_comments(CACHE))
        self.assertEqual({port["targetPort"] for port in headless["ports"]}, opened["prometheus"])

    def test_rights(self) -> None:
        """It may change the node's network and bind port 53, and shares the lock of the packet rules with kube-proxy; that is all."""
        self.assertEqual(
            self.container["securityContext"],
            {
                "runAsUser": 0,
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"add": ["NET_ADMIN", "NET_BIND_SERVICE"], "drop": ["ALL"]},
            },
        )
        paths = [volume["hostPath"]["path"] for volume in self.pod["spec"]["volumes"] if "hostPath" in volume]
        self.assertEqual(paths, ["/run/xtables.lock"])

    def test_replaces_the_public_manifest(self) -> None:
        """Objects have the names of the public manifest, so that applying one replaces the other."""
        names = sorted((item["kind"], item["metadata"]["name"]) for item in self.objects)
        self.assertEqual(
            names,
            [
                ("ConfigMap", "node-local-dns"),
                ("DaemonSet", "node-local-dns"),
                ("Service", "kube-dns-upstream"),
                ("Service", "node-local-dns"),
                ("ServiceAccount", "node-local-dns"),
            ],
        )

    def test_everywhere(self) -> None:
        """It runs on every node, in the node's own network, with the node's resolvers and without the API."""
        spec = self.pod["spec"]
        self.assertEqual((spec["hostNetwork"], spec["dnsPolicy"]), (True, "Default"))
        self.assertEqual(spec["priorityClassName"], "system-node-critical")
        effects = [one.get("effect", one.get("key")) for one in spec["tolerations"]]
        self.assertEqual(effects, ["CriticalAddonsOnly", "NoExecute", "NoSchedule"])
        self.assertFalse(spec["automountServiceAccountToken"])
        self.assertNotIn("kubernetes ", self.template)


def _lines(corefile: str, directive: str) -> Iterator[str]:
    """What stands after a directive, once for each use of it."""
    for line in corefile.splitlines():
        if line.strip().startswith(f"{directive} "):
            yield line.strip().removeprefix(directive).removesuffix("{").strip()


def _words(corefile: str, directive: str) -> Iterator[str]:
    """The words after a directive, over all uses of it."""
    for line in _lines(corefile, directive):
        yield from line.split()

"""A Corefile inside a ConfigMap, in each form that kubectl prints, with its lines as those of the file."""

from __future__ import annotations

import json

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from kdns.checking.source import KEY, CannotRead, Embedded, source_of
from tests.checking.support import run

COREFILE = ".:53 {\n    errors\n\n    bogus\n    forward . 192.0.2.9\n}\n"

BLOCK = """\
apiVersion: v1
data:
  Corefile: |
    .:53 {
        errors

        bogus
        forward . 192.0.2.9
    }
kind: ConfigMap
metadata:
  name: coredns
"""

QUOTED = r"""
apiVersion: v1
data:
  Corefile: ".:53 {\n    errors\n\n    bogus\n    forward
    . 192.0.2.9\n}\n"
kind: ConfigMap
"""

CONTINUED = """
kind: ConfigMap
data:
  Corefile: ".:53 {\\n    errors\\n\\n\\
    \\    bogus\\n\\
    \\    forward . 192.0.2.9\\n}\\n"
"""


class ConfigMapTests(SynchronousTestCase):
    """What is taken out, and where its lines are."""

    def embedded(self, text: str) -> Embedded:
        """The Corefile in a manifest."""
        return source_of(text, "file").keys[KEY]

    def line_of(self, text: str, word: str) -> int:
        """The line of the file in which a word of the Corefile stands."""
        found = self.embedded(text)
        self.assertEqual(found.text, COREFILE)
        return found.line(found.text[: found.text.index(word)].count("\n") + 1)

    def test_block(self) -> None:
        """As lines of their own."""
        self.assertEqual(self.line_of(BLOCK, "bogus"), 7)
        self.assertEqual(self.line_of(BLOCK, ".:53"), 4)

    def test_quoted(self) -> None:
        """As one string, folded where kubectl folds it."""
        self.assertEqual(self.line_of(QUOTED, "bogus"), 4)
        self.assertEqual(self.line_of(QUOTED, "}"), 5)
        self.assertEqual(self.line_of(CONTINUED, "bogus"), 5)
        self.assertEqual(self.line_of(CONTINUED, "forward"), 6)

    def test_json(self) -> None:
        """JSON is YAML, and so is a list."""
        listed = json.dumps({"kind": "List", "items": [{"kind": "ConfigMap", "data": {"x": "y"}}, {
            "kind": "ConfigMap", "data": {"Corefile": COREFILE}}]}, indent=1)  # fmt: skip
        line = next(number for number, text in enumerate(listed.splitlines(), 1) if "bogus" in text)
        self.assertEqual(self.line_of(listed, "bogus"), line)

    def test_what_is_none(self) -> None:
        """A Corefile is taken for none, whatever words are in it; a ConfigMap without one is told what it has."""
        self.assertFalse(source_of(COREFILE, "file").embedded)
        self.assertFalse(source_of(".:53 {\n # kind: ConfigMap\n}\n", "file").embedded)
        self.assertTrue(source_of(BLOCK, "file").embedded)
        error = self.assertRaises(CannotRead, source_of, "kind: ConfigMap\ndata:\n  linear: '{}'\n", "file")
        self.assertIn("linear", str(error))
        error = self.assertRaises(CannotRead, source_of, "kind: ConfigMap\ndata: [\n", "file")
        self.assertEqual(error.line, 3)

    def test_checked(self) -> None:
        """The check names the line of the file; what depends on a machine is not held against this one."""
        ended = run("-", "--quiet", stdin=BLOCK)
        self.assertEqual(ended.status, 1)
        self.assertIn("stdin:7: fault: bogus: Unknown directive", ended.out)
        cluster = BLOCK.replace("bogus", "kubernetes cluster.local")
        self.assertEqual((run("-", "--quiet", "--strict", stdin=cluster).status), 0)
        self.assertIn("stdin: fault: no ConfigMap has a key", run("-", stdin="kind: ConfigMap\n").out)

    def test_other_keys(self) -> None:
        """Imports of other keys are found where a pod has them, and their faults are in the ConfigMap's file."""
        text = (
            "kind: ConfigMap\ndata:\n  Corefile: |\n    .:53 {\n        import more\n        import /etc/coredns/*.override\n    }\n"
            "  more: |\n    errors\n    whaomi\n  x.override: |\n    logg\n    forward . 192.0.2.9{$UNSET}\n"
        )
        ended = run("-", "--quiet", stdin=text)
        self.assertEqual(
            [line for line in ended.out.splitlines() if line.startswith("stdin:")],
            [
                "stdin:10: fault: whaomi: Unknown directive 'whaomi'",
                "stdin:12: fault: logg: Unknown directive 'logg'",
                "stdin:13: warning: the environment variable UNSET is not set here, and reads as nothing",
                "stdin: 2 faults, 1 warning",
            ],
        )
        other = run("-", stdin=text.replace("  more:", "  less:")).out
        self.assertIn("stdin:5: warning: it is not on this machine", other)
        self.assertIn("File to import not found: more", other)

    @settings(deadline=None, derandomize=True)
    @given(
        st.lists(st.text(st.sampled_from("ab{} \"'#\\é\t:"), max_size=90), min_size=1, max_size=12),
        st.sampled_from(["|", '"', "'", None, "json"]),
    )
    def test_every_form(self, lines: list[str], style: str | None) -> None:
        """Whatever PyYAML writes is read again, and each line has a place among those of the file, in order."""
        text = "\n".join(lines) + "\n"
        document = {"kind": "ConfigMap", "data": {"Corefile": text}}
        if style == "json":
            written = json.dumps(document, indent=2)
        else:
            written = yaml.dump(document, default_style=style)
        found = self.embedded(written)
        self.assertEqual(found.text, text)
        self.assertEqual(len(found.lines), text.count("\n") + 1)
        self.assertEqual(list(found.lines), sorted(found.lines))
        self.assertLessEqual(found.lines[-1], written.count("\n") + 2)

    def test_one_line_of_json(self) -> None:
        """``kubectl -o json | jq -c`` prints a list in one line."""
        config_map = {"kind": "ConfigMap", "data": {"Corefile": COREFILE}}
        ended = run("-", stdin=json.dumps({"apiVersion": "v1", "items": [config_map], "kind": "List"}))
        self.assertIn("stdin:1: fault: bogus: Unknown directive", ended.out)
        self.assertFalse(source_of("{\n whoami\n}\n", "file").embedded)


SERVERS = """\
servers:
- zones:
  - zone: .
  - zone: a.test.
    scheme: dns://
  port: 53
  plugins:
  - name: errors
  - name: cache
    parameters: 30
    configBlock: |-
      success 2000
      sucess 5
  - name: forward
    parameters: . 192.0.2.9
"""


class HelmTests(SynchronousTestCase):
    """The values of CoreDNS's chart."""

    def check(self, text: str, line: int) -> None:
        """The fault in the options of cache is found at a line."""
        ended = run("-", stdin=text)
        self.assertIn(f"stdin:{line}: fault: cache: ", ended.out)
        self.assertIn("did you mean 'success'?", ended.out)
        self.assertIn("stdin: 1 fault, no warnings", ended.out)

    def test_values(self) -> None:
        """A values file; keys, ports and options are those of the chart's template."""
        source = source_of(SERVERS, "file")
        self.assertEqual(
            source.text.splitlines()[:4],
            [". dns://a.test.:53 {", "    errors", "    cache 30 {", "        success 2000"],
        )
        self.check(SERVERS, 13)

    def test_wrapped(self) -> None:
        """In a HelmRelease, below another chart's name, and as text in the text of an object."""
        indented = "".join(f"    {line}\n" for line in SERVERS.splitlines())
        self.check(f"apiVersion: helm.toolkit.fluxcd.io/v2\nkind: HelmRelease\nspec:\n  values:\n{indented}", 17)
        self.check(f"coredns:\n{indented}", 14)
        self.check(f"kind: HelmChartConfig\nspec:\n  valuesContent: |-\n{indented}", 16)

    def test_files(self) -> None:
        """Zone files of the chart are files in the Corefile's folder, and extraConfig comes first."""
        text = SERVERS.replace("sucess 5", "denial 5") + (
            "extraConfig:\n  import:\n    parameters: more\n"
            "zoneFiles:\n- filename: more\n  domain: x\n  contents: |\n    b.test {\n        whaomi\n    }\n"
        )
        self.assertIn("stdin:24: fault: whaomi: ", run("-", stdin=text).out)

    def test_no_servers(self) -> None:
        """Other values with that word are no Corefile."""
        self.assertIn("no Helm values with servers", run("-", stdin="servers:\n- host: a\n").out)
        self.assertFalse(source_of(".:53 {\n forward . 192.0.2.9\n}\n# servers:\n", "file").embedded)


class ProbeTests(SynchronousTestCase):
    """Readiness probes of a Deployment next to the ConfigMap."""

    DEPLOYMENT = """\
kind: Deployment
spec:
  template:
    spec:
      containers:
      - name: coredns
        readinessProbe:
          httpGet: {path: /ready, port: 8181}
"""
    COREFILE = ".:53 { \n health {\n  lameduck 5s\n }\n ready\n forward . 192.0.2.9\n}\n"

    def warnings(self, deployment: str, corefile: str = COREFILE) -> list[str]:
        """The warnings of a check."""
        data = json.dumps({"kind": "ConfigMap", "data": {"Corefile": corefile}})
        ended = run("-", stdin=f"{deployment}---\n{data}\n")
        self.assertEqual(ended.status, 0, ended.out)
        return [line for line in ended.out.splitlines() if ": warning: " in line]

    def test_slow(self) -> None:
        """Kubernetes's defaults notice the end of a pod after half a minute."""
        (found,) = self.warnings(self.DEPLOYMENT)
        self.assertTrue(found.startswith("stdin:7: warning: a server that ends answers for 5s"), found)
        self.assertIn("after 30s", found)

    def test_quick(self) -> None:
        """A probe each second is quick enough for lameduck 5s, and not for none."""
        quick = self.DEPLOYMENT + "          periodSeconds: 1\n          failureThreshold: 1\n"
        self.assertEqual(self.warnings(quick), [])
        self.assertEqual(len(self.warnings(quick, self.COREFILE.replace("5s", "1s"))), 1)
        self.assertEqual(len(self.warnings(quick, ".:53 {\n ready\n forward . 192.0.2.9\n}\n")), 1)

    def test_grace(self) -> None:
        """A pod that is killed in its lameduck."""
        quick = (
            self.DEPLOYMENT
            + "          periodSeconds: 1\n          failureThreshold: 1\n      terminationGracePeriodSeconds: 9\n"
        )
        (found,) = self.warnings(quick)
        self.assertIn("killed 9s after SIGTERM", found)

    def test_other_pods(self) -> None:
        """Probes of something else are not looked at."""
        self.assertEqual(self.warnings(self.DEPLOYMENT.replace("/ready", "/healthz")), [])

    def test_lameduck_alone(self) -> None:
        """A ConfigMap alone: a lameduck that no probe could make long enough."""
        corefile = ".:53 {\n health {\n  lameduck 1s\n }\n kubernetes cluster.local\n forward . 192.0.2.9\n}\n"
        data = json.dumps({"kind": "ConfigMap", "data": {"Corefile": corefile}})
        self.assertIn("lameduck 1s is over before", run("-", stdin=data).out)

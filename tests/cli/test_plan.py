"""``kdns plan``: its command line, what it prints, and what it assumes."""

from __future__ import annotations

import io
import json
import re
import sys
from pathlib import Path
from subprocess import run
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from kdns.cli import plan
from kdns.cli.autoscaler import DEFAULT, parameters_of
from kdns.cli.main import COMMANDS
from tests.test_docs import ROOT


class PlanTests(SynchronousTestCase):
    """The command."""

    def ended(self, *words: str) -> tuple[int, str, str]:
        """Exit status, standard output, standard error."""
        out, err = io.StringIO(), io.StringIO()
        return plan.main(words, out, err), out.getvalue(), err.getvalue()

    def planned(self, nodes: int, cores: int, *words: str) -> dict[str, Any]:
        """The plan as JSON."""
        status, out, err = self.ended(
            "--nodes", str(nodes), "--cores", str(cores), "--pods", "300", "--services", "100", "--json", *words
        )
        self.assertEqual((status, err), (0, ""))
        found: dict[str, Any] = json.loads(out)
        return found

    def test_known(self) -> None:
        """It is a command of kdns."""
        self.assertEqual(COMMANDS["plan"], "kdns.cli.plan")

    def test_examples(self) -> None:
        """The default parameters, for the clusters whose replicas are known."""
        for nodes, cores, wanted in ((4, 16, 2), (40, 320, 3), (100, 6400, 25)):
            self.assertEqual(self.planned(nodes, cores)["replicas"], wanted)
        self.assertEqual(self.planned(4, 16)["autoscaler"]["rule"], "preventSinglePointFailure: more than one node")

    def test_modes(self) -> None:
        """Ladder, parameters as JSON and out of a file, and nodes that take no pods."""
        found = self.planned(100, 6400, "--mode", "ladder")
        self.assertEqual((found["replicas"], found["autoscaler"]["mode"]), (9, "ladder"))
        self.assertIn("proportional/ladder", found["assumptions"][0])
        self.assertEqual(self.planned(40, 320, "--config", '{"linear":{"nodesPerReplica":4}}')["replicas"], 10)
        file = Path(self.mktemp())
        file.write_text("kind: ConfigMap\ndata:\n  ladder: '{\"nodesToReplicas\":[[1,1],[40,9]]}'\n")
        self.assertEqual(self.planned(40, 320, "--config", str(file))["replicas"], 9)
        few = ("--config", '{"nodesPerReplica":1}', "--unschedulable-nodes", "10")
        self.assertEqual(self.planned(40, 320, *few)["replicas"], 30)

    def test_parameters_of_overlays(self) -> None:
        """What is taken without --config is what the overlays install."""
        for mode, ours in (("linear", DEFAULT), ("ladder", plan.LADDER)):
            overlay = (ROOT / "conf/kubernetes/overlays/proportional" / mode / "kustomization.yaml").read_text()
            found = re.search(r"'--default-params=(\{.+\})'", overlay)
            assert found is not None, overlay
            self.assertEqual(parameters_of(found[1]), parameters_of(ours, mode))

    def test_memory(self) -> None:
        """What is watched takes memory; a limit that is too low is warned of."""
        small, large = self.planned(1, 1), self.planned(1, 1, "--endpoints", "100000")
        self.assertGreater(large["memory"]["cluster"], small["memory"]["cluster"] + 10_000_000)
        verified = self.planned(1, 1, "--verified")
        self.assertEqual((small["holds"]["pods"], verified["holds"]["pods"]), (0, 300))
        self.assertGreater(verified["memory"]["cluster"], small["memory"]["cluster"])
        [warning] = self.planned(1, 1, "--limit", "90Mi")["warnings"]
        self.assertIn("do not fit under a limit of 90Mi", warning)

    def test_queries(self) -> None:
        """Queries are shared by the replicas; when they need more than there are, that is said."""
        found = self.planned(1, 1, "--qps", "1000")
        self.assertEqual((found["processor"]["queries_each"], found["warnings"]), (1000.0, []))
        found = self.planned(1, 1, "--qps", "200000")
        least = found["processor"]["least_replicas_for_queries"]
        self.assertGreater(least, 1)
        self.assertIn(f"raise min to {least}", found["warnings"][0])

    def test_text(self) -> None:
        """The same as lines, with what was assumed; and no replica at all is warned of."""
        words = ("--nodes", "3", "--cores", "12", "--pods", "30", "--services", "10")
        status, out, _ = self.ended(*words)
        self.assertEqual(status, 0)
        first, *_ = out.splitlines()
        self.assertEqual(
            first,
            "replicas            2   (linear: 1 by 12 cores, 1 by 3 nodes; preventSinglePointFailure: more than one node)",
        )
        for word in (
            "memory, each",
            "memory limit        170Mi",
            "processor request   100m",
            "assumed:",
            "docs/performance.md",
        ):
            self.assertIn(word, out)
        _, out, _ = self.ended(*words, "--config", '{"coresToReplicas":[[64,1]]}')
        self.assertIn("warning: no replica at all", out)

    def test_refused(self) -> None:
        """A command line that cannot be understood is 2, parameters that the autoscaler would refuse are 1."""
        words = ["--nodes", "3", "--cores", "12", "--pods", "30", "--services", "10"]
        for more in (["--nodes"], ["--nodes", "-1"], ["--qps", "x"], ["--mode", "other"], ["x"], ["--limit", "1x"]):
            status, out, err = self.ended(*words, *more)
            self.assertEqual((status, out), (2, ""), more)
            self.assertIn("usage: kdns plan", err)
        self.assertEqual(self.ended()[0], 2)
        for more in (["--config", "{}"], ["--config", "/no/such"], ["--unschedulable-nodes", "4"]):
            status, out, err = self.ended(*words, *more)
            self.assertEqual((status, out, err[:11]), (1, "", "kdns plan: "), more)
        status, out, _ = self.ended("-h")
        self.assertEqual((status, "usage: kdns plan" in out), (0, True))

    def test_light(self) -> None:
        """It needs no Twisted, which takes longer to import than the plan takes."""
        program = (
            "import sys\nfrom kdns.cli.main import main\n"
            "main('plan --nodes 1 --cores 1 --pods 1 --services 1'.split())\nprint('twisted' in sys.modules)\n"
        )
        ended = run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)
        self.assertEqual(ended.stdout.splitlines()[-1:], ["False"], ended.stderr)

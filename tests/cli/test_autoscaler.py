"""The autoscaler's formulas: the examples that are known, and what holds for every cluster."""

from __future__ import annotations

import json
import math

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from kdns.cli.autoscaler import DEFAULT, BadParameters, Cluster, parameters_of

SIZES = st.integers(0, 20_000)


def linear(text: str, nodes: int, cores: int, **more: int) -> int:
    """Replicas by parameters as JSON."""
    parameters = parameters_of(text)
    assert parameters.mode == "linear"
    return parameters.count(Cluster(nodes, cores, **more)).replicas


class LinearTests(SynchronousTestCase):
    """Proportional to cores and nodes."""

    def test_defaults(self) -> None:
        """What the add-on's parameters make of some clusters."""
        for nodes, cores, wanted in (
            (1, 4, 1),
            (4, 16, 2),
            (16, 64, 2),
            (40, 320, 3),
            (100, 6400, 25),
            (5000, 20_000, 313),
        ):
            self.assertEqual(linear(DEFAULT, nodes, cores), wanted, (nodes, cores))

    def test_rounding(self) -> None:
        """Every share that has begun is a replica; numbers with a fraction are taken as they are written."""
        self.assertEqual(linear('{"nodesPerReplica": 16}', 16, 0), 1)
        self.assertEqual(linear('{"nodesPerReplica": 16}', 17, 0), 2)
        self.assertEqual(linear('{"coresPerReplica": 0.1}', 0, 3), 30)
        self.assertEqual(linear('{"coresPerReplica": 2.5}', 0, 10), 4)

    def test_bounds(self) -> None:
        """max comes before min, and both before the rule that no single one may fail."""
        self.assertEqual(linear('{"nodesPerReplica": 1, "max": 5}', 100, 0), 5)
        self.assertEqual(linear('{"nodesPerReplica": 100, "min": 3}', 4, 0), 3)
        self.assertEqual(linear('{"nodesPerReplica": 100}', 0, 0), 1)
        one = '{"nodesPerReplica": 100, "max": 1, "preventSinglePointFailure": true}'
        self.assertEqual((linear(one, 1, 0), linear(one, 2, 0)), (1, 2))

    def test_unschedulable(self) -> None:
        """Nodes that take no pods count where the parameters say so."""
        text = '{{"nodesPerReplica": 1, "coresPerReplica": 4, "includeUnschedulableNodes": {}}}'
        more = {"unschedulable_nodes": 4, "unschedulable_cores": 40}
        self.assertEqual(linear(text.format("true"), 10, 80, **more), 20)
        self.assertEqual(linear(text.format("false"), 10, 80, **more), 10)

    @settings(deadline=None, derandomize=True)
    @given(
        SIZES, SIZES, st.integers(0, 300), st.integers(0, 300), st.integers(0, 50), st.integers(0, 50), st.booleans()
    )
    def test_formula(
        self, nodes: int, cores: int, each_core: int, each_node: int, least: int, most: int, two: bool
    ) -> None:
        """The published formula, computed with floats as the autoscaler does."""
        text = json.dumps({
            "coresPerReplica": each_core, "nodesPerReplica": each_node, "min": least, "max": most, "preventSinglePointFailure": two,
        })  # fmt: skip
        if not (each_core or each_node) or (most and max(least, 1) > most):
            self.assertRaises(BadParameters, parameters_of, text)
            return
        wanted = max(math.ceil(cores / each_core) if each_core else 0, math.ceil(nodes / each_node) if each_node else 0)
        wanted = min(wanted, most) if most else wanted
        wanted = max(wanted, least or 1)
        wanted = max(wanted, 2) if two and nodes > 1 else wanted
        self.assertEqual(linear(text, nodes, cores), wanted)

    @settings(deadline=None, derandomize=True)
    @given(SIZES, SIZES, SIZES, SIZES)
    def test_grows(self, nodes: int, cores: int, more_nodes: int, more_cores: int) -> None:
        """A larger cluster never has fewer replicas, and each has at least one."""
        small, large = linear(DEFAULT, nodes, cores), linear(DEFAULT, nodes + more_nodes, cores + more_cores)
        self.assertTrue(1 <= small <= large)


class LadderTests(SynchronousTestCase):
    """By steps."""

    TEXT = (
        '{"ladder": {"coresToReplicas": [[1, 1], [64, 3], [512, 5], [1024, 7], [2048, 10], [4096, 15]],'
        ' "nodesToReplicas": [[1, 1], [2, 2]]}}'
    )

    def test_steps(self) -> None:
        """The last step that is reached counts, and the larger of both lists."""
        ladder = parameters_of(self.TEXT)
        self.assertEqual(ladder.mode, "ladder")
        for nodes, cores, wanted in ((1, 1, 1), (2, 8, 2), (2, 63, 2), (2, 64, 3), (100, 400, 3), (100, 6400, 15)):
            self.assertEqual(ladder.count(Cluster(nodes, cores)).replicas, wanted, (nodes, cores))

    def test_none(self) -> None:
        """Below the first step there is no replica."""
        self.assertEqual(parameters_of('{"coresToReplicas": [[64, 3]]}').count(Cluster(1, 63)).replicas, 0)
        self.assertEqual(parameters_of('{"nodesToReplicas": [[0, 0], [3, 1]]}').count(Cluster(2, 0)).replicas, 0)

    @settings(deadline=None, derandomize=True)
    @given(
        SIZES, st.lists(st.tuples(SIZES, st.integers(0, 50)), min_size=1, max_size=9, unique_by=lambda step: step[0])
    )
    def test_order(self, size: int, steps: list[tuple[int, int]]) -> None:
        """The order in which steps are written does not matter."""
        wanted = max((step for step in steps if step[0] <= size), default=(0, 0))[1]
        for ordered in (steps, sorted(steps), sorted(steps, reverse=True)):
            ladder = parameters_of(json.dumps({"nodesToReplicas": ordered}))
            self.assertEqual(ladder.count(Cluster(size, 0)).replicas, wanted)


class ParameterTests(SynchronousTestCase):
    """The forms in which parameters come, and what is none."""

    def test_forms(self) -> None:
        """The flag, one key of the ConfigMap, and the ConfigMap as kubectl prints it, are the same."""
        inner = '{"nodesPerReplica":8}'
        wanted = parameters_of(f'{{"linear":{inner}}}')
        self.assertEqual((wanted.mode, wanted.values["nodesPerReplica"]), ("linear", 8))
        self.assertEqual(parameters_of(inner), wanted)
        self.assertEqual(parameters_of(f"apiVersion: v1\nkind: ConfigMap\ndata:\n  linear: '{inner}'\n"), wanted)
        self.assertEqual(
            parameters_of(f'{{"linear":{inner},"ladder":{{"nodesToReplicas":[[1,1]]}}}}', "linear"), wanted
        )

    def test_refused(self) -> None:
        """The error names the parameter, what was wanted and what was found."""
        for text, *words in (
            ("{", "parameters", "neither JSON nor YAML"),
            ("[]", "object", "[]"),
            ("{}", "coresPerReplica", "neither"),
            ('{"nodesPerReplicas": 1}', "nodesPerReplicas", "did you mean 'nodesPerReplica'?"),
            ('{"nodesPerReplica": -1}', "nodesPerReplica", "-1"),
            ('{"nodesPerReplica": "1"}', "nodesPerReplica", "'1'"),
            ('{"nodesPerReplica": 1, "min": 1.5}', "min", "1.5"),
            ('{"nodesPerReplica": 1, "min": 3, "max": 2}', "min 3", "max 2"),
            ('{"nodesPerReplica": 1, "preventSinglePointFailure": 1}', "true or false", "1"),
            ('{"nodesToReplicas": [[1]]}', "[size, replicas]", "[1]"),
            ('{"nodesToReplicas": 3}', "list", "3"),
            ('{"ladder": {}}', "nodesToReplicas", "neither"),
        ):
            error = self.assertRaises(BadParameters, parameters_of, text)
            for word in words:
                self.assertIn(word, str(error), text)
        self.assertRaises(BadParameters, parameters_of, DEFAULT, "ladder")

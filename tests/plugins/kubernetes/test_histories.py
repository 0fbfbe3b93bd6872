"""
Random histories of a cluster, seen through the watch: afterwards the index is as one made from nothing, and each answer is the reference's.

On the way no cache of kdns ever gives an answer that was true before a change only, and forgets none that is still true.
``KDNS_EXAMPLES`` sets the number of histories.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.plugins.kubernetes import elsewhere
from tests.plugins.kubernetes.histories import (
    FULL,
    NAMESPACES,
    Put,
    Setting,
    Step,
    creations,
    questions,
    settings,
    steps,
    touched,
)
from tests.plugins.kubernetes.reference import Reference, Rules, Said
from tests.plugins.kubernetes.telling import as_cached, told_reply
from tests.plugins.kubernetes.world import Question, World

EXAMPLES = int(os.environ.get("KDNS_EXAMPLES", "12"))
SOME = 60
"""Questions asked over UDP after each step, out of some thousand."""


def reference_for(rules: Rules, world: World) -> Reference:
    """The reference, with the objects that the API server has now."""
    objects = (world.api.objects(kind) for kind in ("Service", "EndpointSlice", "Namespace", "Pod", "ServiceImport"))
    return Reference(rules, elsewhere.reference, *objects)


class HistoryTests(SynchronousTestCase):
    """A cluster's API server, faults on the way, and a whole kdns."""

    @given(settings(), st.lists(creations, min_size=8, max_size=16), st.lists(steps, max_size=8), st.integers(0, 999))
    @hypothesis_settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        derandomize="KDNS_EXAMPLES" not in os.environ,
        # Shrinking a failure takes minutes; who wants that sets the number.
        phases=tuple(Phase) if "KDNS_EXAMPLES" in os.environ else (Phase.explicit, Phase.generate),
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    def test_histories(self, setting: Setting, first: list[Put], history: list[Step], seed: int) -> None:
        """Whatever happens, and whatever goes wrong with the watch meanwhile."""
        with TemporaryDirectory() as folder:
            zones = " ".join(setting.rules.zones)
            world = World(Path(folder), setting.options, zones, others=setting.others)
            world.start()
            try:
                self._fill(world, first)
                if seed % 2:
                    world.fast_always()
                self._live(world, setting, history, Random(seed))
            finally:
                left = world.stop()
            self.assertEqual(left, [])

    def _fill(self, world: World, first: list[Put]) -> None:
        for put in [*FULL, *first]:
            put(world)
        world.until(world.applied)

    def _live(self, world: World, setting: Setting, history: list[Step], chance: Random) -> None:
        every = questions(setting.rules)
        some = chance.sample(every, SOME)
        for step in history:
            settled = world.applied()
            before = world.ask_all(some)
            self.assertNotIn(None, before)
            kept = [question for question in some if world.in_table(question)]
            began = world.context.clock()
            step(world)
            world.reactor.settle()
            if settled and world.context.clock() == began:
                self._check_memory(world, dict(zip(some, before, strict=True)), kept, touched(step))
            self._check_coherence(world, setting, some)
        world.until(world.applied)
        self._check_everything(world, setting, every)
        some = chance.sample(every, 5 * SOME)
        self._check_coherence(world, setting, some)
        ttl = 17
        world.reload(f"ttl {setting.rules.ttl}", f"ttl {ttl}")
        setting = replace(setting, rules=replace(setting.rules, ttl=ttl))
        self._check_coherence(world, setting, some)

    def _check_coherence(self, world: World, setting: Setting, some: list[Question]) -> None:
        """What is given over the network is what the plugin says now, and when the change has come through, what is true."""
        reference = reference_for(setting.rules, world) if world.applied() else None
        same = as_cached if setting.others else _as_it_is
        for question, reply in zip(some, world.ask_all(some), strict=True):
            assert reply is not None, question
            given = same(told_reply(reply))
            self.assertEqual(given, same(world.ask_plugin(question)), question)
            if reference is not None:
                self.assertEqual(given, same(reference.resolve(*question)), question)

    def _check_memory(
        self, world: World, before: Mapping[Question, bytes | None], kept: list[Question], namespace: str
    ) -> None:
        """The answer table still has all names that the change cannot concern."""
        for question in kept:
            labels = question[0].split(".")
            elsewhere = any(place in labels[:-3] for place in NAMESPACES if place != namespace)
            # An alias may lead into the namespace, and an address may have become that of something there.
            followed = any(" CNAME " in text for text in told_reply(before[question] or b"").answer)
            # Pods are looked up by address, and pods of several namespaces may have the same.
            elsewhere = elsewhere and ".pod." not in question[0]
            if namespace == "none" or (elsewhere and f".{namespace}." not in f".{question[0]}" and not followed):
                self.assertTrue(world.in_table(question), question)

    def _check_everything(self, world: World, setting: Setting, every: list[Question]) -> None:
        self.assertTrue(world.index.same_as(world.wanted()))
        reference = reference_for(setting.rules, world)
        same = as_cached if setting.others else _as_it_is
        for question in every:
            self.assertEqual(same(world.ask_plugin(question)), same(reference.resolve(*question)), question)


def _as_it_is(said: Said) -> Said:
    return said

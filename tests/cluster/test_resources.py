"""Tests of what is watched, and of the queries that are made of it."""

from twisted.trial.unittest import SynchronousTestCase

from kdns.cluster.resources import LARGEST_PAGE, Needs, next_limit, stream_options, watch_options, watched_for


class WatchedTests(SynchronousTestCase):
    """Resources by configuration."""

    def plurals(self, needs: Needs) -> list[str]:
        """The resources that are watched."""
        return [watched.plural for watched in watched_for(needs)]

    def test_resources(self) -> None:
        """Namespaces and services always, the others when they are needed."""
        self.assertEqual(self.plurals(Needs()), ["namespaces", "services", "endpointslices"])
        self.assertEqual(self.plurals(Needs(endpoints=False)), ["namespaces", "services"])
        self.assertEqual(
            self.plurals(Needs(pods=True, multicluster=True)),
            ["namespaces", "services", "endpointslices", "pods", "serviceimports"],
        )

    def test_imported_only(self) -> None:
        """Without endpoints of this cluster, those of others have a watch of their own."""
        found = {w.plural: w.labels for w in watched_for(Needs(labels="a=b", endpoints=False, multicluster=True))}
        self.assertEqual(found["endpointslices"], "a=b,multicluster.kubernetes.io/service-name")

    def test_selectors(self) -> None:
        """``labels`` is for services, slices and pods, ``namespace_labels`` for namespaces, and none for imports."""
        needs = Needs("app=dns", "team in (a,b)", pods=True, multicluster=True)
        found = {watched.plural: watched.labels for watched in watched_for(needs)}
        self.assertEqual(
            found,
            {
                "namespaces": "team in (a,b)",
                "services": "app=dns",
                "endpointslices": "app=dns",
                "pods": "app=dns",
                "serviceimports": "",
            },
        )

    def test_uri(self) -> None:
        """Selectors are quoted, and field selectors put together."""
        *_, pods = watched_for(Needs("a in (b, c)", pods=True))
        self.assertEqual(
            pods.uri({"limit": "5"}, "metadata.name=x"),
            "/api/v1/pods?limit=5&labelSelector=a%20in%20%28b%2C%20c%29&fieldSelector=status.phase%21%3DSucceeded"
            "%2Cstatus.phase%21%3DFailed%2Cstatus.phase%21%3DUnknown%2Cmetadata.name%3Dx",
        )
        (namespaces, *_) = watched_for(Needs())
        self.assertEqual(namespaces.uri({}), "/api/v1/namespaces")

    def test_names(self) -> None:
        """Group, and the name that log lines have."""
        found = {w.plural: (w.group, w.type_name) for w in watched_for(Needs(multicluster=True))}
        self.assertEqual(found["services"], ("", "*v1.Service"))
        self.assertEqual(found["endpointslices"], ("discovery.k8s.io", "*v1.EndpointSlice"))
        self.assertEqual(found["serviceimports"], ("multicluster.x-k8s.io", "*v1alpha1.ServiceImport"))

    def test_options(self) -> None:
        """Both kinds of watches want bookmarks; only the one with the whole state says which version is new enough."""
        self.assertEqual(watch_options("7", 300)["resourceVersion"], "7")
        stream = stream_options(300)
        self.assertEqual((stream["sendInitialEvents"], stream["resourceVersionMatch"]), ("true", "NotOlderThan"))
        self.assertNotIn("resourceVersion", stream)
        self.assertTrue(all(o["allowWatchBookmarks"] == "true" for o in (stream, watch_options("7", 300))))

    def test_page_size(self) -> None:
        """Pages have 500 items of usual size, fewer when those are large, and never none."""
        self.assertEqual(next_limit(100 * 2000, 100), LARGEST_PAGE)
        self.assertEqual(next_limit(100 * 40_000, 100), 52)
        self.assertEqual(next_limit(100 * 1_500_000, 100), 10)
        self.assertEqual(next_limit(50, 0), LARGEST_PAGE)

"""Show ``kdns`` to twistd; everything else is in :mod:`kdns.tap`."""

from twisted.application.service import ServiceMaker

kdns = ServiceMaker("kdns", "kdns.tap", "Cluster DNS for Kubernetes, configured by a Corefile", "kdns")

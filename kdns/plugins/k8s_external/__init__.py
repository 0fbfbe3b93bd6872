# -*- test-case-name: tests.plugins.k8s_external -*-
"""``k8s_external``: names for the addresses at which Services are reached from outside the cluster."""

from kdns.plugins.k8s_external.resolver import directive

__all__ = ["directive"]

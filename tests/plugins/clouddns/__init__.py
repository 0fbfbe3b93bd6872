"""Tests of kdns.plugins.clouddns."""

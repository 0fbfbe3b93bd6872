"""Tests of kdns.plugins.stores."""

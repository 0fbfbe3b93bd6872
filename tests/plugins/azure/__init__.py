"""Tests of kdns.plugins.azure."""

"""Tests of kdns.plugins.file."""

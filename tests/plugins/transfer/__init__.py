"""Tests of kdns.plugins.transfer."""

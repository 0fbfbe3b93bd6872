"""Tests of kdns.zones."""

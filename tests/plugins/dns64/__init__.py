"""Tests of ``dns64``."""

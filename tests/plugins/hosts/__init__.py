"""Tests of ``hosts``."""

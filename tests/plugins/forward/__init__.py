"""Tests of the plugin ``forward``."""

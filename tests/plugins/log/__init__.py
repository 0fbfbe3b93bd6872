"""Tests of the plugin ``log``."""

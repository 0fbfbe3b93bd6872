"""Tests of the plugin *prometheus*."""

"""Tests of the cluster zone."""

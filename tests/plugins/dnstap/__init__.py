"""Tests of dnstap."""

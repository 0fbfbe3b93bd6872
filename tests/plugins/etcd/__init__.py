"""Tests of kdns.plugins.etcd, and an etcd for them."""

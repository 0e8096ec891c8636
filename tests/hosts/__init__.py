"""Runs on several hosts: network namespaces of this machine, with a Redis on one of them."""

"""Providers and the store behind the gate."""

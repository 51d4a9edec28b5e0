"""Proposes, asks, runs, verifies, records."""

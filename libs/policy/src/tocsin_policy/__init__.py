"""Policies: a runbook that runs. Language, loader, matchers, on call."""

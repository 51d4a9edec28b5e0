"""Runners: the only place where remediation touches the world."""

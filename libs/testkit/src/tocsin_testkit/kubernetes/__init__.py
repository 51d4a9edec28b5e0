"""Kubernetes for tests: a real API server with real controllers, and a double of both."""

"""Kubernetes: what a step may do to a cluster, and what takes it back."""

from remediation.adapters.kubernetes.cluster import Access
from remediation.adapters.kubernetes.runner import KubernetesRunner

__all__ = ["Access", "KubernetesRunner"]

"""A draft policy from a Markdown runbook or an Alertmanager configuration, its gaps named."""

from tocsin_policy.importing.alertmanager import import_alertmanager
from tocsin_policy.importing.drafting import Draft, draft_policy

__all__ = ["Draft", "draft_policy", "import_alertmanager"]

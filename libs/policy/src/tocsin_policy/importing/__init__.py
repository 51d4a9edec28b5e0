"""A draft policy from a runbook in Markdown, with every gap it could not fill named."""

from tocsin_policy.importing.drafting import Draft, draft_policy

__all__ = ["Draft", "draft_policy"]

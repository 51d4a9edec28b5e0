"""Providers on the loopback that speak the documented protocols, errors included.

Each checks what it is sent against the published limits, keeps what a person would see, merges
repeats only where the real one does, and can be told to fail in every way a provider fails.
"""

from tocsin_testkit.providers.issues import GitHub, Jira
from tocsin_testkit.providers.mail import MailServer
from tocsin_testkit.providers.pagerduty import PagerDuty
from tocsin_testkit.providers.serving import Fate, Provider, Reply, Request, Said, Shown
from tocsin_testkit.providers.slack import Slack, SlackWebhook
from tocsin_testkit.providers.statuspage import Statuspage
from tocsin_testkit.providers.teams import Teams
from tocsin_testkit.providers.twilio import Twilio
from tocsin_testkit.providers.webhooks import AppriseTarget, WebhookTarget

__all__ = [
    "AppriseTarget",
    "Fate",
    "GitHub",
    "Jira",
    "MailServer",
    "PagerDuty",
    "Provider",
    "Reply",
    "Request",
    "Said",
    "Shown",
    "Slack",
    "SlackWebhook",
    "Statuspage",
    "Teams",
    "Twilio",
    "WebhookTarget",
]

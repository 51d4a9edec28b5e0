"""The wire: events, topic registry, codec."""

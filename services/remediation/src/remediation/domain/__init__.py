"""What may be done about an incident, and when. Pure."""

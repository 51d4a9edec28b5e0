"""Which messages are owed, and what becomes of an attempt. Pure."""

"""What becomes of each observation, and what an incident owes to its alerts. Pure."""

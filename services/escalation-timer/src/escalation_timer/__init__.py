"""Deadlines derived from the log: levels, expiries, targets, overdue updates."""

"""The whole system in one process, on a log in memory and virtual time."""

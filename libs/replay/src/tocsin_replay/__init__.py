"""Reading it back: timeline from the log."""

"""Dispositions, incident opening, attaching, clearing and severity."""

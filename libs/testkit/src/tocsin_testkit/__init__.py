"""ManualClock, MemoryLog, builders, scenarios, doubles that speak real protocols."""

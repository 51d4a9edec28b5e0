"""The whole system on one machine: a broker, a Valkey, the five services, and no Docker."""

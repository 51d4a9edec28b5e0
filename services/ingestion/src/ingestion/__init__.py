"""The one door: anything from outside becomes a record on Kafka before the caller gets its 2xx."""

"""The life of an incident: state table, fold, explain. Pure."""

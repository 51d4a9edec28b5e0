"""The life of an incident: state table, fold, explain. Pure."""

from tocsin_incident.book import Book, Change, Fold, snapshot
from tocsin_incident.explaining import duration, explain
from tocsin_incident.folding import Folded, fold
from tocsin_incident.life import TABLE, Reason, diagram, step
from tocsin_incident.reaching import Early, gave_up_at, lost, page_id
from tocsin_incident.state import FOLD_VERSION, IncidentState, Status, state_bytes, state_document
from tocsin_incident.weighing import weight

__all__ = [
    "FOLD_VERSION",
    "TABLE",
    "Book",
    "Change",
    "Early",
    "Fold",
    "Folded",
    "IncidentState",
    "Reason",
    "Status",
    "diagram",
    "duration",
    "explain",
    "fold",
    "gave_up_at",
    "lost",
    "page_id",
    "snapshot",
    "state_bytes",
    "state_document",
    "step",
    "weight",
]

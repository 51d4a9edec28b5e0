"""The incidents and policies a service instance owns: restored, folded, looked up."""

from tocsin_casebook.casebook import INCIDENTS, SNAPSHOTS, Casebook
from tocsin_casebook.claims import CLAIMS, Claimant, Claims, claimed, released
from tocsin_casebook.freezes import FREEZES, Freeze, Freezes, switched
from tocsin_casebook.policies import InForce, Policies
from tocsin_casebook.reconciling import Owed, Reconciler
from tocsin_casebook.silences import Silences

__all__ = [
    "CLAIMS",
    "FREEZES",
    "INCIDENTS",
    "SNAPSHOTS",
    "Casebook",
    "Claimant",
    "Claims",
    "Freeze",
    "Freezes",
    "InForce",
    "Owed",
    "Policies",
    "Reconciler",
    "Silences",
    "claimed",
    "released",
    "switched",
]

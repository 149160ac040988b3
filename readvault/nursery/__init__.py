"""The nursery: where native code and user files meet, away from the worker and its secrets."""

from readvault.nursery.child import Child
from readvault.nursery.nursery import Nursery

__all__ = ["Child", "Nursery"]

"""The nursery: where native code and user files meet, away from the worker and its secrets."""

from readvault.nursery.child import Child, ChildDied, NurseryDied
from readvault.nursery.nursery import Nursery

__all__ = ["Child", "ChildDied", "Nursery", "NurseryDied"]

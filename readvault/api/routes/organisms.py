"""What the organisms of this process are, and whether their files say something else."""

from __future__ import annotations

from fastapi import APIRouter, Request

from readvault.api.dependencies import HouseDep, UserDep
from readvault.api.schemas.organisms import Organisms
from readvault.services.housekeeping import organisms_in_use

router = APIRouter(prefix="/admin", tags=["maintenance"])


@router.get("/organisms")
def show_organisms(request: Request, user: UserDep, house: HouseDep) -> Organisms:
    """The effective configuration of every organism in this process, and why changed files are refused."""
    organisms_in_use.may_look(house, user)
    return Organisms.of(request.app.state.house.organisms)

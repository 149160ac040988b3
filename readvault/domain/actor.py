"""Who is asking."""

from __future__ import annotations

from dataclasses import dataclass

MAINTAINER_ROLE = "super_user"
PIPELINE_ROLE = "preprocessing_pipeline"
EXTERNAL_METADATA_ROLE = "external_metadata_updater"


@dataclass(frozen=True, slots=True)
class Actor:
    """A logged-in user with the roles of the token. Anonymous is None, never an Actor.

    Groups are not in here: membership is read from the database at each request. A program with a
    token of ours acts for its user, with less than the user's rights: `scopes` names what it may do
    (`services.authorization.SCOPES`; None: all), `only_group` the one group that it may touch.
    """

    name: str
    roles: frozenset[str] = frozenset()
    scopes: frozenset[str] | None = None
    only_group: int | None = None

    @property
    def is_maintainer(self) -> bool:
        """Whether group checks are bypassed (Loculus's role `super_user`); never with a token for one group."""
        return MAINTAINER_ROLE in self.roles and self.only_group is None

    @property
    def is_pipeline(self) -> bool:
        """Whether this is a preprocessing pipeline."""
        return PIPELINE_ROLE in self.roles

    @property
    def is_external_updater(self) -> bool:
        """Whether this is a program that tells what outside databases say of released entries."""
        return EXTERNAL_METADATA_ROLE in self.roles

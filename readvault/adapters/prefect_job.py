"""What a flow run needs to start in a thread of our worker, and how it ends, in the words of Prefect's workers."""

from __future__ import annotations

from typing import Any

from prefect.client.schemas.objects import FlowRun
from prefect.workers.base import BaseJobConfiguration, BaseWorkerResult
from pydantic import PrivateAttr

from readvault.domain.errors import NotReady


class InProcessJob(BaseJobConfiguration):
    """What a run needs to start here: the flow's entrypoint, which its deployment knows."""

    _entrypoint: str | None = PrivateAttr(default=None)

    @classmethod
    def _base_environment(cls) -> dict[str, str]:
        """No settings of Prefect's: there is no process to give them to, and to write them out takes long."""
        return {}

    def prepare_for_flow_run(self, flow_run: FlowRun, deployment: Any = None, *more: Any, **rest: Any) -> None:
        """Keep the entrypoint beside what every worker prepares."""
        super().prepare_for_flow_run(flow_run, deployment, *more, **rest)
        self._entrypoint = deployment.entrypoint if deployment else None

    @property
    def entrypoint(self) -> str:
        """The flow as `module.function`. Raises NotReady for a run without a deployment."""
        if self._entrypoint is None:
            raise NotReady("the run belongs to no deployment with an entrypoint")
        return self._entrypoint


class InProcessResult(BaseWorkerResult):
    """How a run in this process ended."""

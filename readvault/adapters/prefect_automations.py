"""Alarms in Prefect: automations of ours that wait for what needs a person, and tell whom a block of Prefect's names.

They are made once and then left to the maintainers: whoever pauses one, or gives it other actions, finds
it so after the next set-up. Whether a worker is alive is not asked by heartbeats of runs, as Prefect's own
recipe does: leases of jobs show a dead worker within a minute, and its jobs go on elsewhere.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from datetime import timedelta

from prefect.client.orchestration import PrefectClient
from prefect.events.actions import CallWebhook, SendNotification
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification
from prefect.exceptions import ObjectNotFound

from readvault.domain.errors import BadRequest

logger = logging.getLogger(__name__)

PREFIX = "readvault: "
ENDS = (
    "Cancelled", "Cancelling", "Completed", "Counted", "Crashed", "Damage", "Failed", "HandedBack", "HasErrors",
    "HasWarnings", "NeedsAttention", "NothingToDo", "Repaired", "Requested", "TimedOut",
)  # fmt: skip
"""All names of states in which a run of ours ends."""
_RUN = {"prefect.resource.id": "prefect.flow-run.*"}
_BODY = (
    '{% if flow_run and not (event and event.event == "readvault.queue.old") %}'
    "{{ flow.name }} of {{ flow_run.name }} is {{ flow_run.state.name }}: "
    "{{ flow_run|ui_url }}{% else %}{{ event.event }}{% for key in event.payload %}, "
    "{{ key }}: {{ event.payload[key] }}{% endfor %}{% endif %}"
)
"""Names of states, identifiers and counts: a notification may go through strangers' hands. An event of ours comes
from within a run, of which nothing is to be told."""


def described_automations(
    work_pools: Sequence[str], *, stuck_hours: float, standstill_minutes: float
) -> list[AutomationCore]:
    """All alarms about runs in any of these work pools, which as yet tell nobody."""
    ours = ResourceSpecification({"prefect.resource.role": "work-pool", "prefect.resource.name": list(work_pools)})
    return [
        AutomationCore(name=PREFIX + name, description=text, trigger=trigger, actions=[], enabled=True)
        for name, text, trigger in _alarms(
            ours,
            timedelta(hours=stuck_hours),
            timedelta(minutes=standstill_minutes),
        )
    ]


def _alarms(
    ours: ResourceSpecification, stuck: timedelta, standstill: timedelta
) -> Iterator[tuple[str, str, EventTrigger]]:
    """Name, what it means, and what it waits for."""

    def on(*states: str) -> EventTrigger:
        return EventTrigger(expect=_events(*states), match=_RUN, match_related=ours)

    yield (
        "failed",
        "A run failed or crashed. Its job is tried again by itself: look at it when it happens often.",
        on("Failed", "Crashed", "TimedOut"),
    )
    yield "needs attention", "A job failed for the last time: nobody tries again until you do.", on("NeedsAttention")
    yield "integrity", "Stored bytes are damaged and could not be restored.", on("Damage")
    yield (
        "stuck", f"A run has been running for {stuck} and did not end.",
        EventTrigger(
            after=_events("Running"), expect=_events(*ENDS), for_each={"prefect.resource.id"}, match=_RUN,
            match_related=ours, posture=Posture.Proactive, threshold=1, within=stuck,
        ),
    )  # fmt: skip
    yield (
        "standstill", f"Runs are late, and none was started for {standstill}: are the workers there?",
        EventTrigger(
            after=_events("Late"), expect=_events("Running"), match=_RUN, match_related=ours,
            posture=Posture.Proactive, threshold=1, within=standstill,
        ),
    )  # fmt: skip
    yield (
        "queue age", "A job has been due for longer than the deployment recover/regularly allows.",
        EventTrigger(expect={"readvault.queue.old"}, match={"prefect.resource.id": "readvault.queue"}),
    )  # fmt: skip


def _events(*states: str) -> set[str]:
    return {f"prefect.flow-run.{state}" for state in states}


async def install(client: PrefectClient, described: list[AutomationCore], notify: str | None) -> dict[str, str]:
    """Make the alarms that Prefect lacks, and change those that wait for something else; what was done, by name.

    `notify` is a block as `type/name`: a notification block or a webhook. Without it new alarms only show in
    Prefect, and existing ones keep the actions that they have. Raises BadRequest when there is no such block.
    """
    action = None if notify is None else await _telling(client, notify)
    there = {found.name: found for found in await client.read_automations()}
    done: dict[str, str] = {}
    for alarm in described:
        wanted = alarm if action is None else alarm.model_copy(update={"actions": [action]})
        found = there.get(alarm.name)
        if found is None:
            await client.create_automation(wanted)
            done[alarm.name] = "made"
            continue
        actions = found.actions if action is None else wanted.actions
        wanted = wanted.model_copy(update={"actions": actions, "enabled": found.enabled, "tags": found.tags})
        if _says(found) == _says(wanted):
            done[alarm.name] = "is there"
        else:
            # The client sends only what was set by name; the server wants all of it.
            whole = AutomationCore.model_validate(wanted.model_dump(exclude={"id", "owner_resource"}))
            await client.update_automation(found.id, whole)
            done[alarm.name] = "changed"
    return done


async def uninstall(client: PrefectClient) -> dict[str, str]:
    """Remove our alarms; what was done, by name."""
    ours = [found for found in await client.read_automations() if found.name.startswith(PREFIX)]
    for found in ours:
        await client.delete_automation(found.id)
    return {found.name: "removed" for found in ours}


def _says(automation: AutomationCore) -> object:
    """What of an automation is ours to decide."""
    return automation.description, automation.trigger.model_dump(mode="python"), automation.actions


async def _telling(client: PrefectClient, notify: str) -> SendNotification | CallWebhook:
    kind, _, name = notify.partition("/")
    try:
        block = await client.read_block_document_by_name(name, kind, include_secrets=False)
    except ObjectNotFound:
        raise BadRequest(f"Prefect has no block {notify!r}: make it there first, and name it as type/name.") from None
    if kind == "webhook":
        return CallWebhook(block_document_id=block.id, payload=_BODY)
    return SendNotification(block_document_id=block.id, subject="{{ automation.name }}", body=_BODY)

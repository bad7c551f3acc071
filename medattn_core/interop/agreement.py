"""Do the configurations of a bundle state the task that its metadata state? Both are compared as data."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from medattn_core.bundles import Bundle
from medattn_core.bundles.bundle import EVALUATE, INFERENCE, METADATA, TRAIN
from medattn_core.bundles.files import read_json
from medattn_core.bundles.plain import would_be_evaluated
from medattn_core.errors import BundleError, TaskError
from medattn_core.tasks import TaskSpec


def same_task(bundle: Bundle) -> str:
    """Compare every task in the configurations with that of the metadata, which no hash covers.

    A key that is left out counts with the value that the task then has. A task with something that MONAI would evaluate
    is not looked at.

    Returns:
        What was compared, for a person.

    Raises:
        BundleError: ``bad_bundle``: they differ; the keys are named.
    """
    wanted = bundle.task.to_dict()
    compared = []
    for name in (INFERENCE, TRAIN, EVALUATE):
        path = bundle.path / name
        tasks = list(_tasks(read_json(path))) if path.is_file() else []
        compared += [name] if tasks else []
        for task in tasks:
            try:
                stated = TaskSpec.from_dict(task).to_dict()
            except (TaskError, TypeError, ValueError) as error:
                raise BundleError("bad_bundle", f"{path}: its task is none ({error}); copy the bundle again") from error
            different = [f"{key} ({stated[key]!r}, {wanted[key]!r})" for key in wanted if stated[key] != wanted[key]]
            if different:
                raise BundleError(
                    "bad_bundle",
                    f"{path} and {METADATA} state different tasks: {', '.join(different)}; copy the bundle again, or "
                    "export it anew where the metadata are right",
                )
    return f"that of the metadata in {', '.join(compared) or 'no configuration'}"


def _tasks(config: Any) -> Iterator[dict[str, Any]]:
    """Every task that is written out under the name ``task``."""
    if isinstance(config, list):
        for value in config:
            yield from _tasks(value)
    elif isinstance(config, dict):
        for key, value in config.items():
            if key == "task" and isinstance(value, dict) and "labels" in value:
                if would_be_evaluated(value) is None:
                    yield value
            else:
                yield from _tasks(value)

"""Whether a task can be trained in the way that was asked for."""

from __future__ import annotations

from tunegate.errors import ToolFailure
from tunegate.tasks import TASKS


def check_method(task: str, method: str) -> None:
    """Raises ToolFailure(out_of_scope) for a method that the task's scaffold does not have."""
    methods = TASKS[task].methods
    if method not in methods:
        why = ": bitsandbytes' 4-bit kernels need a GPU that no test of ours has" if method == "qlora" else ""
        if method == "dpo":
            why = (
                f". Of pairs, the better answers can be learned alone: with the user's approval pass {methods[0]!r}, and to "
                "probe_dataset a column_map with 'chosen' as the answer"
                if TASKS[task].adapts
                else ""
            )
        raise ToolFailure(
            "out_of_scope",
            f"training_method = {method!r}: {task} is trained with {' or '.join(methods)} in this version{why}",
        )

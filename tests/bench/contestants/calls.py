"""Calls to a child process in lines of JSON, as the contestants that are no nodes of their own take them."""

import json
from typing import Any

from shoal.tests.support.processes import Child, ChildFailed


def call(child: Child, timeout_s: float, **request: Any) -> dict[str, Any]:
    """One request, one answer; ChildFailed with what the child raised.  After a timeout the child is out of step."""
    child.send(json.dumps(request))
    answer = child.json_line(timeout_s)
    if "error" in answer:
        raise ChildFailed(f"could not {request['call']}: {answer['error']}{child.error_text()}")
    return answer

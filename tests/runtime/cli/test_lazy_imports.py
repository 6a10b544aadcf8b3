"""What a running node leaves out of its memory, and that it is there when it is asked for all the same."""

import subprocess
import sys

from shoal.runtime.cli.run_node import LAZY

from .conftest import ENV


def test_what_only_others_need_is_not_loaded_by_a_node_and_works_when_used() -> None:
    program = (
        "import sys; from shoal.runtime.cli import run_node\n"
        f"names = {LAZY!r}\n"
        "for name in names: run_node.import_lazily(name)\n"
        "import shoal.runtime.node\n"
        "early = [name for name in ('urllib3', 'httpcore') if name in sys.modules]\n"
        "import requests, httpx\n"
        "used = requests.Session().headers and httpx.Client().headers\n"
        "print(early, [name for name in ('urllib3', 'httpcore') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", program], env=ENV, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "[] ['urllib3', 'httpcore']\n"

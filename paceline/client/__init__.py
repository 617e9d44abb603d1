"""A Python client of the node on this machine; the command line is made of it.

    from pathlib import Path
    from paceline.client import Client, default_data_dir

    client = Client(default_data_dir(os.environ))
    task = client.submit(description="Add a --verbose flag", type="develop_feature",
                         repository={"path": "/src/tool", "ref": "HEAD"})
    ended = client.wait(task["task_id"], timeout_s=3600)
    for event in client.follow_events(after=ended_at): ...

Synchronous, and with the standard library alone. Every call answers the JSON document that
docs/architecture.md ("REST of a node") names. What fails raises a type of `paceline.errors`, the
same one that it was on the node: NotFound, Conflict, InvalidPlan (with its line), NoQuorum,
TimedOut (whether it took effect is unknown), NodeUnreachable.
"""

from paceline.client.calls import Client, ended
from paceline.client.link import Document, read_node_file, segment
from paceline.settings import default_data_dir

__all__ = ["Client", "Document", "default_data_dir", "ended", "read_node_file", "segment"]

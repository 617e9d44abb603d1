"""The fake service as a process that `paceline node stop` may end; takes its data directory.

It listens to REST and SIGTERM, as a node does; with `deaf` it serves nothing, as a node that hangs.
"""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

from paceline.node.web.server import WebServer
from tests.node.web.fake_service import FakeService


async def main(data_dir: Path, deaf: bool) -> None:
    service = FakeService()
    web = WebServer(service=service, host="127.0.0.1", port=0, token_path=data_dir / "api.token")
    await web.start()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, service.stopped.set)
    port = 1 if deaf else web.port
    document = {
        "pid": os.getpid(),
        "node_id": "aaaabbbbccccdddd",
        "address": "127.0.0.1:1",
        "page_url": f"http://127.0.0.1:{port}/",
    }
    fresh = data_dir / ".node.json"
    fresh.write_text(json.dumps(document))
    fresh.replace(data_dir / "node.json")
    await service.stopped.wait()
    await web.stop()
    (data_dir / "node.json").unlink()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), "deaf" in sys.argv[2:]))

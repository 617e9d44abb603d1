"""One evaluator in a process of its own: read the request, judge, write the answer, end.

Whatever goes wrong is an answer too, as far as the process lives to give one. The limits are set
before anything of the change is read, and hold for all that the evaluator starts.
"""

import asyncio
import contextlib
import json
import resource
import sys
from pathlib import Path
from typing import Any

from paceline.errors import PacelineError
from paceline.evaluators import documents
from paceline.evaluators.registry import Registry

FILE_LIMIT_BYTES = 256 * 1024 * 1024
"""That it may write."""


def main(request_path: str, answer_path: str) -> None:
    """Judge what the request says and write the answer, whole, in one step."""
    request = json.loads(Path(request_path).read_bytes())
    _limit(int(request["memory_bytes"]))
    try:
        answer = asyncio.run(_judge(request))
    except MemoryError:
        answer = {"failure": f"it needed more memory than {_mib(request)} MiB"}
    except PacelineError as error:
        answer = {"failure": str(error)}
    except Exception as error:  # a plugin may fail in any way
        answer = {"failure": f"{type(error).__name__}: {error}"[: documents.FAILURE_CHARACTERS]}
    partial = Path(answer_path + ".new")
    partial.write_text(json.dumps(answer), encoding="ascii")
    partial.rename(answer_path)


async def _judge(request: dict[str, Any]) -> dict[str, Any]:
    sys.path += [part for part in request["path"] if part not in sys.path]
    evaluator = Registry(request["path"]).make(request["name"], request["options"])
    change = documents.read_change(request["change"])
    context = documents.read_context(request["context"])
    result = (await evaluator.evaluate(change, context)).bounded()
    document = documents.plain(documents.result_document(result))
    return {"weight": float(evaluator.weight), "result": document}


def _mib(request: dict[str, Any]) -> int:
    return int(request["memory_bytes"]) // (1024 * 1024)


def _limit(memory_bytes: int) -> None:
    wanted = {
        resource.RLIMIT_AS: memory_bytes,
        resource.RLIMIT_FSIZE: FILE_LIMIT_BYTES,
        resource.RLIMIT_CORE: 0,
    }
    for kind, limit in wanted.items():
        with contextlib.suppress(ValueError, OSError):  # a system without it, or a lower one set
            resource.setrlimit(kind, (limit, limit))


if __name__ == "__main__":
    main(*sys.argv[1:])

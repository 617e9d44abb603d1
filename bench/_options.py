"""What all comparisons share: their options and their two kinds of output."""

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path


def options(doc: str | None, arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="less than a minute, less exact")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    parser.add_argument(
        "--data",
        type=Path,
        default=Path(tempfile.gettempdir()),
        help="a directory on the disk to be measured (/dev/shm measures the processor alone)",
    )
    return parser.parse_args(arguments)


def say(text: str) -> None:
    """Tell how it goes, beside the output."""
    print(text, file=sys.stderr, flush=True)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Answer a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def output(as_json: bool, document: Mapping[str, object], text: str) -> None:
    """Print one or the other."""
    print(json.dumps(document, indent=1) if as_json else text)

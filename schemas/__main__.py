"""`python -m schemas export [--check]`: writes the exported contract, or says what is not current."""

from __future__ import annotations

import argparse
import sys

from schemas.export import stale, write


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit code: 1 where --check finds something that is not current."""
    parser = argparse.ArgumentParser(prog="python -m schemas", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    export = commands.add_parser("export", help="write JSON Schemas, AsyncAPI document and test vectors")
    export.add_argument(
        "--check", action="store_true", help="write nothing; exit code 1 where something is not current"
    )
    options = parser.parse_args(arguments)
    changed = stale() if options.check else write()
    word = "not current" if options.check else "written"
    sys.stdout.writelines(f"schemas/{name}: {word}\n" for name in changed)
    return 1 if options.check and changed else 0


if __name__ == "__main__":
    sys.exit(main())

"""``python -m streams.brokers embedded|apache`` runs one broker in the foreground and prints its address."""

import argparse
import signal
import sys
from pathlib import Path
from types import FrameType

from streams.brokers import BrokerError, start_broker


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m streams.brokers", description=__doc__)
    parser.add_argument("kind", choices=("embedded", "apache"))
    parser.add_argument("--data-dir", type=Path, help="keep the data here (default: a temporary folder)")
    return parser.parse_args(arguments)


def _end(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main(arguments: list[str] | None = None) -> int:
    """Runs the broker until SIGINT or SIGTERM; returns the exit status (1: it failed or ended by itself)."""
    options = _parse(arguments)
    signal.signal(signal.SIGTERM, _end)
    try:
        with start_broker(options.kind, data_dir=options.data_dir) as broker:
            sys.stdout.write(f"{broker.bootstrap}\n")
            sys.stdout.flush()
            broker.wait()
    except KeyboardInterrupt:
        return 0
    except BrokerError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stderr.write("the broker ended by itself\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())

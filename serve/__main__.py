"""`python -m serve`, see command.py; a signal while that is read, or Ray starts, ends everything in one line."""

import os
import signal
import sys
from types import FrameType


def leave(number: int, frame: FrameType | None) -> None:
    """Ends this process, and with it what Ray has started."""
    os.write(2, b"stopped before the service was up\n")
    os._exit(128 + number)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, leave)
    signal.signal(signal.SIGTERM, leave)
    from serve.command import main

    main(sys.argv[1:])

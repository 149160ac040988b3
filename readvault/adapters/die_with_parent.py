"""Run a command that dies when the process that started it dies.

`python die_with_parent.py PARENT_PID COMMAND…` asks Linux for SIGKILL at the parent's death, gives
the signals back their usual meaning and becomes COMMAND under the same process ID. Run as a script
of its own, so it may import nothing of ours. Elsewhere than on Linux only the signals are reset.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Become the command."""
    parent, command = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before the request
            sys.exit(1)
    # A shell script's background jobs ignore SIGINT, and so would all their children; Prefect's
    # processes then ignore SIGTERM as well.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    os.execv(command[0], command)  # noqa: S606 - no shell is meant to be here


if __name__ == "__main__":
    main()

"""Holds a listening socket as a service manager does, and runs a daemon on it again and again.

activate.py PROGRAM TURNS [ARGUMENT...]: prints the address, then a line for each start. A line on
standard input ends the daemon that runs (SIGTERM) and starts the next one; the end of standard input
ends the last one.
"""

import os
import signal
import socket
import sys

program, turns, arguments = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
print("127.0.0.1:%d" % listener.getsockname()[1], flush=True)
for turn in range(turns):
    child = os.fork()
    if child == 0:
        os.dup2(listener.fileno(), 3)
        os.set_inheritable(3, True)
        os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1")
        os.execv(program, [program, *arguments])
    print("started", turn, flush=True)
    sys.stdin.readline()
    os.kill(child, signal.SIGTERM)
    _, status = os.waitpid(child, 0)
    print("ended", os.waitstatus_to_exitcode(status), flush=True)

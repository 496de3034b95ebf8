"""`python -m explr.launching FD`: the fork server, under the names that the controller pickles."""

from explr.launching.fork_server import main

main()

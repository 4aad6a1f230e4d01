"""``python -m adapterstore_daemon``."""

from adapterstore_daemon.main import main

main()

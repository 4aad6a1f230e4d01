"""``python -m adapterstore_cli``."""

from adapterstore_cli.main import main

main()

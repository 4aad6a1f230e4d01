"""``adapterstore add``."""

from adapterstore_cli.commands.combining import combining_command

command = combining_command("add", "Add an operand to the state, exactly: θ becomes θ + c·operand.")

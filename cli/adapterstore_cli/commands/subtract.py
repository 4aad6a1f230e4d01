"""``adapterstore subtract``."""

from adapterstore_cli.commands.combining import combining_command

command = combining_command(
    "subtract", "Subtract an operand from the state, exactly: θ becomes θ − c·operand."
)

"""The daemon ``adapterstored``: each fact file that lands becomes a commit or a clear refusal."""

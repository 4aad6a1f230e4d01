"""What ``log``, ``show``, ``diff`` and ``report`` say of one history, made once a session."""

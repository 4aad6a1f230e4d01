"""The command line ``adapterstore``: one file a verb, each calling the library."""

"""The command line: one thin file per command. Nothing here imports torch before a command needs it."""

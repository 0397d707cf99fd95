"""One module a sub-command: `add_parser(subparsers)` registers it, `run(args)` returns the exit code."""

"""What the commands do, without a command line: search, train, measure, adapt, scale, export."""

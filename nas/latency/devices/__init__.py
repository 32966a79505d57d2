"""Devices that time networks: clocks on this machine, runtimes, files, another machine."""

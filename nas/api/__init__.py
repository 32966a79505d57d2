"""The Python API: typed functions over the workflows, the same code that the `nas` command runs.

Nothing here prints, and nothing of the caller's process is changed: no signal handlers, no environment variables, no
handlers of the root logger. Every function works in a thread and in a notebook.
"""

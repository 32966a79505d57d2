"""The test suite; `python -m tests.chaos` is the long version of its chaos part."""

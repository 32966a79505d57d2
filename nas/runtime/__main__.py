"""`python -m nas.runtime` is a worker process: see `nas.runtime.worker`."""

from nas.runtime.worker import main

if __name__ == "__main__":
    main()

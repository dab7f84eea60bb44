"""`python -m statecast`, which torchrun and srun can start."""

from statecast.cli import main

if __name__ == "__main__":
    main()

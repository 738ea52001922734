"""The parts of tools/setup.py, on the standard library only: environment, choice of torch, doctor, commands."""

"""Proofs: for every task, a real training through the whole server whose result its control cannot explain.

path.py drives the server, packages.py fetches data and weights out of packages, conftest.py has the fixtures. Set
TUNEGATE_SEED for another seed, and TUNEGATE_PROOFS to a file that collects one JSON row a proof.
"""

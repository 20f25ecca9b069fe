"""Traps: what an agent under pressure, a hostile file or an unusual user may do to a run, each played for real and judged.

cases/X.py   one trap: its first docstring line says what it does, MUST what it has to meet, `trap(world) -> Seen` plays it
judge.py     Seen against MUST, in one word
world.py     a Hub, a tiny real model, the real tools, and a run that can be put back to any point of its life
"""

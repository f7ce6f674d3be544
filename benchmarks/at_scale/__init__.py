"""What the published datasets and a run of a hundred million samples take: formulas over dated facts.

`python -m benchmarks.at_scale` writes the tables of docs/scale.md; a test computes them again and compares.
"""

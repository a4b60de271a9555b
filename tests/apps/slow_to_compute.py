"""A module that computes for a while as it is imported."""
import compute_count

compute_count.imports += 1
imports = compute_count.imports
VALUE = 0
for number in range(1500000):
    VALUE = (VALUE * 31 + number) % 1000003

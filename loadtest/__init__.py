"""Load from outside: open-loop arrivals, answers held against what is known, and scenarios made of them."""

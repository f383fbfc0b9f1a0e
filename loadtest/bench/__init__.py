"""`make bench`: what a request costs, as ratios of things that ran in turn within one run.

Rules: absolute times on a shared machine mean little, so every comparison is made of pairs, A and B one after the
other, and told as the median of their ratios and its range. Every status is counted, and answers are held against known
ones while the load runs. All that is started here listens on free ports of loopback and ends with the run.
"""

"""Load scenarios on Locust: what is asked and when, whether each answer is right, what a run adds up to."""

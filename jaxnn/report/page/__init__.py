"""report.html: what a run, a sweep or several runs have come to, as one file that needs nothing else."""

"""The results that the documents show, made again by `python -m maskgap.benchmarks.reference`."""

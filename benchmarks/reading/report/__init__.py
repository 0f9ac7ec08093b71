"""`maskgap report`: a run as one self-contained page for people who did not run it."""

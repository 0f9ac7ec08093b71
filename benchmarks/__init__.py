"""What it is worth: runs, certificates, records, tables, figures, the command."""

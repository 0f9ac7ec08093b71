"""From a suite to records: processes, judges, record files."""

"""From records to what people read: tables, figures, a page."""

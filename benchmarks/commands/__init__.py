"""The commands of `maskgap`, one module each; nothing heavy is imported before it is needed."""

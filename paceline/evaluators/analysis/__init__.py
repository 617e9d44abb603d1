"""What several evaluators need to know about source text; nothing here runs code of a change."""

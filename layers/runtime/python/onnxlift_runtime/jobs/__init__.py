"""Jobs as pure data and decisions; nothing here talks to AWS."""

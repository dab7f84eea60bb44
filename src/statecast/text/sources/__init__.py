"""Files of documents."""

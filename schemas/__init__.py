"""The contract of every topic: the topic table, the server's own documents, and what is exported from them."""

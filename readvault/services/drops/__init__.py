"""Drop links: files come in from people without an account, who can do nothing but deliver them."""

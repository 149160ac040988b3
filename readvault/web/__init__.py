"""The pages that people look at: plain HTML from the server, no framework, nothing from elsewhere."""

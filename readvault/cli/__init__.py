"""`readvault …`: what people type."""

"""The science: local paths in, typed reports out. No database, no cloud, no orchestrator."""

"""The steps as Prefect sees them: their policy, their artifacts, their place in the graph."""

"""A Loculus configuration turned into organism files; whatever can't be said in them is told.

Shapes after loculus-project/loculus: kubernetes/loculus/values.yaml and values.schema.json, and the
backend's configuration (`BackendConfig`), as they are at commits 008ba90 and 004f333.
"""

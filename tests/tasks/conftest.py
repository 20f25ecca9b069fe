from tests.tiny import hub, server  # noqa: F401

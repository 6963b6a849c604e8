"""What can be wrong with a training: one function a code, ``Observation -> Suspicion | None``."""

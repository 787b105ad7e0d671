//! The missing-tests heuristic. Its rules follow.

//! The secret-scan heuristic. Its rules follow.

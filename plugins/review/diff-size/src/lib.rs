//! The diff-size heuristic. Its rules follow.

//! The architect spirit. Its prompts follow.

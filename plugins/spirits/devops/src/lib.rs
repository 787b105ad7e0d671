//! The devops spirit. Its prompts follow.

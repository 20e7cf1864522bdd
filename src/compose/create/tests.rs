//! What a compose file becomes.

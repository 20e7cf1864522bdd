//! What the tool says about itself.

pub mod log;

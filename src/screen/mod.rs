//! The live screen of `watch`: it draws snapshots and what happened, and knows nothing else.
//!
//! [`Model`] is what is known and what is chosen, [`draw`] makes a picture of it, and [`Screen`] is the
//! terminal, in a thread of its own: however slow it is, the loop does not wait for it.

mod details;
mod draw;
mod keys;
mod model;
mod overview;
mod sparkline;
mod style;
mod terminal;

pub use draw::draw;
pub use model::{KeyAction, Model, ScreenView};
pub use terminal::{Screen, ScreenMessage, is_possible};

#[cfg(test)]
mod tests;

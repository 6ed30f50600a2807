//! Devices: the registry of who may send readings, and what is known of them.
//!
//! A device is deleted softly: its readings and roll-ups stay, nobody reads them, and registering its
//! identifier again brings them back. Versions go on through both, so an entity tag never repeats.

pub mod model;
pub mod rules;
pub mod store;

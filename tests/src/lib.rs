//! Tools of the tests and the demonstration: files and loads made from nothing but a seed.

pub mod generate;

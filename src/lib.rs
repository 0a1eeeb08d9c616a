//! Meerkat.

pub mod config;

//! What operators ask: four-letter words, HTTP commands and metrics. Looks, and changes statistics
//! at most.

mod commands;
mod date;
mod facts;
pub mod http;
mod json;
pub mod metrics;
mod recorder;
pub mod words;

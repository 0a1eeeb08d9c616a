//! What operators ask: four-letter words and metrics. Looks, and changes statistics at most.

mod date;
mod facts;
pub mod metrics;
pub mod words;

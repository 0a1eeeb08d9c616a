//! What operators ask: four-letter words and metrics. Looks, never changes.

pub mod metrics;
pub mod words;

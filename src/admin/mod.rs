//! What operators ask: four-letter words, HTTP commands, metrics, and a page. Looks, and changes
//! statistics at most; what the page changes goes the way of any client's request.

mod commands;
mod date;
mod facts;
pub mod http;
mod json;
pub mod metrics;
mod page;
mod recorder;
mod restore;
mod serve;
pub mod words;

pub(crate) use words::own_user;

use std::sync::Arc;

use crate::config::Config;
use crate::ensemble::Ensemble;
use crate::pipeline::Core;

/// What is looked at.
#[derive(Clone)]
pub struct Sources {
    pub core: Arc<Core>,
    pub ensemble: Arc<Ensemble>,
    pub config: Arc<Config>,
}

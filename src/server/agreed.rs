//! What the ensemble has agreed on, for those who keep something in step with it.

use std::sync::Arc;

use tokio::sync::watch;

use crate::config::ServerSpec;
use crate::pipeline::{Core, Service};

/// One configuration of the ensemble.
#[derive(Debug)]
pub(super) struct Agreed {
    /// Its `server.N=` lines.
    pub members: String,
    pub version: u64,
    /// This server is up to date: what it has is what holds. While it learns, it meets
    /// configurations that have long been replaced.
    is_current: bool,
}

impl Agreed {
    pub(super) fn parse(text: &str, is_current: bool) -> Option<Self> {
        let (members, hex) = text.rsplit_once("\nversion=")?;
        let is_line = |line: &str| ServerSpec::parse_line(line).is_some();
        let agreed = Self {
            members: members.to_owned(),
            version: u64::from_str_radix(hex, 16).ok()?,
            is_current,
        };
        (!members.is_empty() && members.lines().all(is_line)).then_some(agreed)
    }

    /// Whether this takes the place of what has this version.
    pub(super) fn overrules(&self, version: u64) -> bool {
        self.version > version || self.is_current && self.version != version
    }

    pub(super) fn own_line(&self, id: u64) -> Option<ServerSpec> {
        let mut lines = self.members.lines().filter_map(ServerSpec::parse_line);
        lines.find(|line| line.id == id)
    }
}

/// Configurations as they come.
pub(super) struct Agreements {
    texts: watch::Receiver<Arc<str>>,
    service: watch::Receiver<Service>,
}

impl Agreements {
    pub(super) fn of(core: &Core) -> Self {
        Self {
            texts: core.configuration(),
            service: core.service_changes(),
        }
    }

    /// The newest one.
    pub(super) fn look(&mut self) -> Option<Agreed> {
        let text = Arc::clone(&self.texts.borrow_and_update());
        let is_current = *self.service.borrow_and_update() == Service::Everybody;
        Agreed::parse(&text, is_current)
    }

    /// Returns when it is worth another look; false when there is nothing more to come.
    pub(super) async fn changed(&mut self) -> bool {
        let changed = tokio::select! {
            changed = self.texts.changed() => changed,
            changed = self.service.changed() => changed,
        };
        changed.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::Agreed;

    #[test]
    fn only_whole_configurations_count() {
        for text in [
            "",
            "server.1=a:1:2",
            "\nversion=5",
            "junk\nversion=5",
            "server.1=a:1:2\nversion=x",
        ] {
            assert!(Agreed::parse(text, true).is_none(), "{text}");
        }
        let agreed = Agreed::parse("server.1=a:1:2\nversion=1f", true).expect("sound");
        assert_eq!(
            (agreed.version, agreed.members.as_str()),
            (31, "server.1=a:1:2")
        );
    }
}

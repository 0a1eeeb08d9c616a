//! Replicas that are quiet are equal.

use super::{History, Rule, Violation, report};

pub(super) fn check(history: &History, found: &mut Vec<Violation>) {
    for pair in history.trees.windows(2) {
        let (one, two) = (&pair[0], &pair[1]);
        let paths = one.znodes.keys().chain(two.znodes.keys());
        let differing = paths
            .filter(|path| one.znodes.get(*path) != two.znodes.get(*path))
            .min();
        if let Some(path) = differing {
            let text = format!(
                "{path}: server {} has {:?}, server {} has {:?}",
                one.server,
                one.znodes.get(path),
                two.server,
                two.znodes.get(path)
            );
            report(found, Rule::ServersDiffer, text);
        }
    }
}

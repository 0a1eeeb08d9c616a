//! Walks through a subtree (`ZKUtil.java`).

use std::collections::{BTreeSet, VecDeque};

use futures_util::future::join_all;
use jute::ErrorCode;

use super::super::path::join;
use super::{Failure, Shell};

/// Lists in flight together.
const PIPELINE: usize = 64;

/// The paths that could not be read by a command which goes on without them.
#[derive(Default)]
pub(super) struct Unreadable(BTreeSet<String>);

impl Unreadable {
    /// Notes a path; another failure than a missing permission is handed back.
    pub(super) fn note(
        &mut self,
        shell: &mut Shell,
        path: &str,
        code: ErrorCode,
    ) -> Result<(), Failure> {
        let failure = Failure::refused(code, Some(path));
        if code != ErrorCode::NO_AUTH {
            return Err(failure);
        }
        if self.0.insert(path.to_owned()) {
            shell.output.failure(&failure.text);
        }
        Ok(())
    }

    /// How a command ends that has left them out.
    pub(super) fn outcome(&self) -> Result<(), Failure> {
        match self.0.len() {
            0 => Ok(()),
            1 => Err(Failure::new("1 znode could not be read")),
            number => Err(Failure::new(format!("{number} znodes could not be read"))),
        }
    }
}

/// A node, then its children by name, then each child's subtree likewise without the child.
pub(super) struct Walk {
    watch: bool,
    /// Seen, to be given out.
    ready: VecDeque<String>,
    /// Given out, children not asked for yet; the next one last.
    unlisted: Vec<String>,
}

impl Walk {
    /// # Errors
    /// There is no such node, or it cannot be read.
    pub(super) async fn start(shell: &mut Shell, path: &str, watch: bool) -> Result<Self, Failure> {
        let keeper = shell.keeper.clone();
        let read = shell.wait(keeper.data(path, watch)).await;
        read.map_err(|code| Failure::refused(code, Some(path)))?;
        Ok(Self {
            watch,
            ready: [path.to_owned()].into(),
            unlisted: vec![path.to_owned()],
        })
    }

    /// The next node; those that have gone meanwhile are left out.
    pub(super) async fn next(&mut self, shell: &mut Shell) -> Result<Option<String>, Failure> {
        self.step(shell, None).await
    }

    /// As [`Walk::next`], past what cannot be read.
    pub(super) async fn next_readable(
        &mut self,
        shell: &mut Shell,
        unreadable: &mut Unreadable,
    ) -> Result<Option<String>, Failure> {
        self.step(shell, Some(unreadable)).await
    }

    async fn step(
        &mut self,
        shell: &mut Shell,
        mut unreadable: Option<&mut Unreadable>,
    ) -> Result<Option<String>, Failure> {
        loop {
            if let Some(path) = self.ready.pop_front() {
                return Ok(Some(path));
            }
            let Some(path) = self.unlisted.pop() else {
                return Ok(None);
            };
            let keeper = shell.keeper.clone();
            let names = match shell.wait(keeper.children(&path, self.watch)).await {
                Ok((mut names, _)) => {
                    names.sort();
                    names
                }
                Err(ErrorCode::NO_NODE) => continue,
                Err(code) => match &mut unreadable {
                    Some(unreadable) => {
                        unreadable.note(shell, &path, code)?;
                        continue;
                    }
                    None => return Err(Failure::refused(code, Some(&path))),
                },
            };
            let children = names.iter().map(|name| join(&path, name));
            self.ready.extend(children.clone());
            self.unlisted.extend(children.rev());
        }
    }
}

/// A node and all below it, those further up first.
pub(super) async fn by_level(shell: &mut Shell, path: &str) -> Result<Vec<String>, Failure> {
    let keeper = shell.keeper.clone();
    let mut tree = vec![path.to_owned()];
    let mut listed = 0;
    while listed < tree.len() {
        let nodes = &tree[listed..tree.len().min(listed + PIPELINE)];
        let asked = nodes.iter().map(|node| keeper.children(node, false));
        let answers = shell.wait(join_all(asked)).await;
        let mut found = Vec::new();
        for (node, answer) in nodes.iter().zip(answers) {
            listed += 1;
            let names = match answer {
                Ok((mut names, _)) => {
                    names.sort();
                    names
                }
                // Gone since its parent was listed.
                Err(ErrorCode::NO_NODE) if node != path => continue,
                Err(code) => return Err(Failure::refused(code, Some(node))),
            };
            found.extend(names.iter().map(|name| join(node, name)));
        }
        tree.extend(found);
    }
    Ok(tree)
}

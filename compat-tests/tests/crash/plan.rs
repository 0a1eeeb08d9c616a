//! What a writer does next: random, but always knowing what must come of it.

use bytes::Bytes;
use rand::Rng;
use rand::seq::IteratorRandom;
use rand_chacha::ChaCha8Rng;

use crate::model::{COUNTER, CreateKind, Model, Op, OwnNode, QUEUE_ITEM, Step, tag_prefix};

/// A writer with more nodes than this only deletes.
const NODES_MAX: usize = 80;
/// A writer with more queue items than this takes one out before it puts another in.
const ITEMS_MAX: usize = 12;
const PADDING_BYTES_MAX: usize = 300;
/// Different ACLs in use.
const READERS: u32 = 40;

const PLAIN: CreateKind = CreateKind {
    ephemeral: false,
    sequential: false,
};
const SEQUENTIAL: CreateKind = CreateKind {
    ephemeral: false,
    sequential: true,
};
const EPHEMERAL_SEQUENTIAL: CreateKind = CreateKind {
    ephemeral: true,
    sequential: true,
};

pub(crate) struct Planner {
    rng: ChaCha8Rng,
    /// Makes every path and every value unique.
    serial: u64,
}

impl Planner {
    pub(crate) fn new(rng: ChaCha8Rng) -> Self {
        Self { rng, serial: 0 }
    }

    /// A request to follow those that have led to `model`.
    pub(crate) fn next_op(&mut self, model: &Model) -> Op {
        self.serial += 1;
        let full = model.own_nodes().count() >= NODES_MAX;
        let node = self.pick(model.own_nodes());
        let path = node.map_or_else(
            || format!("{}/none", model.root()),
            |node| node.path.to_owned(),
        );
        let version = node.map_or(0, |node| node.version);
        match self.rng.random_range(0..100) {
            _ if full => Op::One(self.delete(model)),
            0..25 => Op::One(Step::SetData {
                path,
                data: self.data(model),
                version: self.or_any(version),
            }),
            25..53 => Op::One(self.create_somewhere(model)),
            53..65 => Op::One(self.delete(model)),
            65..88 => Op::Multi(self.together(model)),
            88..92 => {
                // Good steps with a bad one at the end: nothing of it may ever be seen.
                let mut steps = self.together(model);
                let version = version + 1;
                steps.push(Step::Check { path, version });
                Op::Multi(steps)
            }
            92..96 => Op::SetAcl {
                path,
                reader: self.rng.random_range(0..READERS),
                version: self.or_any(node.map_or(0, |node| node.acl_version)),
            },
            96..98 => Op::One(self.create(model, path, PLAIN)),
            _ => Op::One(Step::SetData {
                path,
                data: None,
                version: i32::MAX,
            }),
        }
    }

    fn create_somewhere(&mut self, model: &Model) -> Step {
        let kind = CreateKind {
            ephemeral: self.rng.random_bool(0.3),
            sequential: self.rng.random_bool(0.4),
        };
        // Directly below the root, or one level further down.
        let depth = model.root().matches('/').count() + 1;
        let parents = model
            .own_nodes()
            .filter(|node| !node.ephemeral && node.path.matches('/').count() == depth);
        let parent = match self.rng.random_bool(0.3) {
            true => self
                .pick(parents)
                .map_or_else(|| model.root(), |node| node.path),
            false => model.root(),
        };
        let path = match kind.sequential {
            true => format!("{parent}/q"),
            false => format!("{parent}/n{}", self.serial),
        };
        self.create(model, path, kind)
    }

    fn create(&mut self, model: &Model, path: String, kind: CreateKind) -> Step {
        Step::Create {
            path,
            kind,
            data: self.data(model),
            reader: self.rng.random_range(0..READERS),
        }
    }

    /// Of a leaf when there is one; a refusal is an answer too.
    fn delete(&mut self, model: &Model) -> Step {
        match self.pick(model.own_nodes().filter(|node| node.children == 0)) {
            Some(leaf) => Step::Delete {
                path: leaf.path.to_owned(),
                version: self.or_any(leaf.version),
            },
            None => Step::Delete {
                path: format!("{}/none", model.root()),
                version: -1,
            },
        }
    }

    /// Several changes of which all or none may survive, in the own part and in the shared one.
    fn together(&mut self, model: &Model) -> Vec<Step> {
        let path = format!("{}/m{}", model.root(), self.serial);
        let tag = Some(self.tag(model));
        let mut steps = vec![
            self.create(model, path.clone(), PLAIN),
            Step::Check {
                path: path.clone(),
                version: 0,
            },
            Step::SetData {
                path: path.clone(),
                data: self.data(model),
                version: 0,
            },
            self.create(model, format!("{path}/q"), SEQUENTIAL),
            Step::SetData {
                path: COUNTER.to_owned(),
                data: tag.clone(),
                version: -1,
            },
        ];
        let (oldest, items) = model.oldest_item();
        if items < ITEMS_MAX {
            steps.push(Step::Create {
                path: QUEUE_ITEM.to_owned(),
                kind: SEQUENTIAL,
                data: tag,
                reader: 0,
            });
        } else if let Some(path) = oldest.map(str::to_owned) {
            steps.push(Step::Delete { path, version: -1 });
        }
        steps.push(match self.rng.random_bool(0.5) {
            true => self.create(model, format!("{path}/e"), EPHEMERAL_SEQUENTIAL),
            // A node that comes and goes within the multi still counts for its parent.
            false => Step::Delete {
                path: format!("{path}/q0000000000"),
                version: 0,
            },
        });
        steps
    }

    fn pick<'a>(&mut self, nodes: impl Iterator<Item = OwnNode<'a>>) -> Option<OwnNode<'a>> {
        nodes.choose(&mut self.rng)
    }

    /// The version that the node has, or any.
    fn or_any(&mut self, version: i32) -> i32 {
        if self.rng.random_bool(0.5) {
            version
        } else {
            -1
        }
    }

    /// Mostly a unique value; null and empty must survive as what they are.
    fn data(&mut self, model: &Model) -> Option<Bytes> {
        match self.rng.random_range(0..20) {
            0 => None,
            1 => Some(Bytes::new()),
            _ => {
                let mut data = self.tag(model).to_vec();
                let padding = self.rng.random_range(0..PADDING_BYTES_MAX);
                data.resize(data.len() + padding, b'.');
                Some(data.into())
            }
        }
    }

    fn tag(&self, model: &Model) -> Bytes {
        format!("{}{}", tag_prefix(model.root()), self.serial).into()
    }
}

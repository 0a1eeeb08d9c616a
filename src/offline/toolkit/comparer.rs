//! `SnapshotComparer.java`: where two snapshots differ in size, layer by layer.

use std::collections::BTreeMap;
use std::io::{BufRead as _, Write};
use std::path::Path;
use std::time::Instant;

use super::options::{self, Given, Known};
use super::{
    Children, Done, EXIT_FAILED, EXIT_INVALID_INVOCATION, Stop, child_path, data_len, load,
    validate,
};

const USAGE: &str = "usage: java -cp <classPath> org.apache.zookeeper.server.SnapshotComparer
 -b,--bytes <BYTETHRESHOLD>   (Required) The node data delta size threshold, in bytes, for printing the node.
 -d,--debug                   Use debug output.
 -i,--interactive             Enter interactive mode.
 -l,--left <LEFT>             (Required) The left snapshot file.
 -n,--nodes <NODETHRESHOLD>   (Required) The descendant node delta size threshold, in nodes, for printing the node.
 -r,--right <RIGHT>           (Required) The right snapshot file.";

const HINT: &str = "- Press enter to move to print current depth layer;
- Type a number to jump to and print all nodes at a given depth;
- Enter an ABSOLUTE path to print the immediate subtree of a node. Path must start with '/'.";

const OPTIONS: [Known; 6] = [
    Known::with_value('b', "bytes"),
    Known::flag('d', "debug"),
    Known::flag('i', "interactive"),
    Known::with_value('l', "left"),
    Known::with_value('n', "nodes"),
    Known::with_value('r', "right"),
];

/// What is printed of a difference.
#[derive(Clone, Copy)]
struct Threshold {
    bytes: i64,
    nodes: i64,
    debug: bool,
    /// Whether what is filtered out is told.
    tells_filtered: bool,
}

pub(super) fn run(words: &[String], out: &mut dyn Write) -> Done {
    let given = match options::parse(words, &OPTIONS).and_then(has_all) {
        Ok(given) => given,
        Err(why) => {
            writeln!(out, "{USAGE}")?;
            return Err(Stop::Failed(why, EXIT_INVALID_INVOCATION));
        }
    };
    let value = |short| given.value(short).unwrap_or_default();
    let number = |short| {
        let text = value(short);
        let number = text.parse::<i32>().map(i64::from);
        number.map_err(|_| Stop::Failed(format!("For input string: \"{text}\""), EXIT_FAILED))
    };
    let (debug, interactive) = (given.has('d'), given.has('i'));
    let threshold = Threshold {
        bytes: number('b')?,
        nodes: number('n')?,
        debug,
        tells_filtered: debug || interactive,
    };
    let (left, right) = (Path::new(value('l')), Path::new(value('r')));
    validate(left)?;
    validate(right)?;
    writeln!(out, "Successfully parsed options!")?;
    let (left, right) = (Tree::read(left, out)?, Tree::read(right, out)?);
    left.describe(out)?;
    right.describe(out)?;
    if interactive {
        ask(&left, &right, threshold, out)?;
    } else {
        print_threshold(threshold, out)?;
        for depth in 0..left.layers.len().max(right.layers.len()) {
            compare_layer(&left, &right, depth, threshold, out)?;
        }
    }
    Ok(writeln!(out, "All layers compared.")?)
}

/// All four that upstream asks for.
fn has_all(given: Given) -> Result<Given, String> {
    let missing: Vec<String> = ['l', 'r', 'b', 'n']
        .into_iter()
        .filter(|short| !given.has(*short))
        .map(String::from)
        .collect();
    match missing.as_slice() {
        [] => Ok(given),
        [one] => Err(format!("Missing required option: {one}")),
        several => Err(format!("Missing required options: {}", several.join(", "))),
    }
}

/// Sizes of a subtree, its top included in the bytes.
#[derive(Debug, Clone, Copy, Default)]
struct Size {
    bytes: i64,
    descendants: i64,
}

/// The znodes of a snapshot with their sizes.
struct Tree {
    /// By path; the root is `""`.
    sizes: BTreeMap<String, Size>,
    /// Paths of each depth, by name.
    layers: Vec<Vec<String>>,
    children: BTreeMap<String, Vec<String>>,
    data_bytes: i64,
}

impl Tree {
    fn read(path: &Path, out: &mut dyn Write) -> Result<Self, Stop> {
        let begun = Instant::now();
        let image = load(path)?.image;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let took = begun.elapsed().as_secs_f64();
        writeln!(out, "Deserialized snapshot in {name} in {took:.6} seconds")?;
        let begun = Instant::now();
        let names = Children::of(&image);
        let mut tree = Self {
            sizes: BTreeMap::new(),
            layers: Vec::new(),
            children: BTreeMap::new(),
            data_bytes: 0,
        };
        let mut layer = vec![String::new()];
        while !layer.is_empty() {
            let mut next = Vec::new();
            for path in &layer {
                let below = names.names(path).iter();
                let below: Vec<String> = below.map(|name| child_path(path, name)).collect();
                next.extend(below.iter().cloned());
                tree.children.insert(path.clone(), below);
            }
            next.sort();
            tree.layers.push(std::mem::replace(&mut layer, next));
        }
        for path in tree.layers.iter().rev().flatten() {
            let own = image.node(path).map_or(0, data_len) as i64;
            tree.data_bytes += own;
            let mut size = Size {
                bytes: own,
                descendants: 0,
            };
            for child in tree.children.get(path).into_iter().flatten() {
                let below = tree.sizes.get(child).copied().unwrap_or_default();
                size.bytes += below.bytes;
                size.descendants += below.descendants + 1;
            }
            tree.sizes.insert(path.clone(), size);
        }
        let took = begun.elapsed().as_secs_f64();
        writeln!(out, "Processed data tree in {took:.6} seconds")?;
        Ok(tree)
    }

    fn describe(&self, out: &mut dyn Write) -> Done {
        writeln!(out, "Node count: {}", self.sizes.len())?;
        writeln!(out, "Total size: {}", self.data_bytes)?;
        writeln!(out, "Max depth: {}", self.layers.len())?;
        for (depth, layer) in self.layers.iter().enumerate() {
            writeln!(out, "Count of nodes at depth {depth}: {}", layer.len())?;
        }
        Ok(writeln!(out)?)
    }

    fn layer(&self, depth: usize) -> &[String] {
        self.layers.get(depth).map_or(&[], Vec::as_slice)
    }

    fn size(&self, path: &str) -> Size {
        self.sizes.get(path).copied().unwrap_or_default()
    }
}

fn print_threshold(threshold: Threshold, out: &mut dyn Write) -> Done {
    Ok(writeln!(
        out,
        "Printing analysis for nodes difference larger than {} bytes or node count difference larger than {}.",
        threshold.bytes, threshold.nodes
    )?)
}

/// A layer, a path or the next layer, as the user says, until all layers have been shown.
fn ask(left: &Tree, right: &Tree, threshold: Threshold, out: &mut dyn Write) -> Done {
    let depths = left.layers.len().max(right.layers.len());
    let mut lines = std::io::stdin().lock().lines();
    let mut current = 0;
    while current < depths {
        writeln!(out, "Current depth is {current}\n{HINT}")?;
        out.flush()?;
        let Some(Ok(input)) = lines.next() else {
            return Ok(());
        };
        print_threshold(threshold, out)?;
        if input.is_empty() {
            compare_layer(left, right, current, threshold, out)?;
            current += 1;
        } else if input.starts_with('/') {
            writeln!(out, "Analysis for node {input}")?;
            let key = if input == "/" { "" } else { input.as_str() };
            match (left.children.get(key), right.children.get(key)) {
                (None, None) => {
                    writeln!(
                        out,
                        "Path {input} is neither found in left tree nor right tree."
                    )?;
                }
                (ours, theirs) => {
                    let ours = ours.map_or(&[][..], Vec::as_slice);
                    let theirs = theirs.map_or(&[][..], Vec::as_slice);
                    compare((left, ours), (right, theirs), threshold, out)?;
                }
            }
        } else {
            let last = depths - 1;
            match input.parse::<usize>() {
                Ok(depth) if depth < depths => {
                    compare_layer(left, right, depth, threshold, out)?;
                }
                Ok(_) => {
                    writeln!(out, "Depth must be in range [0, {last}]")?;
                    continue;
                }
                Err(_) => writeln!(
                    out,
                    "Input {input} is not valid. Depth must be in range [0, {last}]. Path must be an absolute path which starts with '/'."
                )?,
            }
        }
        writeln!(out)?;
    }
    Ok(())
}

fn compare_layer(
    left: &Tree,
    right: &Tree,
    depth: usize,
    threshold: Threshold,
    out: &mut dyn Write,
) -> Done {
    writeln!(out, "Analysis for depth {depth}")?;
    let (ours, theirs) = (left.layer(depth), right.layer(depth));
    compare((left, ours), (right, theirs), threshold, out)
}

/// Walks two sorted lists of paths beside each other.
fn compare(
    (left, ours): (&Tree, &[String]),
    (right, theirs): (&Tree, &[String]),
    threshold: Threshold,
    out: &mut dyn Write,
) -> Done {
    let (mut ours, mut theirs) = (ours.iter().peekable(), theirs.iter().peekable());
    loop {
        let order = match (ours.peek(), theirs.peek()) {
            (None, None) => return Ok(()),
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (Some(one), Some(other)) => {
                let order = one.cmp(other);
                if threshold.debug {
                    writeln!(out, "Comparing {one} to {other}")?;
                    let said = ["left is less", "same", "right is less"];
                    writeln!(out, "{}", said[(order as i8 + 1).unsigned_abs() as usize])?;
                }
                order
            }
        };
        let one = ours.next_if(|_| order.is_le());
        let other = theirs.next_if(|_| order.is_ge());
        match (one, other) {
            (Some(path), Some(_)) => print_both(path, left, right, threshold, out)?,
            (Some(path), None) => print_one("left", path, left, threshold, out)?,
            (None, Some(path)) => print_one("right", path, right, threshold, out)?,
            (None, None) => return Ok(()),
        }
    }
}

fn print_both(
    path: &str,
    left: &Tree,
    right: &Tree,
    threshold: Threshold,
    out: &mut dyn Write,
) -> Done {
    let (ours, theirs) = (left.size(path), right.size(path));
    let bytes = theirs.bytes - ours.bytes;
    let nodes = theirs.descendants - ours.descendants;
    if bytes.abs() > threshold.bytes || nodes.abs() > threshold.nodes {
        writeln!(
            out,
            "Node {path} found in both trees. Delta: {bytes} bytes, {nodes} descendants"
        )?;
    } else if threshold.tells_filtered {
        writeln!(
            out,
            "Filtered node {path} of left size {}, right size {}",
            ours.bytes, theirs.bytes
        )?;
    }
    Ok(())
}

fn print_one(
    side: &str,
    path: &str,
    tree: &Tree,
    threshold: Threshold,
    out: &mut dyn Write,
) -> Done {
    let size = tree.size(path);
    if size.bytes > threshold.bytes || size.descendants > threshold.nodes {
        writeln!(
            out,
            "Node {path} found only in {side} tree. Descendant size: {}. Descendant count: {}",
            size.bytes, size.descendants
        )?;
    } else if threshold.tells_filtered {
        writeln!(out, "Filtered {side} node {path} of size {}", size.bytes)?;
    }
    Ok(())
}

//! `SnapshotComparer.java`: where two snapshots differ in size, layer by layer.

use std::collections::BTreeMap;
use std::io::{BufRead as _, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::{Children, Done, EXIT_INVALID_INVOCATION, Stop, child_path, data_len, load, validate};

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

#[derive(Default)]
struct Options {
    left: Option<PathBuf>,
    right: Option<PathBuf>,
    bytes: Option<i64>,
    nodes: Option<i64>,
    debug: bool,
    interactive: bool,
}

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
    let options = match parse(words) {
        Ok(options) => options,
        Err(why) => {
            writeln!(out, "{USAGE}")?;
            return Err(Stop::Failed(why, EXIT_INVALID_INVOCATION));
        }
    };
    let (left, right) = (
        options.left.unwrap_or_default(),
        options.right.unwrap_or_default(),
    );
    validate(&left)?;
    validate(&right)?;
    writeln!(out, "Successfully parsed options!")?;
    let (left, right) = (Tree::read(&left, out)?, Tree::read(&right, out)?);
    left.describe(out)?;
    right.describe(out)?;
    let threshold = Threshold {
        bytes: options.bytes.unwrap_or_default(),
        nodes: options.nodes.unwrap_or_default(),
        debug: options.debug,
        tells_filtered: options.debug || options.interactive,
    };
    if options.interactive {
        ask(&left, &right, threshold, out)?;
    } else {
        print_threshold(threshold, out)?;
        for depth in 0..left.layers.len().max(right.layers.len()) {
            compare_layer(&left, &right, depth, threshold, out)?;
        }
    }
    Ok(writeln!(out, "All layers compared.")?)
}

fn parse(words: &[String]) -> Result<Options, String> {
    let mut options = Options::default();
    let mut words = words.iter();
    let number = |text: &str| {
        let number = text.parse::<i32>().map(i64::from);
        number.map_err(|_| format!("For input string: \"{text}\""))
    };
    while let Some(word) = words.next() {
        let (name, given) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (word.as_str(), None),
        };
        let mut value = |short: &str| {
            let value = given.clone().or_else(|| words.next().cloned());
            value.ok_or_else(|| format!("Missing argument for option: {short}"))
        };
        match name {
            "-l" | "--left" => options.left = Some(value("l")?.into()),
            "-r" | "--right" => options.right = Some(value("r")?.into()),
            "-b" | "--bytes" => options.bytes = Some(number(&value("b")?)?),
            "-n" | "--nodes" => options.nodes = Some(number(&value("n")?)?),
            "-d" | "--debug" => options.debug = true,
            "-i" | "--interactive" => options.interactive = true,
            _ if word.starts_with('-') => return Err(format!("Unrecognized option: {word}")),
            // Upstream leaves further words alone.
            _ => {}
        }
    }
    let is_missing = [
        ("l", options.left.is_none()),
        ("r", options.right.is_none()),
        ("b", options.bytes.is_none()),
        ("n", options.nodes.is_none()),
    ];
    let missing: Vec<&str> = is_missing
        .iter()
        .filter_map(|(name, is_missing)| is_missing.then_some(*name))
        .collect();
    match missing.len() {
        0 => Ok(options),
        1 => Err(format!("Missing required option: {}", missing[0])),
        _ => Err(format!("Missing required options: {}", missing.join(", "))),
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

//! `SnapshotRecursiveSummary.java`: how many znodes and bytes are below each znode.

use std::collections::HashMap;
use std::io::Write;
use std::path::Path;

use super::{
    Children, Done, EXIT_FAILED, EXIT_INVALID_INVOCATION, Stop, child_path, data_len, load,
    validate,
};
use crate::upstream::image::Image;

const USAGE: &str = "USAGE:


SnapshotRecursiveSummary  <snapshot_file>  <starting_node>  <max_depth>


snapshot_file:    path to the zookeeper snapshot
starting_node:    the path in the zookeeper tree where the traversal should begin
max_depth:        defines the depth where the tool still writes to the output. 0 means there is no depth limit, every non-leaf node's stats will be displayed, 1 means it will only contain the starting node's and it's children's stats, 2 ads another level and so on. This ONLY affects the level of details displayed, NOT the calculation.";

pub(super) fn run(words: &[String], out: &mut dyn Write) -> Done {
    let usage = || Stop::Failed(USAGE.to_owned(), EXIT_INVALID_INVOCATION);
    let [file, start, depth] = words else {
        return Err(usage());
    };
    let file = Path::new(file);
    validate(file)?;
    let depth: i32 = depth.parse().map_err(|_| usage())?;
    let image = load(file)?.image;
    if image.node(start).is_none() {
        let why = format!("There is no znode {start} in {}", file.display());
        return Err(Stop::Failed(why, EXIT_FAILED));
    }
    // Upstream shows nothing of a depth below 0, and ends well.
    if let Ok(depth) = usize::try_from(depth) {
        print(&image, start, depth, out)?;
    }
    Ok(writeln!(out)?)
}

/// Znodes and bytes of a subtree, its top included.
type Sums = HashMap<String, (usize, usize)>;

fn print(image: &Image, start: &str, depth_max: usize, out: &mut dyn Write) -> Done {
    let children = Children::of(image);
    let below = |path: &str| -> Vec<String> {
        let names = children.names(path).iter();
        names.map(|name| child_path(path, name)).collect()
    };
    // Parents first; the other way round each has its children's sums.
    let mut order = Vec::new();
    let mut stack = vec![(start.to_owned(), 0)];
    while let Some((path, level)) = stack.pop() {
        let found = below(&path).into_iter().rev();
        stack.extend(found.map(|child| (child, level + 1)));
        order.push((path, level));
    }
    let mut sums = Sums::new();
    for (path, _) in order.iter().rev() {
        let own = image.node(path).map_or(0, data_len);
        let sum = below(path).iter().fold((1, own), |(znodes, bytes), child| {
            let (more, longer) = sums.get(child).copied().unwrap_or_default();
            (znodes + more, bytes + longer)
        });
        sums.insert(path.clone(), sum);
    }
    for (path, level) in &order {
        let is_shown = depth_max == 0 || *level <= depth_max;
        if !is_shown || children.names(path).is_empty() {
            continue;
        }
        let (znodes, bytes) = sums.get(path).copied().unwrap_or_default();
        let tab = "--".repeat(*level);
        writeln!(
            out,
            "{tab} {path}\n{tab}   children: {}\n{tab}   data: {bytes}",
            znodes - 1
        )?;
    }
    Ok(())
}

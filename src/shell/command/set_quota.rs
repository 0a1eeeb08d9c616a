//! `setquota -n|-b|-N|-B val path` (`SetQuotaCommand.java`).

use jute::ErrorCode;

use crate::client::{CreateOptions, open_acl};

use super::super::path::join;
use super::quotas::{self, FIELDS, LIMITS, Track};
use super::walk::Walk;
use super::{Call, Choice, Command, Failure, Grammar, Opt, PLAIN, Shell, checked};

pub(super) const COMMAND: Command = Command {
    name: "setquota",
    usage: "-n|-b|-N|-B val path",
    grammar: Grammar {
        options: &[
            Opt::value("n", "num soft quota"),
            Opt::value("b", "bytes soft quota"),
            Opt::value("N", "num hard quota"),
            Opt::value("B", "bytes hard quota"),
        ],
        choice: Choice::One,
    },
    help: "limits the znodes (-n soft, -N hard) or bytes (-b soft, -B hard) of a subtree",
    ..PLAIN
};

pub(super) async fn run(shell: &mut Shell, call: Call<'_>) -> Result<(), Failure> {
    let parsed = call.parse_words(1)?;
    let path = &parsed.words[1];
    // Upstream's exit code is 0 for these refusals.
    if path.starts_with(quotas::ROOT) {
        let text = format!("cannot set a quota under the path: {}", quotas::ROOT);
        shell.output.failure(&text);
        return Ok(());
    }
    let chosen = FIELDS
        .iter()
        .find_map(|(option, field)| Some((*field, parsed.value(option)?)));
    let Some((field, text)) = chosen else {
        return Err(call.usage());
    };
    let limit = match limit(field, text) {
        Ok(limit) => limit,
        Err(complaint) => {
            shell.output.failure(complaint);
            return Ok(());
        }
    };
    set_limit(shell, path, field, limit).await
}

fn limit(field: &str, text: &str) -> Result<i64, &'static str> {
    let not_a_number = "NumberFormatException happens when parsing the option value";
    if field.starts_with("count") {
        match text.parse::<i32>() {
            Ok(limit) if limit > 0 => Ok(limit.into()),
            Ok(_) => Err("the num quota must be greater than zero"),
            Err(_) => Err(not_a_number),
        }
    } else {
        match text.parse::<i64>() {
            Ok(limit) if limit >= 0 => Ok(limit),
            Ok(_) => Err("the bytes quota must be greater than or equal to zero"),
            Err(_) => Err(not_a_number),
        }
    }
}

async fn set_limit(
    shell: &mut Shell,
    path: &str,
    field: &str,
    limit: i64,
) -> Result<(), Failure> {
    checked(path)?;
    if !exists(shell, path).await? {
        return Err(Failure::new(format!("{path} does not exist.")));
    }
    check_below(shell, path).await?;
    check_above(shell, path).await?;
    if !exists(shell, quotas::ROOT).await? {
        // Below a chroot there is none, and what is set there has no effect. As upstream.
        create(shell, "/zookeeper", None).await?;
        create(shell, quotas::ROOT, None).await?;
    }
    let mut node = quotas::ROOT.to_owned();
    for name in path.split('/').skip(1).filter(|name| !name.is_empty()) {
        node = join(&node, name);
        create(shell, &node, None).await?;
    }
    let (limits, stats) = (quotas::limits_of(path), quotas::stats_of(path));
    if exists(shell, &limits).await? {
        let mut track = read(shell, &limits).await?;
        track.set(field, limit);
        let used = read(shell, &stats).await?;
        warn(shell, &track, &used);
        let text = track.to_string();
        let keeper = shell.keeper.clone();
        let set = shell.wait(keeper.set_data(&limits, Some(text.as_bytes()), -1)).await;
        set.map_err(|code| Failure::refused(code, Some(&limits)))?;
    } else {
        let mut track = Track::unlimited();
        track.set(field, limit);
        create(shell, &limits, Some(&track)).await?;
        create(shell, &stats, Some(&Track::unused())).await?;
        // The server has counted by now.
        let track = read(shell, &limits).await?;
        let used = read(shell, &stats).await?;
        warn(shell, &track, &used);
    }
    Ok(())
}

fn warn(shell: &mut Shell, limits: &Track, used: &Track) {
    for (what, soft, hard) in [
        ("count", "count", "countHardLimit"),
        ("bytes", "bytes", "byteHardLimit"),
    ] {
        let used = used.get(what);
        let is_below = |limit: i64| limit > -1 && limit < used;
        if is_below(limits.get(soft)) || is_below(limits.get(hard)) {
            shell.output.line(&format!(
                "[Warning]: the {what} quota you create is less than the existing {what}:{used}"
            ));
        }
    }
}

/// A quota below excludes one here.
async fn check_below(shell: &mut Shell, path: &str) -> Result<(), Failure> {
    let node = quotas::node_of(path);
    checked(&node)?;
    if !exists(shell, &node).await? {
        return Ok(());
    }
    let mut walk = Walk::start(shell, &node, false).await?;
    while let Some(found) = walk.next(shell).await? {
        let owner = found.strip_suffix(&format!("/{LIMITS}"));
        if let Some(owner) = owner.filter(|owner| *owner != node) {
            let child = &owner[quotas::ROOT.len()..];
            return Err(Failure::new(format!(
                "{path} has a child {child} which has a quota"
            )));
        }
    }
    Ok(())
}

/// And so does one above.
async fn check_above(shell: &mut Shell, path: &str) -> Result<(), Failure> {
    let names: Vec<&str> = path.split('/').skip(1).collect();
    let mut above = String::new();
    for name in &names[..names.len().saturating_sub(1)] {
        above = format!("{above}/{name}");
        if exists(shell, &quotas::limits_of(&above)).await? {
            return Err(Failure::new(format!(
                "{path} has a parent {above} which has a quota"
            )));
        }
    }
    Ok(())
}

async fn exists(shell: &mut Shell, path: &str) -> Result<bool, Failure> {
    let keeper = shell.keeper.clone();
    let found = shell.wait(keeper.exists(path, false)).await;
    let found = found.map_err(|code| Failure::refused(code, Some(path)))?;
    Ok(found.is_some())
}

/// Creates a node, unless somebody has.
async fn create(shell: &mut Shell, path: &str, track: Option<&Track>) -> Result<(), Failure> {
    let keeper = shell.keeper.clone();
    let data = track.map(Track::to_string);
    let data = data.as_deref().map(str::as_bytes);
    let request = keeper.create(path, data, vec![open_acl()], CreateOptions::default());
    match shell.wait(request).await {
        Ok(_) | Err(ErrorCode::NODE_EXISTS) => Ok(()),
        Err(code) => Err(Failure::refused(code, Some(path))),
    }
}

async fn read(shell: &mut Shell, path: &str) -> Result<Track, Failure> {
    let keeper = shell.keeper.clone();
    let answer = shell.wait(keeper.data(path, false)).await;
    let (data, _) = answer.map_err(|code| Failure::refused(code, Some(path)))?;
    Track::parse(&data.unwrap_or_default())
}

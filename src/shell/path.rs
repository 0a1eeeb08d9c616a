//! Paths as the client library checks them before it asks a server (`PathUtils.java`).

/// Why a path is none, in upstream's words.
pub(super) fn check(path: &str) -> Result<(), String> {
    if path.is_empty() {
        return Err("Path length must be > 0".to_owned());
    }
    if !path.starts_with('/') {
        return Err("Path must start with / character".to_owned());
    }
    if path == "/" {
        return Ok(());
    }
    if path.ends_with('/') {
        return Err("Path must not end with / character".to_owned());
    }
    // Positions count UTF-16 units, as Java's do.
    let units: Vec<u16> = path.encode_utf16().collect();
    let (slash, dot) = (u16::from(b'/'), u16::from(b'.'));
    let ends_name = |at: usize| units.get(at).is_none_or(|unit| *unit == slash);
    for at in 1..units.len() {
        let (last, unit) = (units[at - 1], units[at]);
        let reason = match unit {
            0 => "null character not allowed",
            _ if unit == slash && last == slash => "empty node name specified",
            _ if unit == dot && last == dot => {
                // The character before the two dots; `/` stands at 0.
                match at >= 2 && units[at - 2] == slash && ends_name(at + 1) {
                    true => "relative paths not allowed",
                    false => continue,
                }
            }
            _ if unit == dot => match last == slash && ends_name(at + 1) {
                true => "relative paths not allowed",
                false => continue,
            },
            0x1..=0x1f | 0x7f..=0x9f | 0xd800..=0xf8ff | 0xfff0..=0xffff => "invalid character",
            _ => continue,
        };
        return Err(format!(
            "Invalid path string \"{path}\" caused by {reason} @{at}"
        ));
    }
    Ok(())
}

/// The path of a child.
pub(super) fn join(parent: &str, name: &str) -> String {
    match parent {
        "/" => format!("/{name}"),
        _ => format!("{parent}/{name}"),
    }
}

/// The path above; of the root, the root.
pub(super) fn parent(path: &str) -> &str {
    match path.rfind('/') {
        Some(0) | None => "/",
        Some(slash) => &path[..slash],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_upstreams() {
        for (path, expected) in [
            ("", "Path length must be > 0"),
            ("a", "Path must start with / character"),
            ("/a/", "Path must not end with / character"),
            (
                "/bad//path",
                "Invalid path string \"/bad//path\" caused by empty node name specified @5",
            ),
            (
                "/a/../b",
                "Invalid path string \"/a/../b\" caused by relative paths not allowed @4",
            ),
            (
                "/.",
                "Invalid path string \"/.\" caused by relative paths not allowed @1",
            ),
            (
                "/..",
                "Invalid path string \"/..\" caused by relative paths not allowed @2",
            ),
            (
                "/ü\u{1}",
                "Invalid path string \"/ü\u{1}\" caused by invalid character @2",
            ),
        ] {
            assert_eq!(check(path), Err(expected.to_owned()));
        }
        for path in ["/", "/a", "/a.b", "/..a", "/a..", "/...", "/a/b"] {
            assert_eq!(check(path), Ok(()), "{path}");
        }
    }

    #[test]
    fn paths_join_and_part() {
        assert_eq!(join("/", "a"), "/a");
        assert_eq!(join("/a", "b"), "/a/b");
        assert_eq!(parent("/a/b"), "/a");
        assert_eq!(parent("/a"), "/");
    }
}

//! Paths of znodes as text: splitting and validation. Pure, no tree.
//!
//! Upstream: `PathUtils.java`, `PrepRequestProcessor.validatePath`.

/// Whether `path` may name a znode.
///
/// The rules are upstream's, in UTF-16 units: absolute, no empty, `.` or `..` component, no slash
/// at the end but for the root, and none of the characters below. Every character above U+FFFF
/// consists of surrogates there and is refused with them.
#[must_use]
pub fn is_valid(path: &str) -> bool {
    if path == "/" {
        return true;
    }
    let Some(rest) = path.strip_prefix('/') else {
        return false;
    };
    rest.split('/')
        .all(|component| !matches!(component, "" | "." | ".."))
        && path.chars().all(is_allowed)
}

fn is_allowed(c: char) -> bool {
    !matches!(c,
        '\u{0}'..='\u{1f}'
        | '\u{7f}'..='\u{9f}'
        | '\u{e000}'..='\u{f8ff}'
        | '\u{fff0}'..='\u{ffff}'
        | '\u{10000}'..)
}

/// Parent and name, split at the last slash. The parent of a top-level znode is `""`, an alias of
/// the root in every look-up. `None` without any slash.
#[must_use]
pub fn split(path: &str) -> Option<(&str, &str)> {
    path.rsplit_once('/')
}

/// The parent as clients are told of it: the root is `/`.
#[must_use]
pub fn parent_for_clients(path: &str) -> &str {
    match split(path) {
        Some(("", _)) | None => "/",
        Some((parent, _)) => parent,
    }
}

/// `path` and its ancestors up to the root, longest first.
pub fn ancestors(path: &str) -> impl Iterator<Item = &str> {
    let mut next = Some(path);
    std::iter::from_fn(move || {
        let current = next?;
        next = match current {
            "/" | "" => None,
            _ => Some(parent_for_clients(current)),
        };
        Some(current)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn validation_follows_upstream() {
        for path in [
            "/",
            "/a",
            "/a/b",
            "/..x",
            "/x..",
            "/\u{a0}",
            "/\u{f900}",
            "/\u{feff}",
            "/ ",
        ] {
            assert!(is_valid(path), "{path:?}");
        }
        for path in [
            "",
            "a",
            "/a/",
            "//",
            "/a//b",
            "/.",
            "/..",
            "/a/./b",
            "/a/../b",
            "/\0",
            "/\u{1}",
            "/\u{1f}",
            "/\u{7f}",
            "/\u{9f}",
            "/\u{e000}",
            "/\u{fffd}",
            "/\u{1f600}",
        ] {
            assert!(!is_valid(path), "{path:?}");
        }
    }

    #[test]
    fn ancestors_end_at_the_root() {
        assert_eq!(ancestors("/a/b").collect::<Vec<_>>(), ["/a/b", "/a", "/"]);
        assert_eq!(ancestors("/").collect::<Vec<_>>(), ["/"]);
    }
}

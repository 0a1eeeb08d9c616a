//! What zoo.cfg says once its members stand in a file of their own.

use std::path::Path;

use super::{ConfigError, members, properties};

/// The text of zoo.cfg with the members in `dynamic_file`. Lines that speak of members, of the role
/// or of an older such file go, and so does the client port when the member's own line has it. What
/// else there is stays as it was written.
///
/// Upstream: `QuorumPeerConfig.editStaticConfig`, which loses comments and the order, and takes
/// `clientPortListenBacklog` for a client port.
///
/// # Errors
/// The text is no properties file, or the path cannot be written down.
pub fn pointing_at(
    text: &[u8],
    dynamic_file: &Path,
    is_client_port_there: bool,
) -> Result<Vec<u8>, ConfigError> {
    let dynamic_file = dynamic_file
        .to_str()
        .ok_or_else(|| ConfigError::invalid("the path of the dynamic file is not UTF-8"))?;
    let moves = |key: &str| {
        members::is_member_key(key)
            || key.starts_with("dynamicConfigFile")
            || key.starts_with("peerType")
            || is_client_port_there && matches!(key, "clientPort" | "clientPortAddress")
    };
    let mut kept = properties::retain(text, |key| !moves(key))
        .map_err(|error| ConfigError::invalid(error.to_string()))?;
    kept.extend_from_slice(b"dynamicConfigFile=");
    kept.extend_from_slice(properties::escape(dynamic_file).as_bytes());
    kept.push(b'\n');
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use expect_test::{Expect, expect};

    use super::pointing_at;

    const TEXT: &str = "# ours\ntickTime=2000\nclientPort=2181\nclientPortAddress=::\n\
        clientPortListenBacklog=7\npeerType=observer\nserver.1=a:1:2\n# the second\n\
        server.2 = b:1:2\ngroup.1=1:2\nweight.1=1\ndynamicConfigFile=/old\ndataDir=/d";

    fn check(is_client_port_there: bool, expected: Expect) {
        let path = Path::new("/c:\\ é/zoo.cfg.dynamic.1f");
        let text = pointing_at(TEXT.as_bytes(), path, is_client_port_there);
        expected.assert_eq(&String::from_utf8_lossy(&text.expect("a sound file")));
    }

    #[test]
    fn members_move_and_everything_else_stays() {
        check(
            true,
            expect![[r#"
                # ours
                tickTime=2000
                clientPortListenBacklog=7
                # the second
                dataDir=/d
                dynamicConfigFile=/c:\\ \u00e9/zoo.cfg.dynamic.1f
            "#]],
        );
    }

    #[test]
    fn a_client_port_that_is_nowhere_else_stays() {
        check(
            false,
            expect![[r#"
                # ours
                tickTime=2000
                clientPort=2181
                clientPortAddress=::
                clientPortListenBacklog=7
                # the second
                dataDir=/d
                dynamicConfigFile=/c:\\ \u00e9/zoo.cfg.dynamic.1f
            "#]],
        );
    }
}

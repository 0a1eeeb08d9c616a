//! The shell's own command line: `zkCli.sh [-server …] [-timeout ms] [-r] … [command words…]`
//! (`ZooKeeperMain.MyCommandOptions`).

/// Options in front of the command. Unknown ones are ignored, as upstream does.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Arguments {
    /// The connect string.
    pub(super) server: String,
    /// The session's time-out in milliseconds, as it was written.
    pub(super) timeout: String,
    /// A read-only server will do.
    pub(super) read_only: bool,
    /// Wait for a server that takes writes before anything else.
    pub(super) wait_for_connection: bool,
    /// A properties file.
    pub(super) client_configuration: Option<String>,
    /// End the session with the shell; upstream has no such switch and never does but for `quit`.
    pub(super) close_session: bool,
    /// Command and words; empty opens the interactive shell.
    pub(super) command: Vec<String>,
    /// An option at the end without the value that it needs.
    pub(super) incomplete: Option<String>,
}

impl Default for Arguments {
    fn default() -> Self {
        Self {
            server: "localhost:2181".to_owned(),
            timeout: "30000".to_owned(),
            read_only: false,
            wait_for_connection: false,
            client_configuration: None,
            close_session: false,
            command: Vec::new(),
            incomplete: None,
        }
    }
}

impl Arguments {
    pub(super) fn parse(words: impl IntoIterator<Item = String>) -> Self {
        let mut arguments = Self::default();
        let mut words = words.into_iter();
        while let Some(word) = words.next() {
            if !word.starts_with('-') {
                arguments.command = std::iter::once(word).chain(words).collect();
                return arguments;
            }
            match word.as_str() {
                "-r" => arguments.read_only = true,
                "-waitforconnection" => arguments.wait_for_connection = true,
                "-closesession" => arguments.close_session = true,
                "-server" | "-timeout" | "-client-configuration" => {
                    let Some(value) = words.next() else {
                        arguments.incomplete = Some(word);
                        return arguments;
                    };
                    match word.as_str() {
                        "-server" => arguments.server = value,
                        "-timeout" => arguments.timeout = value,
                        _ => arguments.client_configuration = Some(value),
                    }
                }
                _ => {}
            }
        }
        arguments
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Arguments {
        Arguments::parse(line.split(' ').map(str::to_owned))
    }

    #[test]
    fn options_end_at_the_first_word_without_a_hyphen() {
        let arguments = parse("-server a:1 -r -bogus -timeout 5 ls -r /");
        assert_eq!(arguments.server, "a:1");
        assert_eq!(arguments.timeout, "5");
        assert!(arguments.read_only);
        assert_eq!(arguments.command, ["ls", "-r", "/"]);
    }

    #[test]
    fn a_missing_value_is_remembered() {
        let arguments = parse("-r -timeout");
        assert_eq!(arguments.incomplete.as_deref(), Some("-timeout"));
        assert!(arguments.command.is_empty());
    }
}

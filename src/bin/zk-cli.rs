//! The shell: `zk-cli -server host:port [command words…]`, as upstream's `zkCli.sh`. What the client
//! does behind it goes to stderr when `MEERKAT_LOG` asks for it.

use std::process::ExitCode;

use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    if let Ok(level) = EnvFilter::try_from_env("MEERKAT_LOG") {
        tracing_subscriber::fmt()
            .with_env_filter(level)
            .with_ansi(false)
            .with_writer(std::io::stderr)
            .init();
    }
    let arguments = std::env::args_os().skip(1);
    let arguments = arguments.map(|word| word.to_string_lossy().into_owned());
    meerkat::shell::run(arguments)
}

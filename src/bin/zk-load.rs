//! The load generator: `zk-load get --connections 32 --depth 16`. Prints one JSON object; the exit
//! code is 1 when the server has made a mistake, 2 when there was no run.

use std::process::ExitCode;

use clap::Parser;
use meerkat::load::{self, Options};

/// Loads a ZooKeeper server, or one that speaks its protocol, and measures it.
#[derive(Parser)]
#[command(name = "zk-load", version)]
struct Arguments {
    #[command(flatten)]
    options: Options,
}

const EXIT_MISTAKES: u8 = 1;
const EXIT_NO_RUN: u8 = 2;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let report = match load::run(&arguments.options) {
        Ok(report) => report,
        Err(error) => {
            eprintln!("zk-load: {error}");
            return ExitCode::from(EXIT_NO_RUN);
        }
    };
    match serde_json::to_string_pretty(&report) {
        Ok(json) => println!("{json}"),
        Err(error) => {
            eprintln!("zk-load: {error}");
            return ExitCode::from(EXIT_NO_RUN);
        }
    }
    if report.errors > 0 {
        eprintln!("zk-load: {} mistakes", report.errors);
        return ExitCode::from(EXIT_MISTAKES);
    }
    ExitCode::SUCCESS
}

//! `oracle random` and `oracle play`: our server beside Apache ZooKeeper.
//!
//! A server is `meerkat` or `zookeeper`, which stands alone, or one of three:
//! `meerkat/follower`, `zookeeper/observer`, `zookeeper/leader`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;
use std::{env, fs};

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use meerkat_compat_tests::compare::show;
use meerkat_compat_tests::generate;
use meerkat_compat_tests::oracle::{Finding, Pair, Plan, Seat, Side, record};
use meerkat_compat_tests::script::Script;
use meerkat_compat_tests::server::Kind;
use meerkat_compat_tests::vectors;

#[derive(Parser)]
#[command(about = "Sends the same requests to two servers and compares what they answer")]
struct Arguments {
    /// The server that knows: meerkat or zookeeper, or one of three, as in zookeeper/follower
    #[arg(long, default_value = "zookeeper", global = true)]
    expected: String,
    /// The server that is judged
    #[arg(long, default_value = "meerkat", global = true)]
    actual: String,
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Random requests
    Random {
        #[arg(long, default_value_t = 200_000)]
        requests: usize,
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Requests in one script
        #[arg(long, default_value_t = 1000)]
        length: usize,
        /// Index of the first script of this seed
        #[arg(long, default_value_t = 0)]
        first: u64,
        /// Differences to stop at
        #[arg(long, default_value_t = 1)]
        findings: usize,
        /// Folder for the scripts of differences
        #[arg(long)]
        out: Option<PathBuf>,
    },
    /// Prints one of the scripts that `random` plays
    Print {
        #[arg(long, default_value_t = 1)]
        seed: u64,
        #[arg(long)]
        index: u64,
        /// Requests in one script
        #[arg(long, default_value_t = 1000)]
        length: usize,
    },
    /// Scripts from files
    Play {
        files: Vec<PathBuf>,
        /// Make a script that differs smaller
        #[arg(long)]
        shrink: bool,
    },
    /// Prints what the server that knows answers
    Show { file: PathBuf },
    /// Records the golden vectors of the codec from Apache ZooKeeper
    Vectors { folder: PathBuf },
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    let expected = side(&arguments.expected)?;
    let mut pair = Pair::of([expected, side(&arguments.actual)?]);
    match arguments.task {
        Task::Random {
            requests,
            seed,
            first,
            length,
            findings,
            out,
        } => {
            let begin = Instant::now();
            println!("seed {seed}, {requests} requests, {length} in a script");
            let plan = Plan {
                seed,
                first,
                requests,
                length,
                findings_max: findings,
            };
            let out = out.unwrap_or_else(env::temp_dir);
            let found = pair.judge_random(plan, |sent, finding| match finding {
                None => println!("{sent} requests after {:.0?}", begin.elapsed()),
                Some(finding) => println!("DIFFERENT:\n{finding}"),
            })?;
            println!("{}", pair.coverage());
            for (count, finding) in found.iter().enumerate() {
                let file = out.join(format!("difference-{seed}-{count}.script"));
                write(&file, finding)?;
                println!("kept in {}", file.display());
            }
            println!("{} differences", found.len());
            Ok(if found.is_empty() {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            })
        }
        Task::Play { files, shrink } => {
            let mut differing = 0;
            for file in files {
                let script = load(&file)?;
                let finding = if shrink {
                    pair.judge(&script)?
                } else {
                    pair.run(&script)?
                        .map(|difference| Finding { script, difference })
                };
                match finding {
                    None => println!("alike: {}", file.display()),
                    Some(finding) => {
                        differing += 1;
                        println!("DIFFERENT: {}", file.display());
                        if shrink {
                            println!("{}", finding.script);
                        } else if let Some(step) = finding.script.steps.get(finding.difference.step)
                        {
                            println!("{step}");
                        }
                        println!("{}", finding.difference);
                    }
                }
            }
            Ok(if differing == 0 {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            })
        }
        Task::Print {
            seed,
            index,
            length,
        } => {
            let together = expected.seat != Seat::Alone;
            print!("{}", generate::script(seed, index, length, together));
            Ok(ExitCode::SUCCESS)
        }
        Task::Vectors { folder } => {
            println!("{} vectors", vectors::write(&folder)?);
            Ok(ExitCode::SUCCESS)
        }
        Task::Show { file } => {
            let script = load(&file)?;
            let recording = record(expected, &script)?;
            for item in &recording.items {
                println!("{:>4} {}: {}", item.step + 1, item.session, show(item));
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn side(words: &str) -> Result<Side> {
    let (kind, seat) = words.split_once('/').unwrap_or((words, "alone"));
    Ok(Side::new(Kind::from_word(kind)?, Seat::from_word(seat)?))
}

fn load(file: &PathBuf) -> Result<Script> {
    let text = fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
    text.parse()
        .with_context(|| format!("in {}", file.display()))
}

fn write(file: &PathBuf, finding: &Finding) -> Result<()> {
    let comment: String = finding
        .difference
        .to_string()
        .lines()
        .map(|line| format!("# {line}\n"))
        .collect();
    fs::write(file, format!("{comment}{}", finding.script))?;
    Ok(())
}

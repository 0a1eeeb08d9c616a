//! `set path data [-s] [-v version] [-b]` (`SetCommand.java`).

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::{Call, Choice, Command, Failure, Grammar, Opt, PLAIN, Shell, checked, version_option};

/// As Java's decoder: the padding may be left out.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

pub(super) const COMMAND: Command = Command {
    name: "set",
    usage: "path data [-s] [-v version] [-b]",
    grammar: Grammar {
        options: &[
            Opt::flag("s", "Print znode stats additionally"),
            Opt::value("v", "Set with an expected version"),
            Opt::flag("b", "Supply data in base64 format"),
        ],
        choice: Choice::Free,
    },
    help: "replaces the data of a znode",
    lists_options: true,
    ..PLAIN
};

pub(super) async fn run(shell: &mut Shell, call: Call<'_>) -> Result<(), Failure> {
    let parsed = call.parse_words(2)?;
    let path = &parsed.words[1];
    let text = &parsed.words[2];
    let data = if parsed.has("b") {
        let decoded = BASE64.decode(text);
        decoded.map_err(|error| Failure::new(format!("the data is not base64: {error}")))?
    } else {
        text.as_bytes().to_vec()
    };
    let version = version_option(&parsed)?;
    checked(path)?;
    let keeper = shell.keeper.clone();
    let answer = shell.wait(keeper.set_data(path, Some(&data), version)).await;
    let stat = answer.map_err(|code| Failure::refused(code, Some(path)))?;
    if parsed.has("s") {
        shell.output.stat(&stat);
    }
    Ok(())
}

//! `help [command]`. Beyond upstream, where the word is none and prints the list of commands.

use super::{Call, Command, Failure, Needs, Origin, PLAIN, Shell, find, names};

pub(super) const COMMAND: Command = Command {
    name: "help",
    usage: "[command]",
    help: "prints the commands, or one with its options",
    origin: Origin::Ours,
    needs: Needs::Nothing,
    ..PLAIN
};

pub(super) async fn run(shell: &mut Shell, call: Call<'_>) -> Result<(), Failure> {
    let Some(name) = call.words.get(1) else {
        for command in names().filter_map(find) {
            let Command { name, usage, .. } = command;
            let usage = usage.split(" # ").next().unwrap_or(usage);
            let head = format!("{name} {usage}");
            shell.output.line(head.trim_end());
            shell.output.line(&format!("    {}", command.help));
        }
        return Ok(());
    };
    let command = find(name).ok_or_else(|| Failure::not_found(name))?;
    let Command { name, usage, .. } = command;
    shell.output.line(format!("{name} {usage}").trim_end());
    shell.output.line(&format!("    {}", command.help));
    let options = command.grammar.options.iter();
    for option in options.filter(|option| !option.text.is_empty()) {
        let value = if option.takes_value { " <arg>" } else { "" };
        let name = format!("-{}{value}", option.name);
        shell.output.line(&format!("    {name:<12} {}", option.text));
    }
    Ok(())
}

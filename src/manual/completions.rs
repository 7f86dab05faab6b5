//! What bash, zsh and fish load to complete a command line; pure.

use clap::{Command, ValueEnum};
use clap_complete::shells;

use super::Document;
use crate::daemon::args;

/// A shell that completes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    /// bash with the package bash-completion.
    Bash,
    /// zsh.
    Zsh,
    /// fish.
    Fish,
}

impl Shell {
    /// Every shell.
    pub const ALL: [Self; 3] = [Self::Bash, Self::Zsh, Self::Fish];

    /// The name that the shell looks for.
    fn file(self, program: &str) -> String {
        match self {
            Self::Bash => program.to_owned(),
            Self::Zsh => format!("_{program}"),
            Self::Fish => format!("{program}.fish"),
        }
    }

    fn write(self, mut command: Command) -> Vec<u8> {
        let name = command.get_name().to_owned();
        let mut script = Vec::new();
        match self {
            Self::Bash => clap_complete::generate(shells::Bash, &mut command, name, &mut script),
            Self::Zsh => clap_complete::generate(shells::Zsh, &mut command, name, &mut script),
            Self::Fish => clap_complete::generate(shells::Fish, &mut command, name, &mut script),
        }
        script
    }
}

/// The script with which a shell completes a program.
pub fn completions(shell: Shell, command: Command) -> Document {
    Document {
        name: shell.file(command.get_name()),
        text: String::from_utf8_lossy(&shell.write(command)).into_owned(),
    }
}

/// The scripts of every shell for both programs, by the shell's folder.
pub fn scripts(hermesctl: &Command) -> Vec<(&'static str, Document)> {
    let folder = |shell| match shell {
        Shell::Bash => "bash",
        Shell::Zsh => "zsh",
        Shell::Fish => "fish",
    };
    let both = |shell| {
        [hermesctl.clone(), args::command()]
            .map(|command| (folder(shell), completions(shell, command)))
    };
    Shell::ALL.into_iter().flat_map(both).collect()
}

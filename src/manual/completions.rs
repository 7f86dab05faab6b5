//! The files that bash, zsh and fish load to complete a command line; pure.

use clap::ValueEnum;
use clap_complete::env::{self, EnvCompleter};
use clap_complete::shells;

use super::generated::GeneratedFile;
use crate::daemon::args;

/// The variable with which a shell asks hermesctl what may stand next; its value is the shell's name.
pub const COMPLETE: &str = "HERMESCTL_COMPLETE";

const CTL: &str = "hermesctl";

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

    /// Its folder beside those of the others.
    fn folder(self) -> &'static str {
        match self {
            Self::Bash => "bash",
            Self::Zsh => "zsh",
            Self::Fish => "fish",
        }
    }

    /// The name that the shell looks for.
    fn file(self, program: &str) -> String {
        match self {
            Self::Bash => program.to_owned(),
            Self::Zsh => format!("_{program}"),
            Self::Fish => format!("{program}.fish"),
        }
    }

    fn document(self, program: &str, script: &[u8]) -> GeneratedFile {
        GeneratedFile {
            name: self.file(program),
            text: String::from_utf8_lossy(script).into_owned(),
        }
    }
}

/// The script with which a shell completes hermesctl: it asks hermesctl, which knows names that no
/// script can.
pub fn completions(shell: Shell) -> GeneratedFile {
    let asks: &dyn EnvCompleter = match shell {
        Shell::Bash => &env::Bash,
        Shell::Zsh => &env::Zsh,
        Shell::Fish => &env::Fish,
    };
    let mut script = Vec::new();
    // Writing into memory does not fail.
    let _written = asks.write_registration(COMPLETE, CTL, CTL, CTL, &mut script);
    if shell == Shell::Zsh {
        // zsh runs the file itself at the first Tab, which is to be answered too.
        script.extend_from_slice(FIRST_TAB.as_bytes());
    }
    shell.document(CTL, &script)
}

const FIRST_TAB: &str = r#"
if [ "$funcstack[1]" = "_hermesctl" ]; then
    _clap_dynamic_completer_hermesctl "$@"
fi
"#;

/// The script for hermes-proxyd, which contains its few options.
fn of_the_daemon(shell: Shell) -> GeneratedFile {
    let mut command = args::command();
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    let into = &mut script;
    match shell {
        Shell::Bash => clap_complete::generate(shells::Bash, &mut command, &name, into),
        Shell::Zsh => clap_complete::generate(shells::Zsh, &mut command, &name, into),
        Shell::Fish => clap_complete::generate(shells::Fish, &mut command, &name, into),
    }
    shell.document(&name, &script)
}

/// The scripts of every shell for both programs, by the shell's folder.
pub fn scripts() -> Vec<(&'static str, GeneratedFile)> {
    let both = |shell: Shell| {
        let scripts = [completions(shell), of_the_daemon(shell)];
        scripts.map(|script| (shell.folder(), script))
    };
    Shell::ALL.into_iter().flat_map(both).collect()
}

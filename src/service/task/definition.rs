//! The formats that the Task Scheduler reads and prints; pure.

use std::path::Path;

/// The number by which the Task Scheduler says that a task runs (`SCHED_S_TASK_RUNNING`).
pub(super) const RUNNING: i64 = 0x0004_1301;
/// It has not run yet (`SCHED_S_TASK_HAS_NOT_RUN`).
const NEVER_RAN: i64 = 0x0004_1303;
/// It was ended by hand (`SCHED_S_TASK_TERMINATED`).
const TERMINATED: i64 = 0x0004_1306;
/// The same, as the process's own end.
const CONTROL_C_EXIT: i64 = 0xC000_013A;

/// Whose task it is.
#[derive(Debug, Clone)]
pub(super) struct TaskUser {
    pub(super) domain: String,
    pub(super) name: String,
}

impl TaskUser {
    pub(super) fn account(&self) -> String {
        if self.domain.is_empty() {
            return self.name.clone();
        }
        format!("{}\\{}", self.domain, self.name)
    }
}

/// The task for one user, in UTF-16 with its mark, as `schtasks` wants it.
pub(super) fn file(user: &TaskUser, program: &Path, log: &Path) -> Vec<u8> {
    let text = xml(user, program, log).replace('\n', "\r\n");
    let units = std::iter::once(0xfeff).chain(text.encode_utf16());
    units.flat_map(u16::to_le_bytes).collect()
}

/// The task: at logon, with the user's own rights and desktop, without a time limit.
fn xml(user: &TaskUser, program: &Path, log: &Path) -> String {
    let account = escaped(&user.account());
    let program = escaped(&program.display().to_string());
    let log = escaped(&log.display().to_string());
    format!(
        r#"<?xml version="1.0" encoding="UTF-16"?>
<Task version="1.2" xmlns="http://schemas.microsoft.com/windows/2004/02/mit/task">
  <RegistrationInfo>
    <Description>Local service for the AI subscription you already pay for</Description>
  </RegistrationInfo>
  <Triggers>
    <LogonTrigger>
      <Enabled>true</Enabled>
      <UserId>{account}</UserId>
    </LogonTrigger>
  </Triggers>
  <Principals>
    <Principal id="Author">
      <UserId>{account}</UserId>
      <LogonType>InteractiveToken</LogonType>
      <RunLevel>LeastPrivilege</RunLevel>
    </Principal>
  </Principals>
  <Settings>
    <MultipleInstancesPolicy>IgnoreNew</MultipleInstancesPolicy>
    <DisallowStartIfOnBatteries>false</DisallowStartIfOnBatteries>
    <StopIfGoingOnBatteries>false</StopIfGoingOnBatteries>
    <StartWhenAvailable>true</StartWhenAvailable>
    <AllowStartOnDemand>true</AllowStartOnDemand>
    <Enabled>true</Enabled>
    <Hidden>false</Hidden>
    <ExecutionTimeLimit>PT0S</ExecutionTimeLimit>
    <Priority>7</Priority>
    <RestartOnFailure>
      <Interval>PT1M</Interval>
      <Count>255</Count>
    </RestartOnFailure>
  </Settings>
  <Actions Context="Author">
    <Exec>
      <Command>"{program}"</Command>
      <Arguments>--log-file "{log}"</Arguments>
    </Exec>
  </Actions>
</Task>
"#
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

/// Whether the task, in the output of `schtasks /Query /XML`, starts automatically.
pub(super) fn is_enabled(xml: &str) -> bool {
    let settings = xml.split("<Settings>").nth(1).unwrap_or_default();
    let settings = settings.split("</Settings>").next().unwrap_or_default();
    !settings.contains("<Enabled>false</Enabled>")
}

/// The field "Last Result" of `schtasks /Query /FO CSV /V /NH`: the seventh in every language.
pub(super) fn last_result(csv: &str) -> Option<i64> {
    fields(csv.lines().find(|line| !line.is_empty())?)
        .get(6)?
        .parse()
        .ok()
}

/// The process in the answer of `tasklist /FO CSV /NH`, of which the second field is its id.
pub(super) fn process(csv: &str) -> Option<u32> {
    let line = csv.lines().find(|line| line.starts_with('"'))?;
    fields(line).get(1)?.parse().ok()
}

fn fields(line: &str) -> Vec<&str> {
    let line = line.trim().trim_matches('"');
    line.split("\",\"").collect()
}

/// What a last result means, where it is a failure.
pub(super) fn failure(result: i64) -> Option<String> {
    match result {
        0 | RUNNING | NEVER_RAN | TERMINATED => None,
        // As schtasks prints it: with a sign.
        code if code & 0xffff_ffff == CONTROL_C_EXIT => None,
        78 => Some("the configuration is invalid; `hermesctl config check` shows where".to_owned()),
        code => Some(format!("it ended with exit code {code}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user() -> TaskUser {
        TaskUser {
            domain: "OFFICE".to_owned(),
            name: "Ann & Bob".to_owned(),
        }
    }

    #[test]
    fn the_task_is_xml_in_utf_16_with_the_paths_as_they_are() {
        let bytes = file(
            &user(),
            Path::new(r"C:\Users\Ann & Bob\bin\hermes-proxyd.exe"),
            Path::new(r"C:\Users\Ann & Bob\hermes-proxyd.log"),
        );
        assert_eq!(&bytes[..2], [0xff, 0xfe]);
        let python = "
import sys, xml.etree.ElementTree as tree
space = '{http://schemas.microsoft.com/windows/2004/02/mit/task}'
task = tree.parse(sys.stdin.buffer).getroot()
for path in ['Triggers/LogonTrigger/UserId', 'Principals/Principal/UserId',
             'Principals/Principal/LogonType', 'Principals/Principal/RunLevel',
             'Settings/ExecutionTimeLimit', 'Settings/DisallowStartIfOnBatteries',
             'Actions/Exec/Command', 'Actions/Exec/Arguments']:
    print(task.find('/'.join(space + name for name in path.split('/'))).text)
";
        let stored = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(stored.path(), &bytes).unwrap();
        let output = std::process::Command::new("python3")
            .args(["-c", python])
            .stdin(std::fs::File::open(stored.path()).unwrap())
            .output();
        let Ok(output) = output else {
            eprintln!("skipped: there is no python3");
            return;
        };
        let told = String::from_utf8(output.stdout).unwrap();
        let told: Vec<_> = told.lines().collect();
        assert_eq!(
            told,
            [
                r"OFFICE\Ann & Bob",
                r"OFFICE\Ann & Bob",
                "InteractiveToken",
                "LeastPrivilege",
                "PT0S",
                "false",
                r#""C:\Users\Ann & Bob\bin\hermes-proxyd.exe""#,
                r#"--log-file "C:\Users\Ann & Bob\hermes-proxyd.log""#,
            ],
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    #[test]
    fn answers_are_read_in_every_language() {
        let csv = "\"PC\",\"\\hermes-proxyd-ann\",\"Nicht zutreffend\",\"Wird ausgeführt\",\
                   \"Nur interaktiv\",\"26.11.2026 09:34:46\",\"267009\",\"OFFICE\\ann\"\r\n";
        assert_eq!(last_result(csv), Some(RUNNING));
        assert_eq!(last_result("\r\n"), None);
        assert_eq!(
            process("\"hermes-proxyd.exe\",\"4242\",\"Console\",\"1\",\"8.000 K\"\r\n"),
            Some(4242)
        );
        assert_eq!(
            process("INFORMATION: Es werden keine Aufgaben ausgeführt.\r\n"),
            None
        );
        assert!(is_enabled("<Settings>\n<Enabled>true</Enabled></Settings>"));
        assert!(!is_enabled(
            "<X><Enabled>true</Enabled><Settings><Enabled>false</Enabled></Settings>"
        ));
    }

    #[test]
    fn an_end_by_hand_is_no_failure() {
        for result in [
            0,
            RUNNING,
            NEVER_RAN,
            TERMINATED,
            CONTROL_C_EXIT,
            -1_073_741_510,
        ] {
            assert_eq!(failure(result), None, "{result}");
        }
        assert!(failure(78).unwrap().contains("hermesctl config check"));
        assert!(failure(1).unwrap().contains("exit code 1"));
    }
}

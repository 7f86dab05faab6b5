//! Tests that run themselves once more with their own network and `/etc/hosts`.

use std::process::Command;

use crate::environment::{has, skipped, strict, tool};
use crate::exact;

const INSIDE: &str = "HERMES_TEST_INSIDE";

/// Whether this is the run in namespaces of our own, in which `/etc/hosts` and all ports are ours.
/// Outside, the test of this name in `module`, which is its `module_path!()`, is run inside.
pub fn is_inside(module: &str, test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    if !has("unshare") || !has("ip") {
        return false;
    }
    let unshare = |command: &mut Command| {
        command.args(["--mount", "--net", "--propagation", "private"]);
    };
    let mut probe = tool("unshare");
    unshare(&mut probe);
    let hosts = "mount -t tmpfs none /mnt && cp /etc/hosts /mnt/hosts && \
                 mount --bind /mnt/hosts /etc/hosts && ip link set lo up";
    let able = probe.args(["sh", "-c", hosts]).output();
    if !able.is_ok_and(|probe| probe.status.success()) {
        skipped("namespaces are not available here (root and unshare)");
        return false;
    }
    let mut run = tool("unshare");
    unshare(&mut run);
    let script = format!(
        "{hosts} && exec \"$0\" --exact {} --nocapture",
        exact(module, test)
    );
    let run = run
        .args(["sh", "-c", &script])
        .arg(std::env::current_exe().unwrap())
        .env(INSIDE, "1")
        .envs(strict())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&run.stdout).into_owned();
    eprintln!("{text}");
    let errors = String::from_utf8_lossy(&run.stderr).into_owned();
    assert!(run.status.success(), "{text}\n{errors}");
    assert!(text.contains("1 passed"), "{text}");
    false
}

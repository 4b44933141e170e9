//! The sandbox cuts off from the machine and gives the rights that tests need, with root and
//! without.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const SANDBOX: &str = env!("CARGO_BIN_EXE_lab-sandbox");

/// A copy of the launcher where every user may execute it, for as long as the value lives.
struct Copied(PathBuf);

impl Copied {
    fn new(test: &str) -> Self {
        let name = format!("lab-sandbox-{}-{test}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::copy(SANDBOX, &path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        Self(path)
    }
}

impl Drop for Copied {
    fn drop(&mut self) {
        fs::remove_file(&self.0).unwrap();
    }
}

/// Whether this process can turn into another user: root of the machine can, an ordinary user and
/// root of a namespace with one user cannot.
fn can_change_user() -> bool {
    let mut nobody = Command::new("setpriv");
    nobody.args(["--reuid", "65534", "--clear-groups", "true"]).output().unwrap().status.success()
}

/// The launcher run by the current user and, where that is a different case, by nobody.
fn launchers(test: &str) -> (Vec<Command>, Copied) {
    let copy = Copied::new(test);
    let mut launchers = vec![Command::new(&copy.0)];
    if can_change_user() {
        let mut nobody = Command::new("setpriv");
        nobody.args(["--reuid", "65534", "--clear-groups", "--"]).arg(&copy.0);
        launchers.push(nobody);
    }
    (launchers, copy)
}

fn text(output: &Output) -> String {
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn shell(mut launcher: Command, script: &str) -> String {
    text(&launcher.current_dir("/").args(["sh", "-ec", script]).output().unwrap())
}

#[test]
fn it_has_loopback_and_nothing_else() {
    let (launchers, _copy) = launchers("loopback");
    for launcher in launchers {
        let links = shell(launcher, "ip -o link");
        assert_eq!(links.lines().count(), 1, "{links}");
        assert!(links.contains("lo: <LOOPBACK,UP"), "{links}");
    }
}

#[test]
fn rules_routes_and_settings_can_be_written_there() {
    let script = "
        ip link add name v0 type veth peer name v1; ip link set v0 up; ip addr add 10.9.9.9/24 dev v0
        echo 1 > /proc/sys/net/ipv4/ip_forward; cat /proc/sys/net/ipv4/ip_forward
        iptables -A INPUT -p tcp --dport 1 -j REJECT; iptables -S INPUT
        iptables-legacy -S INPUT; nft list tables; unshare -n ip -o link | wc -l; ls -A /run
        ip -o addr show dev v0; touch /run/in-the-sandbox";
    let (launchers, _copy) = launchers("rules");
    for launcher in launchers {
        let said = shell(launcher, script);
        assert!(said.starts_with("1\n"), "{said}");
        assert!(said.contains("-A INPUT -p tcp -m tcp --dport 1 -j REJECT"), "{said}");
        assert!(said.contains("table ip filter") && said.contains("10.9.9.9/24"), "{said}");
        assert!(!Path::new("/run/in-the-sandbox").exists());
    }
}

#[test]
fn exit_codes_come_through() {
    let (launchers, _copy) = launchers("codes");
    for mut launcher in launchers {
        let status = launcher.current_dir("/").args(["sh", "-c", "exit 7"]).status().unwrap();
        assert_eq!(status.code(), Some(7));
    }
    let missing = Command::new(SANDBOX).arg("/no/such/program").output().unwrap();
    assert_eq!(missing.status.code(), Some(1));
    let said = String::from_utf8(missing.stderr).unwrap();
    assert!(said.contains("cannot start the command in the sandbox: No such file"), "{said}");
    assert_eq!(Command::new(SANDBOX).output().unwrap().status.code(), Some(2));
}

#[test]
fn a_refusal_by_the_kernel_says_what_to_do() {
    // No namespace may be made where the limit for this user namespace is none.
    let script = format!(
        "echo 0 > /proc/sys/user/max_user_namespaces; echo 0 > /proc/sys/user/max_net_namespaces
         ! {SANDBOX} true 2>&1"
    );
    let mut outer = Command::new("unshare");
    let output = outer.args(["-Ur", "sh", "-ec", &script]).output().unwrap();
    let said = text(&output);
    assert!(said.contains("cannot enter a sandbox"), "{said}");
    assert!(said.contains("user.max_user_namespaces"), "{said}");
}

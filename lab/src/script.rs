//! Links, addresses and routes, written by one `ip -batch` per place.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::net::IpAddr;
use std::process::{Child, Stdio};

use crate::error::LabError;
use crate::namespace::Namespace;

/// The commands that set up one place (node, Pod or host), in the place's own namespace.
#[derive(Debug, Default)]
pub(crate) struct Script {
    lines: String,
}

impl Script {
    /// A veth pair: `here` in this namespace, `there` in the other.
    pub(crate) fn veth(&mut self, here: &str, there: &str, other: &Namespace) {
        let path = other.path();
        let path = path.display();
        self.line(format_args!("link add name {here} type veth peer name {there} netns {path}"));
    }

    /// A bridge that forwards at once.
    pub(crate) fn bridge(&mut self, name: &str) {
        self.line(format_args!(
            "link add name {name} type bridge forward_delay 0 mcast_snooping 0"
        ));
        self.up(name);
    }

    /// Makes a link a port of a bridge.
    pub(crate) fn port(&mut self, link: &str, bridge: &str) {
        self.line(format_args!("link set {link} master {bridge}"));
    }

    /// Removes a link, and with it the other end of its pair.
    pub(crate) fn remove(&mut self, link: &str) {
        self.line(format_args!("link delete {link}"));
    }

    /// Sets a link up.
    pub(crate) fn up(&mut self, link: &str) {
        self.line(format_args!("link set {link} up"));
    }

    /// Gives a link an address, usable at once (no duplicate address detection).
    pub(crate) fn address(&mut self, link: &str, address: IpAddr, prefix: u8) {
        let flag = if address.is_ipv6() { " nodad" } else { "" };
        self.line(format_args!("addr add {address}/{prefix} dev {link}{flag}"));
    }

    /// A route to neighbours on a link, `source` being the address to speak from.
    pub(crate) fn on_link(&mut self, to: impl std::fmt::Display, link: &str, source: IpAddr) {
        self.line(format_args!("route add {to} dev {link} src {source}"));
    }

    /// Takes a neighbour's route away.
    pub(crate) fn off_link(&mut self, to: IpAddr, link: &str) {
        self.line(format_args!("route delete {to} dev {link}"));
    }

    /// A route by a neighbour, `source` being the address to speak from.
    pub(crate) fn via(
        &mut self,
        to: impl std::fmt::Display,
        neighbour: IpAddr,
        link: &str,
        source: IpAddr,
    ) {
        self.line(format_args!("route add {to} via {neighbour} dev {link} src {source}"));
    }

    fn line(&mut self, text: std::fmt::Arguments<'_>) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.lines, "{text}");
    }

    /// Starts the script; several run side by side until [`Running::finish`].
    pub(crate) fn start(self, place: &str, at: &Namespace) -> Result<Running, LabError> {
        let failed = |source| LabError::Program { program: "ip", package: "iproute2", source };
        let mut child = at
            .command("ip")
            .args(["-batch", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        if let Some(mut input) = child.stdin.take() {
            match input.write_all(self.lines.as_bytes()) {
                // It gave up at an earlier line, and `finish` will say at which.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
                other => other.map_err(failed)?,
            }
        }
        Ok(Running { place: place.to_owned(), lines: self.lines, child })
    }
}

/// A script that is being executed.
pub(crate) struct Running {
    place: String,
    lines: String,
    child: Child,
}

impl Running {
    /// Waits for the end; the first line that failed is the error.
    pub(crate) fn finish(self) -> Result<(), LabError> {
        let output = self
            .child
            .wait_with_output()
            .map_err(|source| LabError::system("wait for `ip`", source))?;
        if output.status.success() {
            return Ok(());
        }
        let message = String::from_utf8_lossy(&output.stderr).trim().replace('\n', ": ");
        // `ip` ends with "Command failed -:LINE".
        let line = message
            .rsplit_once("-:")
            .and_then(|(_, number)| number.trim().parse::<usize>().ok())
            .and_then(|number| self.lines.lines().nth(number.checked_sub(1)?))
            .unwrap_or("ip -batch -");
        Err(LabError::Setup { place: self.place, line: line.to_owned(), message })
    }
}

/// The scripts by place, in the order in which they may run: a place's links are made by an earlier
/// script, the one that named it first.
#[derive(Default)]
pub(crate) struct Scripts {
    order: Vec<(String, Namespace, Script)>,
}

impl Scripts {
    pub(crate) fn at(
        &mut self,
        place: &str,
        namespace: &Namespace,
    ) -> Result<&mut Script, LabError> {
        let known = self.order.iter().position(|(name, ..)| name == place);
        let index = known.unwrap_or(self.order.len());
        if known.is_none() {
            self.order.push((place.to_owned(), namespace.clone(), Script::default()));
        }
        let missing = || LabError::Description { name: place.to_owned(), problem: "no such place" };
        self.order.get_mut(index).map(|(.., script)| script).ok_or_else(missing)
    }

    /// Runs them in three waves: who makes the links between places (the first), the places that
    /// those links lead to (`linked`), the Pods.
    pub(crate) fn run(self, linked: impl Fn(&str) -> bool) -> Result<(), LabError> {
        let mut waves = [Vec::new(), Vec::new(), Vec::new()];
        for (index, (place, namespace, script)) in self.order.into_iter().enumerate() {
            let wave = match index {
                0 => 0,
                _ if linked(&place) => 1,
                _ => 2,
            };
            waves[wave].push((place, namespace, script));
        }
        for wave in waves {
            let started: Vec<_> = wave
                .into_iter()
                .map(|(place, namespace, script)| script.start(&place, &namespace))
                .collect();
            for script in started {
                script?.finish()?;
            }
        }
        Ok(())
    }
}

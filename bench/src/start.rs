//! A start of the program: from nothing to the first write, with a folder as the cluster.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use lab::Namespace;

use crate::generator::Size;
use crate::report::{Figure, Row, median};

/// How often each start is timed.
const STARTS: u32 = 9;

/// A start on a machine without rules, a start on one that has them, and the reading of the folder
/// alone, which stands for what an API server would take to answer.
pub(crate) fn start(size: Size) -> Result<Row> {
    let program = std::env::current_exe()?.with_file_name("pointsman");
    let bytes = fs::metadata(&program)
        .with_context(|| format!("{}: build the package pointsman too", program.display()))?
        .len();
    let folder = Folder::create(size)?;
    let (mut first, mut again, mut reading) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..STARTS {
        let namespace = Namespace::new()?;
        first.push(run_once(&program, &namespace, &folder.0, false)?);
        again.push(run_once(&program, &namespace, &folder.0, true)?);
        let start = Instant::now();
        let contents = intake::folder::read(&folder.0)?;
        reading.push(start.elapsed().as_secs_f64() * 1e3);
        ensure!(contents.errors.is_empty(), "the folder has errors: {:?}", contents.errors);
    }
    let (first, again, reading) = (median(first), median(again), median(reading));
    let figure = |what, value, unit| Figure { what, value, unit };
    let figures = vec![
        figure("start to end of first write, no rules before", first, "ms"),
        figure("  of which reading the folder, measured alone", reading, "ms"),
        figure("  beyond reading", first - reading, "ms"),
        figure("start on the same rules (0 messages)", again, "ms"),
        figure("  beyond reading", again - reading, "ms"),
        figure("the program", bytes as f64 / 1e6, "MB"),
    ];
    let Size { services, endpoints } = size;
    Ok(Row { measured: "a start", services, endpoints_each: endpoints, figures })
}

/// Milliseconds from before the program is started until it has ended.
fn run_once(program: &Path, at: &Namespace, folder: &Path, up_to_date: bool) -> Result<f64> {
    let mut command: Command = at.command(program);
    command.args(["run", "--once", "-v=2", "--node=node-0", "--cluster-cidr=10.128.0.0/10"]);
    command.arg("--manifests").arg(folder).stdin(Stdio::null()).stdout(Stdio::null());
    let start = Instant::now();
    let output = command.output().with_context(|| format!("start {}", program.display()))?;
    let took = start.elapsed().as_secs_f64() * 1e3;
    let log = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}: {log}", program.display());
    let idle = log.contains("messages=0");
    ensure!(idle == up_to_date, "expected {}writes: {log}", if up_to_date { "no " } else { "" });
    Ok(took)
}

/// Services and EndpointSlices as `kubectl get -o json` prints them, a hundred a file.
struct Folder(PathBuf);

impl Folder {
    fn create(size: Size) -> Result<Self> {
        let path = std::env::temp_dir().join(format!("pointsman-bench-{}", std::process::id()));
        fs::create_dir_all(&path).with_context(|| format!("make {}", path.display()))?;
        let folder = Self(path);
        for part in 0..size.services.div_ceil(100) {
            let numbers = part * 100..size.services.min((part + 1) * 100);
            let items: Vec<_> = numbers.map(|number| pair(number, size.endpoints)).collect();
            let list =
                format!(r#"{{"apiVersion":"v1","kind":"List","items":[{}]}}"#, items.join(","));
            fs::write(folder.0.join(format!("{part:04}.json")), list)?;
        }
        Ok(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed from the place for temporary files is no error of the benchmark.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A Service and its EndpointSlice, with the addresses of [`crate::generator`].
fn pair(number: u32, endpoints: u32) -> String {
    let [_, b, c, d] = (0x0a60_0001 + number).to_be_bytes();
    let mut text = format!(
        r#"{{"apiVersion":"v1","kind":"Service","metadata":{{"name":"service-{number}","namespace":"team"}},"spec":{{"clusterIP":"10.{b}.{c}.{d}","ports":[{{"name":"http","port":80,"targetPort":8080}}]}}}},{{"apiVersion":"discovery.k8s.io/v1","kind":"EndpointSlice","metadata":{{"name":"service-{number}-abcde","namespace":"team","labels":{{"kubernetes.io/service-name":"service-{number}"}}}},"addressType":"IPv4","ports":[{{"name":"http","port":8080,"protocol":"TCP"}}],"endpoints":["#
    );
    for index in 0..endpoints {
        let [a, b, c, d] = (0x0a80_0001 + number * endpoints + index).to_be_bytes();
        let comma = if index == 0 { "" } else { "," };
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            r#"{comma}{{"addresses":["{a}.{b}.{c}.{d}"],"nodeName":"node-{}","conditions":{{"ready":true}}}}"#,
            index % 100
        );
    }
    text + "]}"
}
